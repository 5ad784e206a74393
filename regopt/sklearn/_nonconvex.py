"""Squared errors with nonconvex penalties.

The objective is ``sum_i c_i loss_i / sum_i c_i`` plus the penalty, with sample weights c. Fits are in float64.
"""

from dataclasses import dataclass, field

from regopt.sklearn._base import CrossValidated, Single
from regopt.sklearn._mixins import Concave, Regression


@dataclass(eq=False, repr=False)
class MCPRegression(Concave, Regression, Single):
    """``|y - X w - b|**2 / (2 n)`` plus the minimax concave penalty.

    The problem is not convex: the solution is a stationary point, which is followed from the strength at which all
    coefficients are 0 down.

    Args:
        alpha: strength of the penalty, >= 0.
        gamma: width of the concave part, > 0; see ``penalties.mcp``.
        fit_intercept: whether there is an intercept, without a penalty.
        tol: the norm of the generalised gradient to reach.
        max_iter: the largest number of steps.

    Raises:
        ValueError: an argument lies outside its range, when the model is fitted.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import MCPRegression
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> MCPRegression(alpha=0.1).fit(X, y).coef_.shape
        (2,)

    References:
        Zhang, C.-H. (2010). Nearly unbiased variable selection under minimax concave penalty. Annals of Statistics,
        38(2), 894-942.
    """

    _penalty = "mcp"


@dataclass(eq=False, repr=False)
class MCPRegressionCV(Concave, Regression, CrossValidated):
    """MCPRegression with the strength chosen by cross-validation.

    Args:
        gamma: width of the concave part, > 0; see ``penalties.mcp``.
        alphas: the strengths, or how many, from the largest useful one down.
        eps: the last strength divided by the first one, where ``alphas`` is a number.
        fit_intercept: whether there is an intercept, without a penalty.
        tol: the norm of the generalised gradient to reach.
        max_iter: the largest number of steps.
        cv: the folds, as everywhere in scikit-learn; their training rows may overlap.
        rule: "best", or "one_standard_error" for the largest strength within one of the best.

    Raises:
        ValueError: an argument lies outside its range, when the model is fitted.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import MCPRegressionCV
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> MCPRegressionCV(cv=2, alphas=3).fit(X, y).coef_.shape
        (2,)

    References:
        Zhang, C.-H. (2010). Nearly unbiased variable selection under minimax concave penalty. Annals of Statistics,
        38(2), 894-942.
    """

    _penalty = "mcp"


@dataclass(eq=False, repr=False)
class SCADRegression(Concave, Regression, Single):
    """``|y - X w - b|**2 / (2 n)`` plus the smoothly clipped absolute deviation.

    The problem is not convex: the solution is a stationary point, which is followed from the strength at which all
    coefficients are 0 down.

    Args:
        alpha: strength of the penalty, >= 0.
        gamma: end of the concave part, > 1; see ``penalties.scad``.
        fit_intercept: whether there is an intercept, without a penalty.
        tol: the norm of the generalised gradient to reach.
        max_iter: the largest number of steps.

    Raises:
        ValueError: an argument lies outside its range, when the model is fitted.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import SCADRegression
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> SCADRegression(alpha=0.1).fit(X, y).coef_.shape
        (2,)

    References:
        Fan, J., & Li, R. (2001). Variable selection via nonconcave penalized likelihood and its oracle properties.
        Journal of the American Statistical Association, 96(456), 1348-1360.
    """

    _penalty = "scad"
    _least_gamma = 1.0
    gamma: float = field(default=3.7, kw_only=True)


@dataclass(eq=False, repr=False)
class SCADRegressionCV(Concave, Regression, CrossValidated):
    """SCADRegression with the strength chosen by cross-validation.

    Args:
        gamma: end of the concave part, > 1; see ``penalties.scad``.
        alphas: the strengths, or how many, from the largest useful one down.
        eps: the last strength divided by the first one, where ``alphas`` is a number.
        fit_intercept: whether there is an intercept, without a penalty.
        tol: the norm of the generalised gradient to reach.
        max_iter: the largest number of steps.
        cv: the folds, as everywhere in scikit-learn; their training rows may overlap.
        rule: "best", or "one_standard_error" for the largest strength within one of the best.

    Raises:
        ValueError: an argument lies outside its range, when the model is fitted.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import SCADRegressionCV
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([-2.0, -1.5, 1.0, 2.5])
        >>> SCADRegressionCV(cv=2, alphas=3).fit(X, y).coef_.shape
        (2,)

    References:
        Fan, J., & Li, R. (2001). Variable selection via nonconcave penalized likelihood and its oracle properties.
        Journal of the American Statistical Association, 96(456), 1348-1360.
    """

    _penalty = "scad"
    _least_gamma = 1.0
    gamma: float = field(default=3.7, kw_only=True)
