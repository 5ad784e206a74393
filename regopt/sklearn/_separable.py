"""Squared errors with the lasso and the elastic net.

The objective is ``sum_i c_i loss_i / sum_i c_i`` plus the penalty, with sample weights c. Fits are in float64.
"""

from dataclasses import dataclass

from regopt.sklearn._base import CrossValidated, Single
from regopt.sklearn._mixins import Ratio, Regression


@dataclass(eq=False, repr=False)
class Lasso(Regression, Single):
    """``|y - X w - b|**2 / (2 n) + alpha |w|_1``.

    Args:
        alpha: strength of the penalty, >= 0.
        fit_intercept: whether there is an intercept, without a penalty.
        tol: the duality gap to reach, relative to the objective where that is above 1.
        max_iter: the largest number of steps.

    Raises:
        ValueError: an argument lies outside its range, when the model is fitted.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import Lasso
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> Lasso(alpha=0.1).fit(X, y).coef_.shape
        (2,)

    References:
        Tibshirani, R. (1996). Regression shrinkage and selection via the lasso. Journal of the Royal Statistical
        Society B, 58(1), 267-288.
    """

    _penalty = "l1"


@dataclass(eq=False, repr=False)
class LassoCV(Regression, CrossValidated):
    """Lasso with the strength chosen by cross-validation.

    Args:
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
        >>> from regopt.sklearn import LassoCV
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> LassoCV(cv=2, alphas=3).fit(X, y).coef_.shape
        (2,)

    References:
        Tibshirani, R. (1996). Regression shrinkage and selection via the lasso. Journal of the Royal Statistical
        Society B, 58(1), 267-288.
    """

    _penalty = "l1"


@dataclass(eq=False, repr=False)
class ElasticNet(Ratio, Regression, Single):
    """``|y - X w - b|**2 / (2 n) + alpha (r |w|_1 + (1 - r) / 2 |w|**2)`` with r = ``l1_ratio``.

    Args:
        alpha: strength of the penalty, >= 0.
        l1_ratio: share of the l1 norm, in [0, 1].
        fit_intercept: whether there is an intercept, without a penalty.
        tol: the duality gap to reach, relative to the objective where that is above 1.
        max_iter: the largest number of steps.

    Raises:
        ValueError: an argument lies outside its range, when the model is fitted.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import ElasticNet
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> ElasticNet(alpha=0.1).fit(X, y).coef_.shape
        (2,)

    References:
        Zou, H., & Hastie, T. (2005). Regularization and variable selection via the elastic net. Journal of the Royal
        Statistical Society B, 67(2), 301-320.
    """

    _penalty = "elastic_net"


@dataclass(eq=False, repr=False)
class ElasticNetCV(Ratio, Regression, CrossValidated):
    """ElasticNet with the strength chosen by cross-validation.

    Args:
        l1_ratio: share of the l1 norm, in [0, 1].
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
        >>> from regopt.sklearn import ElasticNetCV
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> ElasticNetCV(cv=2, alphas=3).fit(X, y).coef_.shape
        (2,)

    References:
        Zou, H., & Hastie, T. (2005). Regularization and variable selection via the elastic net. Journal of the Royal
        Statistical Society B, 67(2), 301-320.
    """

    _penalty = "elastic_net"
