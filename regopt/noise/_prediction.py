"""Predictions averaged over noise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.numerics import widen
from regopt._core.types import Key, Tree


def monte_carlo(predict: Callable[[Key], Tree], key: Key, samples: int) -> tuple[Tree, Tree]:
    """Mean and variance of ``predict(key)`` over ``samples`` independent keys: Monte Carlo dropout, for one.

    The samples are drawn one after the other, so memory does not grow with their number.

    Args:
        predict: pure; from a key to an array or a tree of arrays.
        key: a typed key, used once.
        samples: how many, at least 2.

    Returns:
        The mean, and the unbiased variance (divided by samples - 1), each shaped as one prediction and in at least
        float32. To the variance Gal & Ghahramani add that of the observation noise.

    Raises:
        ValueError: fewer than two samples.

    References: Gal & Ghahramani (2016), section 4; Welford (1962) for the running sums.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")

    def add(carry, at):
        count, each = at
        drawn = jax.tree.map(lambda x: widen(x)[0], predict(each))
        before, squares = carry
        mean = jax.tree.map(lambda m, x: m + (x - m) / count.astype(m.dtype), before, drawn)
        squares = jax.tree.map(lambda s, x, b, m: s + (x - b) * (x - m), squares, drawn, before, mean)
        return (mean, squares), None

    shapes = jax.eval_shape(lambda each: jax.tree.map(lambda x: widen(x)[0], predict(each)), key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    counts = jnp.arange(1, samples + 1)
    (mean, squares), _ = jax.lax.scan(add, (zeros, zeros), (counts, jax.random.split(key, samples)))
    return mean, jax.tree.map(lambda s: s / (samples - 1), squares)
