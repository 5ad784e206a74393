"""The prox of a Euclidean norm over one array's axes or over several arrays, with one reach or one for each coordinate.

A *reach* is a step times a strength. The values take as few passes over the arrays as possible, and the derivatives
have rules of their own.
"""

from collections.abc import Sequence
from functools import partial, reduce
from math import prod

import jax
import jax.numpy as jnp

from regopt._core.numerics import direction_and_norm, safe_divide, safe_sqrt

_STEPS = 24  # upper bound of Newton's method, where interpolation has not converged


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def shrink(arrays: Sequence[jax.Array], reach: jax.Array, axis: tuple[int, ...] | None = None) -> list[jax.Array]:
    """``max(1 - reach / |w|, 0) w``, exactly 0 where ``|w| <= reach`` and exactly w for a reach of 0.

    Args:
        arrays: w, of one dtype.
        reach: >= 0, shape ().
        axis: for a single array, the axes of the norm; None for all entries of all arrays.

    Returns:
        Arrays of the same shapes and dtype.
    """
    # in units of the reach a square overflows only for a group that is kept and underflows only for one that is removed
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
    arrays: Sequence[jax.Array], reaches: Sequence[jax.Array], axis: tuple[int, ...] | None = None
) -> list[jax.Array]:
    """``argmin_u sum_i (u_i - w_i)**2 / (2 reach_i) + |u|``: the norm's prox in a diagonal metric.

    ``u = w n / (n + reach)``, where ``n = |u|`` solves ``|w / (n + reach)| = 1``; 0 where ``|w / reach| <= 1``.

    Args:
        arrays: w, of one dtype.
        reaches: >= 0, each of shape () or of its array's shape.
        axis: for a single array, the axes of the norm; None for all entries of all arrays.

    Returns:
        Arrays of the same shapes and dtype.
    """
    n = _norm_after(tuple(arrays), tuple(reaches), axis)
    positive = jnp.where(n > 0, n, 1)
    return [w * (n / (positive + reach)) for w, reach in zip(arrays, reaches, strict=True)]


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _norm_after(
    arrays: tuple[jax.Array, ...], reaches: tuple[jax.Array, ...], axis: tuple[int, ...] | None
) -> jax.Array:
    """The root n >= 0 of ``f(n) = 1 / |w / (n + reach)| = 1``, or 0 where ``f(0) >= 1``.

    f is increasing and concave, with a slope between ``1 / |w|`` and ``f(n) / n``. A step with the former slope from
    ``|w|`` ends left of the root. Up to three interpolations follow, and Newton's method for norms that have not
    converged by then. The first interpolation is not in a loop, because it costs less than entering one.
    """
    close = jnp.finfo(arrays[0].dtype).eps / 4
    if not all(w.size for w in arrays):
        kept = [(w, reach) for w, reach in zip(arrays, reaches, strict=True) if w.size]
        return _norm_after(*map(tuple, zip(*kept, strict=True)), axis) if kept else _total(arrays, axis)

    start = _norm_of(arrays, axis)
    f = 1 / _norm_of(_ratios(arrays, reaches, start), axis)
    infinite = f <= (1 + 16 * close) / jnp.sqrt(jnp.finfo(f.dtype).max)  # as is an entry of w
    n = jnp.where(infinite, jnp.inf, jnp.maximum(start * (2 - f), 0))
    # the norm of a group that is zero already does not move
    moves = ((f - 1) * (start - n) > close * n) & (f < 1 / jnp.sqrt(jnp.finfo(f.dtype).tiny))
    step = partial(_interpolate, arrays, reaches, axis, start)

    def goes_on(carry):
        return (carry[0] < 1) & jnp.any(carry[-1])

    def solve(carry):
        count, *points = carry
        *points, n, moves = step(*step(*points))
        return count + 1, *points, _newton(arrays, reaches, axis, start, n, moves), moves

    # a loop of at most one turn in place of a condition, which would compute both cases under vmap
    return jax.lax.while_loop(goes_on, solve, (0, *step(start, f, n, moves)))[-2]


def _interpolate(
    arrays: tuple[jax.Array, ...],
    reaches: tuple[jax.Array, ...],
    axis: tuple[int, ...] | None,
    start: jax.Array,
    last: jax.Array,
    f_last: jax.Array,
    n: jax.Array,
    moves: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """A step to the root by interpolation between two points, from one sum over the arrays.

    Near ``|w|`` the difference of ``|w| f(n)`` and n is almost linear in ``1 / f``. Elsewhere f is interpolated.

    Args:
        arrays: w.
        reaches: >= 0.
        axis: of the norm.
        start: the norm of w.
        last: the point before the last one.
        f_last: its value.
        n: the last point.
        moves: whether the norm has not converged.

    Returns:
        The last point, its value, the next point, and whether the norm has not converged.
    """
    eps = jnp.finfo(start.dtype).eps
    floor = start * eps**2  # in place of 0, where f need not be defined
    point = jnp.maximum(n, floor)
    f = 1 / _norm_of(_ratios(arrays, reaches, point), axis)
    rise = f_last - f
    secant = (last - point) * (1 - f) / jnp.where(rise == 0, 1, rise)
    near = (point > start / 2) & (point <= start)
    step = jnp.where(near, secant * f_last - start * (1 - f) * (f_last - 1), secant)
    zero = (point == floor) & (f >= 1)
    after = jnp.where(zero, 0, jnp.maximum(point + step, 0))
    # |f''| <= 3 f' / n, so the remaining error is about the product of the distances to both points over n
    error = jnp.abs((after - point) * (after - last))
    goes_on = ~zero & (error > eps / 4 * after * jnp.minimum(point, last))
    return point, f, jnp.where(moves, after, n), moves & goes_on


def _newton(
    arrays: tuple[jax.Array, ...],
    reaches: tuple[jax.Array, ...],
    axis: tuple[int, ...] | None,
    start: jax.Array,
    n: jax.Array,
    moves: jax.Array,
) -> jax.Array:
    """Newton's method for f, which ends left of the root after one step and does not pass it from there."""
    eps = jnp.finfo(start.dtype).eps
    floor = start * eps**2  # a lower bound of n; the loop carries the difference to it

    def newton(n):
        sums = [n + reach for reach in reaches]
        ratios = [w / m for w, m in zip(arrays, sums, strict=True)]
        squares = _total([jnp.square(t) for t in ratios], axis)
        slope = _total([jnp.square(t) * (n / m) for m, t in zip(sums, ratios, strict=True)], axis)
        ahead = [(jnp.abs(t) - 1) * m for m, t in zip(sums, ratios, strict=True)]  # |u| >= |u_i|
        ahead = reduce(jnp.maximum, [jnp.max(x, axis=axis, keepdims=axis is not None) for x in ahead])
        return jnp.maximum(n * (jnp.sqrt(squares) - 1) * safe_divide(squares, slope), ahead)

    def goes_on(carry):
        return (carry[0] < _STEPS) & jnp.any(carry[-1])

    def move(carry):
        count, above, moves = carry
        n = floor + above
        step = jnp.where(moves, jnp.maximum(newton(n), -above), 0)
        # |f''| <= 3 f' / n, so the remaining error relative to n is at most 3/2 of the squared relative step
        return count + 1, above + step, moves & (jnp.square(step / n) > eps / 4)

    return jax.lax.while_loop(goes_on, move, (0, n, moves))[1]


def _ratios(arrays: Sequence[jax.Array], reaches: Sequence[jax.Array], n: jax.Array) -> list[jax.Array]:
    return [w / (n + reach) for w, reach in zip(arrays, reaches, strict=True)]


def _norm_of(arrays: Sequence[jax.Array], axis: tuple[int, ...] | None) -> jax.Array:
    limits = jnp.finfo(arrays[0].dtype)
    return jnp.sqrt(jnp.clip(_total([jnp.square(x) for x in arrays], axis), limits.tiny, limits.max))


@_norm_after.defjvp
def _norm_after_jvp(axis, primals, tangents):
    (arrays, reaches), (arrays_dot, reaches_dot) = primals, tangents
    n = _norm_after(arrays, reaches, axis)
    positive = jnp.where(n > 0, n, 1)
    moves, weights = [], []
    for w, reach, w_dot, reach_dot in zip(arrays, reaches, arrays_dot, reaches_dot, strict=True):
        m = positive + reach
        t = w / m
        moves.append(t * (w_dot - t * reach_dot) / m)
        weights.append(t * t / m)
    return n, jnp.where(n > 0, safe_divide(_total(moves, axis), _total(weights, axis)), 0)


def _total(arrays: Sequence[jax.Array], axis: tuple[int, ...] | None) -> jax.Array:
    """The sum over the axes, which stay with length 1, or over all entries of all arrays."""
    return reduce(jnp.add, [jnp.sum(x, axis=axis, keepdims=axis is not None) for x in arrays])


def rows(w: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The array with the groups along its last axis and the other axes before it in their order."""
    others = tuple(each for each in range(w.ndim) if each not in axes)
    moved = jnp.transpose(w, (*others, *axes))
    return moved.reshape(*(w.shape[each] for each in others), prod(w.shape[each] for each in axes))


def sparse_group_max(g: jax.Array, l1_ratio: jax.Array, weight: jax.Array) -> jax.Array:
    """The s with ``|soft(g, s l1_ratio)|_2 = s weight``, the largest over the rows of g.

    If the k largest entries exceed the threshold, s is the root of a quadratic equation; every k is tried.
    """
    sizes = -jnp.sort(-jnp.abs(g), axis=-1)
    count = jnp.arange(1, 1 + g.shape[-1], dtype=g.dtype)
    count = jnp.broadcast_to(count, g.shape)
    total, squares = jnp.cumsum(sizes, -1), jnp.cumsum(jnp.square(sizes), -1)
    gap = jnp.square(l1_ratio * total) - squares * (count * l1_ratio**2 - weight**2)
    root = safe_divide(squares, l1_ratio * total + safe_sqrt(jnp.maximum(gap, 0)))
    rounding = 1 - 8 * jnp.finfo(g.dtype).eps
    fits = (gap >= 0) & (sizes >= l1_ratio * root * rounding)
    return jnp.max(jnp.where(fits, root, 0), initial=0)
