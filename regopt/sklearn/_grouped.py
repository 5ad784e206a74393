"""Squared errors with penalties on groups of features.

The objective is ``sum_i c_i loss_i / sum_i c_i`` plus the penalty, with sample weights c. Fits are in float64.
"""

from dataclasses import dataclass

from regopt.sklearn._base import CrossValidated, Single
from regopt.sklearn._mixins import Grouped, Ratio, Regression


@dataclass(eq=False, repr=False)
class GroupLasso(Grouped, Regression, Single):
    """``|y - X w - b|**2 / (2 n) + alpha sum_g sqrt(p_g) |w_g|_2`` for groups of p_g features.

    Args:
        alpha: strength of the penalty, >= 0.
        groups: the group of each feature, integers; None makes each feature a group.
        fit_intercept: whether there is an intercept, without a penalty.
        tol: the duality gap to reach, relative to the objective where that is above 1.
        max_iter: the largest number of steps.

    Raises:
        ValueError: an argument lies outside its range, when the model is fitted.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import GroupLasso
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> GroupLasso(alpha=0.1).fit(X, y).coef_.shape
        (2,)

    References:
        Yuan, M., & Lin, Y. (2006). Model selection and estimation in regression with grouped variables. Journal of the
        Royal Statistical Society B, 68(1), 49-67.
    """

    _penalty = "group_lasso"


@dataclass(eq=False, repr=False)
class GroupLassoCV(Grouped, Regression, CrossValidated):
    """GroupLasso with the strength chosen by cross-validation.

    Args:
        groups: the group of each feature, integers; None makes each feature a group.
        alphas: the strengths, or how many, from the largest useful one down.
        eps: the last strength divided by the first one, where ``alphas`` is a number.
        fit_intercept: whether there is an intercept, without a penalty.
        tol: the duality gap to reach, relative to the objective where that is above 1.
        max_iter: the largest number of steps.
        cv: the folds, as everywhere in scikit-learn; their training rows may overlap.
        rule: "best", or "one_standard_error" for the largest strength within one of the best.

    Raises:
        ValueError: an argument lies outside its range, when the model is fitted.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import GroupLassoCV
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> GroupLassoCV(cv=2, alphas=3).fit(X, y).coef_.shape
        (2,)

    References:
        Yuan, M., & Lin, Y. (2006). Model selection and estimation in regression with grouped variables. Journal of the
        Royal Statistical Society B, 68(1), 49-67.
    """

    _penalty = "group_lasso"


@dataclass(eq=False, repr=False)
class SparseGroupLasso(Ratio, Grouped, Regression, Single):
    """``|y - X w - b|**2 / (2 n) + alpha (r |w|_1 + (1 - r) sum_g |w_g|_2)`` with r = ``l1_ratio``.

    Args:
        alpha: strength of the penalty, >= 0.
        l1_ratio: share of the l1 norm, in [0, 1].
        groups: the group of each feature, integers; None makes each feature a group.
        fit_intercept: whether there is an intercept, without a penalty.
        tol: the duality gap to reach, relative to the objective where that is above 1.
        max_iter: the largest number of steps.

    Raises:
        ValueError: an argument lies outside its range, when the model is fitted.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import SparseGroupLasso
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> SparseGroupLasso(alpha=0.1).fit(X, y).coef_.shape
        (2,)

    References:
        Simon, N., Friedman, J., Hastie, T., & Tibshirani, R. (2013). A sparse-group lasso. Journal of Computational and
        Graphical Statistics, 22(2), 231-245.
    """

    _penalty = "sparse_group_lasso"


@dataclass(eq=False, repr=False)
class SparseGroupLassoCV(Ratio, Grouped, Regression, CrossValidated):
    """SparseGroupLasso with the strength chosen by cross-validation.

    Args:
        l1_ratio: share of the l1 norm, in [0, 1].
        groups: the group of each feature, integers; None makes each feature a group.
        alphas: the strengths, or how many, from the largest useful one down.
        eps: the last strength divided by the first one, where ``alphas`` is a number.
        fit_intercept: whether there is an intercept, without a penalty.
        tol: the duality gap to reach, relative to the objective where that is above 1.
        max_iter: the largest number of steps.
        cv: the folds, as everywhere in scikit-learn; their training rows may overlap.
        rule: "best", or "one_standard_error" for the largest strength within one of the best.

    Raises:
        ValueError: an argument lies outside its range, when the model is fitted.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import SparseGroupLassoCV
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> SparseGroupLassoCV(cv=2, alphas=3).fit(X, y).coef_.shape
        (2,)

    References:
        Simon, N., Friedman, J., Hastie, T., & Tibshirani, R. (2013). A sparse-group lasso. Journal of Computational and
        Graphical Statistics, 22(2), 231-245.
    """

    _penalty = "sparse_group_lasso"
