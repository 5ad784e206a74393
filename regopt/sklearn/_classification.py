"""Estimators of classification: logistic and multinomial regression with the elastic net.

The objective is ``sum_i c_i loss_i / sum_i c_i`` plus the penalty, with sample weights c. Fits are in float64.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from regopt.sklearn._base import CrossValidated, Single
from regopt.sklearn._mixins import Ratio


class _Classification(ClassifierMixin, Ratio):
    """The common part of the classifiers."""

    _classifier = True
    _always_multinomial = False

    def _check(self, X, y, sample_weight):
        self._check_tolerance()
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must have at least two classes, got one class: {self.classes_}")
        one_hot = np.eye(len(self.classes_))[indices]
        binary = len(self.classes_) == 2 and not self._always_multinomial
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return X, indices.astype(np.float64) if binary else one_hot, weights

    def _set(self, w, intercept):
        self.coef_, self.intercept_ = np.atleast_2d(w.T), np.atleast_1d(intercept)

    def _loss(self, eta, y):
        if y.ndim == 2:
            return np.logaddexp(0, eta) - y * eta
        return np.logaddexp.reduce(eta, axis=-1) - (y * eta).sum(-1)

    def decision_function(self, X):
        """The predictor, ``[examples, classes]``; of two classes that of the second less that of the first."""
        eta = self._eta(X)
        if eta.shape[1] == 1:
            return eta[:, 0]
        return eta[:, 1] - eta[:, 0] if eta.shape[1] == 2 else eta

    def predict_proba(self, X):
        """The probabilities of the classes, ``[examples, classes]``."""
        eta = self._eta(X)
        return softmax(np.hstack([np.zeros_like(eta), eta]) if eta.shape[1] == 1 else eta, axis=1)

    def predict_log_proba(self, X):
        """The logarithms of the probabilities."""
        return np.log(self.predict_proba(X))

    def predict(self, X):
        """The most probable class of each example."""
        eta = self.decision_function(X)
        return self.classes_[(eta > 0).astype(int) if eta.ndim == 1 else eta.argmax(1)]


@dataclass(eq=False, repr=False)
class LogisticRegression(_Classification, Single):
    """``sum_i log(1 + exp(-s_i eta_i)) / n`` plus the elastic net; multinomial beyond two classes.

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
        >>> from regopt.sklearn import LogisticRegression
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([0, 1, 0, 1])
        >>> LogisticRegression(alpha=0.1).fit(X, y).coef_.shape
        (1, 2)

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22.
    """

    _penalty = "elastic_net"
    _family = "logistic"
    alpha: float = 0.01


@dataclass(eq=False, repr=False)
class LogisticRegressionCV(_Classification, CrossValidated):
    """LogisticRegression with the strength chosen by cross-validation.

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
        >>> from regopt.sklearn import LogisticRegressionCV
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([0, 1, 0, 1])
        >>> LogisticRegressionCV(cv=2, alphas=3).fit(X, y).coef_.shape
        (1, 2)

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22.
    """

    _penalty = "elastic_net"
    _family = "logistic"


@dataclass(eq=False, repr=False)
class MultinomialRegression(_Classification, Single):
    """``-sum_i log softmax(eta_i)[y_i] / n`` plus the elastic net, a predictor for each class.

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
        >>> from regopt.sklearn import MultinomialRegression
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([0, 1, 0, 1])
        >>> MultinomialRegression(alpha=0.1).fit(X, y).coef_.shape
        (2, 2)

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22.
    """

    _penalty = "elastic_net"
    _family = "logistic"
    _always_multinomial = True
    alpha: float = 0.01


@dataclass(eq=False, repr=False)
class MultinomialRegressionCV(_Classification, CrossValidated):
    """MultinomialRegression with the strength chosen by cross-validation.

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
        >>> from regopt.sklearn import MultinomialRegressionCV
        >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
        >>> y = np.array([0, 1, 0, 1])
        >>> MultinomialRegressionCV(cv=2, alphas=3).fit(X, y).coef_.shape
        (2, 2)

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22.
    """

    _penalty = "elastic_net"
    _family = "logistic"
    _always_multinomial = True
