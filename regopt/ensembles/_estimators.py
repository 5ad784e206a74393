"""Bagging, boosting and stacking with scikit-learn's interface: ``fit``, ``predict``, ``predict_proba``, ``score``.

The mathematics is in the other files; here are the checks of the data, the names of the classes, and attributes that
end in an underscore.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from regopt._core.checks import check_choice
from regopt._core.types import Tree
from regopt.ensembles._bagging import Bagging, bagging, out_of_bag
from regopt.ensembles._boosting import adaboost
from regopt.ensembles._combine import COMBINERS
from regopt.ensembles._learner import Learner
from regopt.ensembles._learners import nearest_neighbours, ridge
from regopt.ensembles._multiclass import samme
from regopt.ensembles._rounds import Boosting
from regopt.ensembles._stacking import Stacking, stacking
from regopt.ensembles._stump import stump

OfClasses = Callable[[int], Learner]  # from the number of classes


def _read_pair(estimator: BaseEstimator, x, y, **how) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = validate_data(estimator, x, y, **how)
    return np.asarray(inputs), np.asarray(targets)


def _read_inputs(estimator: BaseEstimator, x) -> jax.Array:
    check_is_fitted(estimator, "ensemble_")
    return _float(np.asarray(validate_data(estimator, x, reset=False)))


def _float(x: np.ndarray) -> jax.Array:
    return jnp.asarray(x, jnp.result_type(float))


class _Classifier(ClassifierMixin, BaseEstimator):
    """The common part of the classifiers: targets as numbers from 0 up, and back."""

    classes_: np.ndarray
    ensemble_: Tree

    def _read(self, x, y):
        x, y = _read_pair(self, x, y)
        check_classification_targets(y)
        self.classes_, places = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"the targets must have two classes or more, got one class: {self.classes_[0]!r}")
        return _float(x), jnp.asarray(places, jnp.int32)


class BaggedClassifier(_Classifier):
    """Bagging of classifiers, with the out-of-bag error.

    Args:
        learner: a function from the number of classes to the learner, such as ``stump`` or
            ``functools.partial(network, width=4)``.
        members: number of members.
        combine: "arithmetic", "geometric" or "vote".
        random_state: a whole number >= 0; the same number gives the same ensemble.

    Attributes:
        ensemble_: the ``Bagged`` members.
        oob_error_: share of the examples that the members which have not seen them get wrong.

    Raises:
        ValueError: ``fit`` raises for wrong arguments and data.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from regopt.ensembles import BaggedClassifier
        >>> x, y = load_iris(return_X_y=True)
        >>> model = BaggedClassifier(members=20).fit(x, y)
        >>> model.score(x, y) > 0.6, model.predict_proba(x[:2]).shape
        (True, (2, 3))

    References:
        Breiman, L. (1996). Bagging predictors. Machine Learning, 24(2), 123-140. Section 1.
    """

    def __init__(
        self,
        learner: OfClasses = stump,
        *,
        members: int = 10,
        combine: Literal["arithmetic", "geometric", "vote"] = "arithmetic",
        random_state: int = 0,
    ):
        self.learner, self.members, self.combine, self.random_state = learner, members, combine, random_state

    def fit(self, X, y):
        """Fit the members to bootstrap samples of ``X`` ``[n, features]`` and ``y`` ``[n]``."""
        check_choice("combine", self.combine, COMBINERS)
        x, places = self._read(X, y)
        method = self._method()
        self.ensemble_ = method.fit(jax.random.key(self.random_state), x, places)
        unseen = np.asarray(out_of_bag(method.predict(self.ensemble_, x), self.ensemble_.counts))
        known = np.isfinite(unseen[:, 0])
        wrong = unseen[known].argmax(axis=1) != np.asarray(places)[known]
        self.oob_error_ = float(wrong.mean()) if known.any() else float("nan")
        return self

    def predict_proba(self, X):
        """The combined probabilities of the classes, ``[n, classes]``."""
        x = _read_inputs(self, X)
        return np.asarray(COMBINERS[self.combine](self._method().predict(self.ensemble_, x)))

    def _method(self) -> Bagging:
        return bagging(self.learner(len(self.classes_)), self.members)  # functions are not kept, as they do not pickle

    def predict(self, X):
        """The most probable class of each row."""
        places = self.predict_proba(X).argmax(axis=1)
        return self.classes_[places]


class BaggedRegressor(RegressorMixin, BaseEstimator):
    """Bagging of regressors, with the out-of-bag error.

    Args:
        learner: the learner to fit; the nearest neighbour by default.
        members: number of members.
        random_state: a whole number >= 0; the same number gives the same ensemble.

    Attributes:
        ensemble_: the ``Bagged`` members.
        oob_error_: mean squared error of the members that have not seen an example.

    Raises:
        ValueError: ``fit`` raises for wrong arguments and data.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> from regopt.ensembles import BaggedRegressor, nearest_neighbours
        >>> x, y = load_diabetes(return_X_y=True)
        >>> BaggedRegressor(nearest_neighbours(5), members=30).fit(x, y).score(x, y) > 0.5
        True

    References:
        Breiman, L. (1996). Bagging predictors. Machine Learning, 24(2), 123-140. Section 1.
    """

    def __init__(self, learner: Learner | None = None, *, members: int = 10, random_state: int = 0):
        self.learner, self.members, self.random_state = learner, members, random_state

    def fit(self, X, y):
        """Fit the members to bootstrap samples of ``X`` ``[n, features]`` and ``y`` ``[n]``."""
        x, y = map(_float, _read_pair(self, X, y, y_numeric=True))
        method = self._method()
        self.ensemble_ = method.fit(jax.random.key(self.random_state), x, y)
        unseen = out_of_bag(method.predict(self.ensemble_, x), self.ensemble_.counts)
        squares = np.asarray(jnp.square(unseen - y))
        self.oob_error_ = float(np.nanmean(squares)) if np.isfinite(squares).any() else float("nan")
        return self

    def predict(self, X):
        """The mean prediction of the members for each row."""
        x = _read_inputs(self, X)
        return np.asarray(self._method().predict(self.ensemble_, x).mean(axis=0))

    def _method(self) -> Bagging:
        return bagging(nearest_neighbours(1) if self.learner is None else self.learner, self.members)


class BoostedClassifier(_Classifier):
    """AdaBoost for two classes, and SAMME for more.

    Args:
        learner: a function from the number of classes to the weak learner.
        rounds: number of rounds.
        variant: "discrete" or "real"; see ``adaboost`` and ``samme``.
        random_state: a whole number >= 0.

    Attributes:
        ensemble_: the ``Boosted`` rounds, with their errors and coefficients.

    Raises:
        ValueError: ``fit`` raises for wrong arguments and data.

    Example:
        >>> from sklearn.datasets import load_breast_cancer
        >>> from regopt.ensembles import BoostedClassifier
        >>> x, y = load_breast_cancer(return_X_y=True)
        >>> BoostedClassifier(rounds=20).fit(x, y).score(x, y) > 0.97
        True

    References:
        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Algorithm 10.1.
    """

    def __init__(
        self,
        learner: OfClasses = stump,
        *,
        rounds: int = 50,
        variant: Literal["discrete", "real"] = "real",
        random_state: int = 0,
    ):
        self.learner, self.rounds, self.random_state = learner, rounds, random_state
        self.variant: Literal["discrete", "real"] = variant

    def fit(self, X, y):
        """Boost on ``X`` ``[n, features]`` and ``y`` ``[n]``."""
        x, places = self._read(X, y)
        self.ensemble_ = self._method().fit(jax.random.key(self.random_state), x, places)
        return self

    def decision_function(self, X):
        """``F(x)``: half the log-odds of the second of two classes, ``[n]``; of more classes ``[n, classes]``."""
        x = _read_inputs(self, X)
        return np.asarray(self._method().scores(self.ensemble_, x)[-1])

    def _method(self) -> Boosting:
        count = len(self.classes_)
        if count == 2:
            return adaboost(self.learner(2), self.rounds, variant=self.variant)
        return samme(self.learner(count), count, self.rounds, variant=self.variant)

    def predict_proba(self, X):
        """``1 / (1 + exp(-2 F))`` for the second of two classes; of K, the softmax of F, or of F / (K - 1) ("real")."""
        scores = self.decision_function(X)
        if scores.ndim == 2:
            return np.asarray(jax.nn.softmax(scores / (scores.shape[1] - 1 if self.variant == "real" else 1)))
        upper = np.asarray(jax.nn.sigmoid(2 * scores))
        return np.stack([1 - upper, upper], axis=1)

    def predict(self, X):
        """The class of each row."""
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)]


class StackedRegressor(RegressorMixin, BaseEstimator):
    """Stacking of regressors with weights >= 0 that sum to 1, from out-of-fold predictions.

    Args:
        learners: the members; ridge regression and nearest neighbours by default.
        folds: number of folds.
        random_state: a whole number >= 0.

    Attributes:
        ensemble_: the ``Stacked`` members and their weights.

    Raises:
        ValueError: ``fit`` raises for wrong arguments and data.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> from regopt.ensembles import StackedRegressor
        >>> x, y = load_diabetes(return_X_y=True)
        >>> StackedRegressor().fit(x, y).score(x, y) > 0.5
        True

    References:
        Breiman, L. (1996). Stacked regressions. Machine Learning, 24(1), 49-64. Section 2.
    """

    def __init__(self, learners: Sequence[Learner] | None = None, *, folds: int = 5, random_state: int = 0):
        self.learners, self.folds, self.random_state = learners, folds, random_state

    def fit(self, X, y):
        """Fit the members and their weights to ``X`` ``[n, features]`` and ``y`` ``[n]``."""
        x, y = map(_float, _read_pair(self, X, y, y_numeric=True, ensure_min_samples=2))
        self.ensemble_ = self._method(min(self.folds, len(x))).fit(jax.random.key(self.random_state), x, y)
        return self

    def predict(self, X):
        """The weighted prediction for each row."""
        x = _read_inputs(self, X)
        return np.asarray(self._method(self.folds).predict(self.ensemble_, x))

    def _method(self, folds: int) -> Stacking:
        learners = (ridge(1e-4), nearest_neighbours(5)) if self.learners is None else self.learners
        return stacking(learners, folds=folds)
