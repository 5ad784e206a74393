"""Random perturbations as pure functions, ``noise(key, x, ...)``, with rates that may be traced.

The flax modules in ``regopt.layers`` call these. A key shared by the lanes of a vmap gives every lane the same
uniform field, which each compares with its own rate.
"""

import jax
import jax.numpy as jnp

from regopt.numerics import as_float, check_range, like, one_minus, safe_divide, widen
from regopt.types import Key, Number


def dropout(key: Key, x: jax.Array, rate: Number) -> jax.Array:
    """Inverted dropout, ``x_i * d_i / (1 - rate)`` with ``P(d_i = 1) = 1 - rate``, so the mean stays x.

    The deck's retention probability p is ``1 - rate``. Values and slopes (in x and in rate, for a fixed draw)
    are finite at both ends: at 0 the result is x, at 1 it is 0.

    Args:
        key: a typed key, used once.
        x: array of any shape, floating point.
        rate: probability of dropping an entry, in [0, 1]; may be traced.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    References: Srivastava et al. (2014), section 4, in its inverted form; Goodfellow et al. (2016), section 7.12.

    >>> dropout(jax.random.key(0), jnp.ones(4), 0.5)
    Array([0., 0., 2., 2.], dtype=float32)
    """
    check_range("rate", rate, "[0, 1]")
    keep = as_float(one_minus(rate))
    kept = jax.random.bernoulli(key, jax.lax.stop_gradient(keep), x.shape)
    (wide,) = widen(x)
    return jnp.where(kept, safe_divide(wide, like(keep, wide)), 0).astype(x.dtype)
