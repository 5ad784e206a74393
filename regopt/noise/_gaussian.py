"""Gaussian noise, multiplied or added."""

import jax
import jax.numpy as jnp

from regopt._core.numerics import as_float, check_range, like, one_minus, safe_divide, safe_sqrt, widen
from regopt._core.types import Key, Number


def gaussian_dropout(key: Key, x: jax.Array, rate: Number) -> jax.Array:
    """``x_i * z_i`` with ``z_i`` normal of mean 1 and variance ``rate / (1 - rate)``: mean and variance of dropout.

    Inference needs no scaling. Values and slopes (for a fixed draw) are finite everywhere: at 0 the result is x, with
    slope 0 in the rate, and at 1, where the variance has no bound, it is 0 as that of dropout.

    Args:
        key: a typed key, used once.
        x: array of any shape, floating point.
        rate: of the dropout that it stands for, in [0, 1]; may be traced.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    References: Srivastava et al. (2014), section 10.
    """
    check_range("rate", rate, "[0, 1]")
    (wide,) = widen(x)
    keep = like(as_float(one_minus(rate)), wide)
    deviation = safe_sqrt(safe_divide(like(rate, wide), keep))
    noisy = wide * (1 + deviation * jax.random.normal(key, x.shape, wide.dtype))
    return jnp.where(keep > 0, noisy, 0).astype(x.dtype)


def gaussian_noise(key: Key, x: jax.Array, deviation: Number) -> jax.Array:
    """``x_i + deviation * z_i`` with standard normal ``z_i``.

    On inputs it is, to second order in the deviation, a penalty on the slopes of the model (Tikhonov's); on weights,
    one on the outputs' sensitivity to them.

    Args:
        key: a typed key, used once.
        x: array of any shape, floating point.
        deviation: standard deviation, >= 0, in units of x; may be traced.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete deviation is negative.

    References: Bishop (1995); Goodfellow et al. (2016), section 7.5.
    """
    check_range("deviation", deviation, "[0, inf)")
    (wide,) = widen(x)
    return (wide + like(deviation, wide) * jax.random.normal(key, x.shape, wide.dtype)).astype(x.dtype)
