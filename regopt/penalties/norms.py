"""The prox of a Euclidean norm over one array's axes or over several arrays, with one reach or one for each coordinate.

A *reach* is step times strength.
"""

from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp

from regopt.numerics import direction_and_norm, safe_divide, safe_sqrt
from regopt.penalties.leafwise import magnitude

_NEWTON_STEPS = 20  # at most: about ten where reaches differ by a factor of 1e6 in float64, else some four


def shrink(arrays: Sequence[jax.Array], reach: jax.Array, axis: tuple[int, ...] | None = None) -> list[jax.Array]:
    """``max(1 - reach / |w|, 0) w``, exactly 0 where ``|w| <= reach`` and exactly w for a reach of 0.

    Args:
        arrays: w, of one dtype.
        reach: >= 0, shape ().
        axis: for a single array, the axes of the norm; None for all entries of all arrays.

    Returns:
        The arrays after it.
    """
    directions, norm = direction_and_norm(arrays, axis)
    return [jnp.where(norm > reach, w - reach * d, 0) for w, d in zip(arrays, directions, strict=True)]


def shrink_by_coordinate(
    arrays: Sequence[jax.Array], reaches: Sequence[jax.Array], axis: tuple[int, ...] | None = None
) -> list[jax.Array]:
    """``argmin_u sum_i (u_i - w_i)**2 / (2 reach_i) + |u|``: the norm's prox in a diagonal metric.

    ``u = w n / (n + reach)``, where ``n = |u|`` solves ``|w / (n + reach)| = 1``; 0 where ``|w / reach| <= 1``.

    Args:
        arrays: w, of one dtype.
        reaches: >= 0, each of shape () or of its array's shape.
        axis: for a single array, the axes of the norm; None for all entries of all arrays.

    Returns:
        The arrays after it.
    """
    pairs, keep = list(zip(arrays, reaches, strict=True)), axis is not None

    def newton(n, pairs):
        # on 1 / |w / (n + reach)| = 1, which is concave and rises with n: from the left it never overshoots
        terms = [(safe_divide(w, n + reach), n + reach) for w, reach in pairs]
        squares = reduce(jnp.add, [jnp.sum(t * t, axis=axis, keepdims=keep) for t, _ in terms])
        slope = reduce(jnp.add, [jnp.sum(safe_divide(t * t, m), axis=axis, keepdims=keep) for t, m in terms])
        return jnp.maximum(n + safe_divide(squares * (safe_sqrt(squares) - 1), slope), 0)

    # |u| >= |u_i| gives n >= |w_i| - reach_i, and no term beyond 1
    fixed = jax.lax.stop_gradient(pairs)
    bounds = [jnp.max(magnitude(w) - reach, axis=axis, keepdims=keep, initial=0) for w, reach in fixed]
    start = reduce(jnp.maximum, bounds)

    def moves(carry):
        count, before, n = carry
        return (count < _NEWTON_STEPS) & jnp.any(n > before * (1 + 4 * jnp.finfo(n.dtype).eps))

    def move(carry):
        count, _, n = carry
        return count + 1, n, newton(n, fixed)

    n = jax.lax.while_loop(moves, move, (1, start, newton(start, fixed)))[-1]
    n = newton(n, pairs)  # once more, for the slopes of the implicit function
    return [jnp.where(n > 0, w * safe_divide(n, n + reach), 0) for w, reach in pairs]
