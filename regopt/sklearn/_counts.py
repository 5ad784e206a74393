"""Poisson regression with the elastic net.

The objective is ``sum_i c_i loss_i / sum_i c_i`` plus the penalty, with sample weights c. Fits are in float64.
"""

from dataclasses import dataclass

import numpy as np

from regopt.sklearn._base import CrossValidated, Linear, Single
from regopt.sklearn._mixins import Ratio, Regression


class _Counts(Linear):
    """Poisson regression."""

    def _targets(self, y: np.ndarray) -> np.ndarray:
        if (y < 0).any():
            raise ValueError("y must not be negative for Poisson regression")
        if not y.any():
            raise ValueError("y must have an entry above 0 for Poisson regression")
        return y

    def _loss(self, eta, y):
        return np.exp(eta) - y * eta

    def predict(self, X):
        """The expected targets, ``[examples]``."""
        return np.exp(self._eta(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags


@dataclass(eq=False, repr=False)
class PoissonRegression(_Counts, Ratio, Regression, Single):
    """``sum_i (exp(eta_i) - y_i eta_i) / n`` plus the elastic net, with ``eta = X w + b``.

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
        >>> from regopt.sklearn import PoissonRegression
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([0.0, 1.0, 2.0, 5.0])
        >>> PoissonRegression(alpha=0.1).fit(X, y).coef_.shape
        (2,)

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22.
    """

    _penalty = "elastic_net"
    _family = "poisson"


@dataclass(eq=False, repr=False)
class PoissonRegressionCV(_Counts, Ratio, Regression, CrossValidated):
    """PoissonRegression with the strength chosen by cross-validation.

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
        >>> from regopt.sklearn import PoissonRegressionCV
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([0.0, 1.0, 2.0, 5.0])
        >>> PoissonRegressionCV(cv=2, alphas=3).fit(X, y).coef_.shape
        (2,)

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22.
    """

    _penalty = "elastic_net"
    _family = "poisson"
