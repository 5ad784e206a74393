"""The prox of a Euclidean norm over one array's axes or over several arrays, with one reach or one for each coordinate.

A *reach* is step times strength. Values take as few passes over the arrays as they can, slopes have rules of their own.
"""

from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp

from regopt.numerics import direction_and_norm, safe_divide

_SECANT_STEPS = 50  # at most: one or two where reaches are small beside the norm, seldom more than ten


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def shrink(arrays: Sequence[jax.Array], reach: jax.Array, axis: tuple[int, ...] | None = None) -> list[jax.Array]:
    """``max(1 - reach / |w|, 0) w``, exactly 0 where ``|w| <= reach`` and exactly w for a reach of 0.

    Args:
        arrays: w, of one dtype.
        reach: >= 0, shape ().
        axis: for a single array, the axes of the norm; None for all entries of all arrays.

    Returns:
        The arrays after it.
    """
    # in units of the reach a square that overflows is of a group that stays, one that underflows of one that goes
    smallest = 2 * jnp.finfo(reach.dtype).tiny
    unit = 1 / jnp.clip(reach, smallest, 1 / smallest)
    factor = jnp.maximum(1 - 1 / jnp.sqrt(_total([jnp.square(w * unit) for w in arrays], axis)), 0)
    factor = jnp.where(reach > 0, factor, 1)
    return [w * factor for w in arrays]


@shrink.defjvp
def _shrink_jvp(axis, primals, tangents):
    (arrays, reach), (arrays_dot, reach_dot) = primals, tangents
    directions, norm = direction_and_norm(arrays, axis)
    stays = (norm > reach) | (reach == 0)
    share = safe_divide(jnp.broadcast_to(reach, norm.shape), norm)
    along = _total([d * w_dot for d, w_dot in zip(directions, arrays_dot, strict=True)], axis)
    slopes = [
        jnp.where(stays, (1 - share) * w_dot + (share * along - reach_dot) * d, 0)
        for d, w_dot in zip(directions, arrays_dot, strict=True)
    ]
    return shrink(arrays, reach, axis), slopes


def shrink_by_coordinate(
    arrays: Sequence[jax.Array],
    steps: Sequence[jax.Array],
    strength: jax.Array,
    axis: tuple[int, ...] | None = None,
) -> list[jax.Array]:
    """``argmin_u sum_i (u_i - w_i)**2 / (2 reach_i) + |u|``, ``reach = strength * step``: the prox in a diagonal metric.

    ``u = w n / (n + reach)``, where ``n = |u|`` solves ``|w / (n + reach)| = 1``; 0 where ``|w / reach| <= 1``.

    Args:
        arrays: w, of one dtype.
        steps: >= 0, each of shape () or of its array's shape.
        strength: >= 0, shape ().
        axis: for a single array, the axes of the norm; None for all entries of all arrays.

    Returns:
        The arrays after it.
    """
    n = _norm_after(tuple(arrays), tuple(steps), strength, axis)
    positive = jnp.where(n > 0, n, 1)
    return [w * (n / (positive + strength * step)) for w, step in zip(arrays, steps, strict=True)]


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _norm_after(
    arrays: tuple[jax.Array, ...], steps: tuple[jax.Array, ...], strength: jax.Array, axis: tuple[int, ...] | None
) -> jax.Array:
    """The root n >= 0 of ``f(n) = 1 / |w / (n + reach)| = 1``, or 0 where ``f(0) >= 1``, by the secant method.

    f rises and is concave, nearly a line of slope ``1 / |w|``, and its root lies below ``|w|``. Each step of the method
    is one pass over the arrays.
    """
    limits = jnp.finfo(arrays[0].dtype)

    def f(n):
        n = jnp.maximum(n, limits.tiny)
        ratios = [w / (n + strength * step) for w, step in zip(arrays, steps, strict=True)]
        return 1 / jnp.sqrt(jnp.clip(_total([jnp.square(x) for x in ratios], axis), limits.tiny, limits.max))

    def goes_on(carry):
        count, a, _, b = carry
        return (count < _SECANT_STEPS) & jnp.any(jnp.abs(a - b) > 0)

    def secant(carry):
        count, a, f_a, b = carry
        f_b = f(b)
        c = jnp.maximum(b + safe_divide((1 - f_b) * (b - a), f_b - f_a), 0)
        # |f''| <= 3 f' / n: the error of c is at most 3/2 of this product, as a part of n
        low = jnp.maximum(jnp.minimum(a, b), limits.tiny)
        moves = jnp.abs(c - a) / low * (jnp.abs(c - b) / low) > limits.eps / 4
        return count + 1, jnp.where(moves, b, c), f_b, c

    squares = _total([jnp.square(w) for w in arrays], axis)
    start = jnp.sqrt(jnp.clip(squares, limits.tiny, limits.max))
    f_start = f(start)
    first = jnp.maximum(start * (2 - f_start), 0)
    return jax.lax.while_loop(goes_on, secant, secant((0, start, f_start, first)))[-1]


@_norm_after.defjvp
def _norm_after_jvp(axis, primals, tangents):
    (arrays, steps, strength), (arrays_dot, steps_dot, strength_dot) = primals, tangents
    n = _norm_after(arrays, steps, strength, axis)
    positive = jnp.where(n > 0, n, 1)
    moves, weights = [], []
    for w, step, w_dot, step_dot in zip(arrays, steps, arrays_dot, steps_dot, strict=True):
        m = positive + strength * step
        t = w / m
        moves.append(t * (w_dot - t * (strength * step_dot + strength_dot * step)) / m)
        weights.append(t * t / m)
    return n, jnp.where(n > 0, safe_divide(_total(moves, axis), _total(weights, axis)), 0)


def _total(arrays: Sequence[jax.Array], axis: tuple[int, ...] | None) -> jax.Array:
    """The sum over the axes, which stay with length 1, or over all entries of all arrays."""
    return reduce(jnp.add, [jnp.sum(x, axis=axis, keepdims=axis is not None) for x in arrays])
