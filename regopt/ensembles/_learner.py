"""Learners: the parts of an ensemble as pure functions, and scikit-learn's estimators in the same form.

A learner is fitted with a weight for each example. A bootstrap sample is a vector of counts, a fold is a vector with
zeros, and a round of boosting is a vector of any positive numbers, so members of an ensemble differ in a vector and
can be lanes of one program. For the learners themselves see ``_stump.py`` and ``_learners.py``.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import clone

from regopt._core.types import Key, Tree


class Learner(NamedTuple):
    """A rule that fits a model to weighted examples.

    A classifier predicts the probabilities of the classes, ``[n, classes]``, and its targets are whole numbers from 0
    to ``classes - 1``. A regressor predicts numbers, ``[n]``. Only the ratios of the weights count, and an example of
    weight 0 is as good as absent.

    Attributes:
        fit: a function ``(key, x, y, weights)`` to the fitted model, a tree of arrays.
        predict: a function ``(model, x)`` to the predictions.
        traced: whether both can be traced, so that ensembles map and scan them; else they are called in a loop.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import Learner
        >>> mean = Learner(
        ...     fit=lambda key, x, y, weights: jnp.sum(weights * y) / jnp.sum(weights),
        ...     predict=lambda model, x: jnp.full(len(x), model),
        ... )
        >>> model = mean.fit(jax.random.key(0), jnp.zeros((2, 1)), jnp.array([1.0, 4.0]), jnp.array([2.0, 1.0]))
        >>> mean.predict(model, jnp.zeros((1, 1)))
        Array([2.], dtype=float32)

    References:
        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Section 10.1 (weighted examples).
    """

    fit: Callable[[Key, jax.Array, jax.Array, jax.Array], Tree]
    predict: Callable[[Tree, jax.Array], jax.Array]
    traced: bool = True


class Estimator(Protocol):
    """The part of an estimator of scikit-learn that is used."""

    @property
    def fit(self) -> Callable[..., object]: ...
    def get_params(self, deep: bool = True) -> dict[str, object]: ...
    def set_params(self, **params: object) -> object: ...


def from_estimator(estimator: Estimator, *, classes: int | None = None) -> Learner:
    """A learner that fits clones of a scikit-learn estimator, one after the other.

    Args:
        estimator: an unfitted estimator whose ``fit`` takes ``sample_weight``. If it has a ``random_state``, each clone
            gets one that depends on its key.
        classes: number of classes of a classifier with ``predict_proba``; None for a regressor.

    Returns:
        The learner, which cannot be traced.

    Raises:
        ValueError: the estimator takes no ``sample_weight``.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from sklearn.tree import DecisionTreeRegressor
        >>> from regopt.ensembles import from_estimator
        >>> tree = from_estimator(DecisionTreeRegressor(max_depth=1))
        >>> x, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([0.0, 1.0, 5.0])
        >>> tree.predict(tree.fit(jax.random.key(0), x, y, jnp.array([1.0, 1.0, 0.0])), x)
        Array([0., 1., 1.], dtype=float32)

    References:
        Breiman, L., Friedman, J. H., Olshen, R. A., & Stone, C. J. (1984). Classification and Regression Trees.
        Wadsworth. For the trees, which are the usual members.
    """
    if "sample_weight" not in inspect.signature(estimator.fit).parameters:
        raise ValueError(f"estimator must take sample_weight in fit, got {type(estimator).__name__}")

    def fit(key, x, y, weights):
        member = cast(Estimator, clone(estimator))
        if "random_state" in member.get_params(deep=False):
            member.set_params(random_state=int(jax.random.bits(key, (), "uint32") >> 1))
        return member.fit(np.asarray(x), np.asarray(y), sample_weight=np.asarray(weights))

    def predict(model, x):
        if classes is None:
            return jnp.asarray(model.predict(np.asarray(x)), jnp.result_type(float))
        found = model.predict_proba(np.asarray(x)) @ np.eye(classes)[np.asarray(model.classes_, int)]
        return jnp.asarray(found, jnp.result_type(float))

    return Learner(fit, predict, traced=False)


def fit_each(learner: Learner, keys: Key, x: jax.Array, y: jax.Array, weights: jax.Array) -> Tree:
    """A model for each row of the weights: lanes of one program, or a list where the learner cannot be traced."""
    if learner.traced:
        return jax.jit(jax.vmap(learner.fit, in_axes=(0, None, None, 0)))(keys, x, y, weights)
    return [learner.fit(key, x, y, row) for key, row in zip(keys, weights, strict=True)]


def predict_each(learner: Learner, models: Tree, x: jax.Array) -> jax.Array:
    """The predictions of each model, ``[models, n, ...]``."""
    if learner.traced:
        return jax.jit(jax.vmap(learner.predict, in_axes=(0, None)))(models, x)
    return jnp.stack([learner.predict(model, x) for model in models])
