"""Bagging: one learner on bootstrap samples, and the error on the examples left out, which costs no further fit."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_whole, safe_divide
from regopt._core.types import Key, Tree
from regopt.data import bootstrap
from regopt.ensembles._learner import Learner, fit_each, predict_each


class Bagged(NamedTuple):
    """The members of a bagged ensemble."""

    models: Tree  # each leaf [members, ...]; a list where the learner cannot be traced
    counts: jax.Array  # [members, n], int32: how often an example is in each member's sample


class Bagging(NamedTuple):
    """A bagged ensemble as pure functions.

    Attributes:
        fit: a function ``(key, x, y)`` to ``Bagged``.
        predict: a function ``(bagged, x)`` to the predictions of all members, ``[members, n, ...]``.
    """

    fit: Callable[[Key, jax.Array, jax.Array], Bagged]
    predict: Callable[[Bagged, jax.Array], jax.Array]


def bagging(learner: Learner, members: int = 10, *, resample: bool = True) -> Bagging:
    """Fit a learner to bootstrap samples of the training set, each member as a lane with its own counts as weights.

    Args:
        learner: the learner to fit; static.
        members: number of members, >= 1; static.
        resample: whether the members see bootstrap samples; if not, all see all examples and differ in their keys
            alone, as networks with other initial weights do; static.

    Returns:
        The functions ``fit`` and ``predict``; for one prediction see ``arithmetic_mean``, ``geometric_mean`` and
        ``majority_vote``, and for an honest error ``out_of_bag``.

    Raises:
        ValueError: ``members`` is no whole number >= 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import bagging, nearest_neighbours
        >>> method = bagging(nearest_neighbours(1), members=3)
        >>> x = jnp.arange(10.0)[:, None]
        >>> bagged = method.fit(jax.random.key(0), x, x[:, 0])
        >>> bagged.counts.sum(axis=1), method.predict(bagged, x).shape
        (Array([10, 10, 10], dtype=int32), (3, 10))

    References:
        Breiman, L. (1996). Bagging predictors. Machine Learning, 24(2), 123-140. Section 1.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.11.
    """
    check_whole("members", members, "[1, inf)")

    def fit(key, x, y):
        draw_key, fit_key = jax.random.split(key)
        examples = len(x)
        if resample:
            rows = bootstrap(draw_key, members, examples)
            counts = jax.vmap(lambda row: jnp.zeros(examples, jnp.int32).at[row].add(1))(rows)
        else:
            counts = jnp.ones((members, examples), jnp.int32)
        weights = counts.astype(x.dtype)
        return Bagged(fit_each(learner, jax.random.split(fit_key, members), x, y, weights), counts)

    def predict(bagged, x):
        return predict_each(learner, bagged.models, x)

    return Bagging(fit, predict)


def out_of_bag(predictions: jax.Array, counts: jax.Array) -> jax.Array:
    """The mean prediction for each training example over the members whose sample does not contain it.

    Args:
        predictions: of all members for the training inputs, ``[members, n, ...]``.
        counts: how often each example is in each member's sample, ``[members, n]``.

    Returns:
        The means, ``[n, ...]``; NaN for an example that all members have seen.

    Raises:
        ValueError: the leading axes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import out_of_bag
        >>> out_of_bag(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[0, 2], [0, 1]]))
        Array([ 2., nan], dtype=float32)

    References:
        Breiman, L. (2001). Random forests. Machine Learning, 45(1), 5-32. Section 3.1.
    """
    if predictions.shape[:2] != counts.shape:
        raise ValueError(f"predictions must have the leading axes {counts.shape}, got {predictions.shape}")
    unseen = (counts == 0).astype(predictions.dtype)
    number = jnp.sum(unseen, axis=0)
    each = unseen.reshape(unseen.shape + (1,) * (predictions.ndim - 2))
    total = jnp.sum(each * predictions, axis=0)
    number = jnp.broadcast_to(number.reshape(number.shape + (1,) * (total.ndim - 1)), total.shape)
    return jnp.where(number > 0, safe_divide(total, number), jnp.nan)
