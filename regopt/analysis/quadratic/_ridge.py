"""Ridge regression under the four scales of squared error in use."""

from typing import Literal

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, like, widen
from regopt._core.types import Number

Loss = Literal["half mean", "mean", "half sum", "sum"]


def ridge_alpha(strength: Number, examples: Number, loss: Loss = "half mean") -> jax.Array:
    """The a in ``(X'X + a I)^-1 X'y``, the minimum of a squared error plus ``strength / 2 * |w|**2``.

    The four errors in use are ``|Xw - y|**2`` times 1/(2n) ("half mean": a = n strength), 1/n ("mean": a = n strength
    / 2), 1/2 ("half sum": a = strength) and 1 ("sum": a = strength / 2, often printed without the half). The result
    is what scikit-learn's ``Ridge`` calls ``alpha``.

    Args:
        strength: >= 0, in the units of the loss per squared parameter.
        examples: n, > 0.
        loss: which squared error.

    Returns:
        a, as an array.

    Raises:
        ValueError: a concrete number lies outside its range, or ``loss`` is unknown.

    References: Goodfellow et al. (2016), (7.14)-(7.17), where the half is missing.

    >>> ridge_alpha(0.5, examples=10), ridge_alpha(0.5, examples=10, loss="sum")
    (Array(5., dtype=float32), Array(0.25, dtype=float32))
    """
    check_range("strength", strength, "[0, inf)")
    check_range("examples", examples, "(0, inf)")
    (strength,) = widen(strength)
    examples = like(examples, strength)
    factors = {"half mean": examples, "mean": examples / 2, "half sum": 1.0, "sum": 0.5}
    if loss not in factors:
        raise ValueError(f"loss must be one of {list(factors)}, got {loss!r}")
    return strength * factors[loss]


def ridge_solution(x: jax.Array, y: jax.Array, strength: Number, loss: Loss = "half mean") -> jax.Array:
    """The minimum of a squared error plus ``strength / 2 * |w|**2``; see ``ridge_alpha`` for the four errors.

    Args:
        x: inputs, ``[examples, n]``.
        y: targets, ``[examples]``.
        strength: >= 0.
        loss: which squared error.

    Returns:
        ``[n]``; at strength 0 the least-squares solution of smallest norm.

    Raises:
        ValueError: shapes do not match, a concrete number lies outside its range, or ``loss`` is unknown.

    References: Goodfellow et al. (2016), (7.17); Hoerl & Kennard (1970), (2.1).

    >>> ridge_solution(jnp.eye(2), jnp.array([2.0, 4.0]), 1.0, loss="half sum")
    Array([1., 2.], dtype=float32)
    """
    x, y = widen(x, y)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"x must have shape [examples, n] and y [examples], got {x.shape} and {y.shape}")
    gram = x.T @ x
    alpha = like(ridge_alpha(strength, len(x), loss), gram)
    damped = gram + alpha * jnp.eye(len(gram), dtype=gram.dtype)
    return jnp.linalg.pinv(damped, hermitian=True) @ (x.T @ y)
