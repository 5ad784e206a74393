"""Predictions averaged over noise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.checks import check_function, check_index, check_key
from regopt._core.numerics import widen
from regopt._core.types import Key, Tree


def monte_carlo(predict: Callable[[Key], Tree], key: Key, samples: int) -> tuple[Tree, Tree]:
    """Mean and variance of ``predict(key)`` over ``samples`` independent keys, as in Monte Carlo dropout.

    The samples are drawn sequentially, so memory does not grow with their number.

    Args:
        predict: a pure function from a key to an array or a tree of arrays; static.
        key: a typed PRNG key, which is used once.
        samples: number of samples, at least 2; static.

    Returns:
        The mean and the unbiased variance (with the divisor ``samples - 1``), each with the shape of one prediction and
        in at least float32. Gal & Ghahramani add the variance of the observation noise.

    Raises:
        ValueError: fewer than two samples.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.noise import dropout, monte_carlo
        >>> def predict(key):
        ...     return dropout(key, jnp.array([2.0]), 0.5)
        ...
        >>> mean, variance = monte_carlo(predict, jax.random.key(0), samples=4)
        >>> mean.shape, bool(variance >= 0)
        ((1,), True)

    References:
        Gal, Y., & Ghahramani, Z. (2016). Dropout as a Bayesian approximation: Representing model uncertainty in deep
        learning. ICML. Section 4.

        Welford, B. P. (1962). Note on a method for calculating corrected sums of squares and products. Technometrics,
        4(3), 419-420. For the running sums.
    """
    check_function("predict", predict)
    check_key("key", key)
    check_index("samples", samples)
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
