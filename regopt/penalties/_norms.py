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

_INTERPOLATIONS = 3  # each takes one pass over the arrays
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
    arrays = tuple(arrays)
    unit = jax.lax.stop_gradient(_norm_of(arrays, axis))
    reaches = tuple(_in_units(reach, unit) for reach in reaches)
    n = _norm_after(arrays, reaches, 1 / unit, axis)
    positive = jnp.where(n > 0, n, 1)
    return [w * (n / (positive + reach)) for w, reach in zip(arrays, reaches, strict=True)]


def _in_units(reach: jax.Array, unit: jax.Array) -> jax.Array:
    """``reach / unit``, and at most a number so large that it is as good as infinite.

    The bound depends on the entry, and so does the divisor. XLA keeps such a division, and computes it once together
    with what a reach takes, such as a root and a division in Adam's metric. A product it would compute for each use,
    from a quotient that it writes first.
    """
    limits = jnp.finfo(unit.dtype)
    reach = jnp.minimum(reach, limits.max)
    return reach / jnp.maximum(unit, limits.eps**4 * reach)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _norm_after(
    arrays: tuple[jax.Array, ...], reaches: tuple[jax.Array, ...], scale: jax.Array, axis: tuple[int, ...] | None
) -> jax.Array:
    """The root n >= 0 of ``f(n) = 1 / |w / (n + reach)| = 1``, or 0 where ``f(0) >= 1``, in units of |w|.

    f is increasing and concave, with a slope between 1 and ``f(n) / n``. A step with the former slope from 1, which is
    the norm of w, ends left of the root. Interpolations follow for norms that have not converged, and Newton's method
    for those that still have not.

    Args:
        arrays: w, not in units of its norm.
        reaches: >= 0, in units of the norm.
        scale: 1 over the norm of w.
        axis: of the norm.

    Returns:
        The root, in units of the norm.
    """
    if not all(w.size for w in arrays):
        kept = [(w, reach) for w, reach in zip(arrays, reaches, strict=True) if w.size]
        return _norm_after(*map(tuple, zip(*kept, strict=True)), scale, axis) if kept else _total(arrays, axis)

    limits = jnp.finfo(scale.dtype)
    start = jnp.ones_like(scale)
    f = _f(arrays, reaches, scale, axis, start)
    infinite = f <= (1 + 4 * limits.eps) / jnp.sqrt(limits.max)  # as is an entry of w
    n = jnp.where(infinite, jnp.inf, jnp.maximum(2 - f, 0))
    # the root is at most 1 / f; the norm of a group that is zero already does not move
    moves = _matters(jnp.square(f - 1), n) & (f < 1 / jnp.sqrt(limits.tiny))

    def move(carry):
        count, last, f_last, n, moves = carry
        last, f_last, n, moves = _interpolate(arrays, reaches, scale, axis, last, f_last, n, moves)
        rest = moves & (count == _INTERPOLATIONS - 1)
        return count + 1, last, f_last, _newton(arrays, reaches, scale, axis, n, rest), moves & ~rest

    return jax.lax.while_loop(lambda carry: jnp.any(carry[-1]), move, (0, start, f, n, moves))[-2]


def _matters(error: jax.Array, n: jax.Array) -> jax.Array:
    """Whether an error of n changes the result of the prox by more than a rounding error of its norm.

    An error e of n moves ``u = w n / (n + reach)`` by at most ``e sqrt(1 - n)``, in units of the norm of w. Where the
    squares of w overflow, the unit is smaller than the norm, and n may exceed 1.
    """
    return error * jnp.sqrt(jnp.abs(1 - n)) > jnp.finfo(n.dtype).eps / 4 * n


def _interpolate(
    arrays: tuple[jax.Array, ...],
    reaches: tuple[jax.Array, ...],
    scale: jax.Array,
    axis: tuple[int, ...] | None,
    last: jax.Array,
    f_last: jax.Array,
    n: jax.Array,
    moves: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """A step to the root by interpolation between two points, from one sum over the arrays.

    Near 1 the difference of ``f(n)`` and n is almost linear in ``1 / f``, and convex: its interpolation and that of the
    concave f have the root between them. Elsewhere f is interpolated.

    Args:
        arrays: w.
        reaches: >= 0.
        scale: 1 over the norm of w.
        axis: of the norm.
        last: the point before the last one.
        f_last: its value.
        n: the last point.
        moves: whether the norm has not converged.

    Returns:
        The last point, its value, the next point, and whether the norm has not converged.
    """
    floor = jnp.finfo(n.dtype).eps ** 2  # in place of 0, where f need not be defined
    point = jnp.maximum(n, floor)
    f = _f(arrays, reaches, scale, axis, point)
    rise = f_last - f
    secant = (last - point) * (1 - f) / jnp.where(rise == 0, 1, rise)
    near = (point > 0.5) & (point <= 1)
    step = jnp.where(near, secant * f_last - (1 - f) * (f_last - 1), secant)
    zero = (point == floor) & (f >= 1)
    after = jnp.where(zero, 0, jnp.maximum(point + step, 0))
    # |f''| <= 3 f' / n, so the error of the secant is about the product of the distances to both points over n
    error = jnp.where(near, step - secant, (after - point) * (after - last) / jnp.minimum(point, last))
    goes_on = ~zero & (_matters(jnp.abs(error), after) | (rise == 0))
    return point, f, jnp.where(moves, after, n), moves & goes_on


def _newton(
    arrays: tuple[jax.Array, ...],
    reaches: tuple[jax.Array, ...],
    scale: jax.Array,
    axis: tuple[int, ...] | None,
    n: jax.Array,
    moves: jax.Array,
) -> jax.Array:
    """Newton's method for f, which ends left of the root after one step and does not pass it from there."""
    eps = jnp.finfo(n.dtype).eps
    floor = eps**2  # a lower bound of n; the loop carries the difference to it

    def newton(n):
        sums = [n + reach for reach in reaches]
        ratios = [w * scale / m for w, m in zip(arrays, sums, strict=True)]
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


def _f(
    arrays: Sequence[jax.Array],
    reaches: Sequence[jax.Array],
    scale: jax.Array,
    axis: tuple[int, ...] | None,
    n: jax.Array,
) -> jax.Array:
    """The f of ``_norm_after``."""
    return 1 / _norm_of([w * scale / (n + reach) for w, reach in zip(arrays, reaches, strict=True)], axis)


def _norm_of(arrays: Sequence[jax.Array], axis: tuple[int, ...] | None) -> jax.Array:
    limits = jnp.finfo(arrays[0].dtype)
    return jnp.sqrt(jnp.clip(_total([jnp.square(x) for x in arrays], axis), limits.tiny, limits.max))


@_norm_after.defjvp
def _norm_after_jvp(axis, primals, tangents):
    (arrays, reaches, scale), (arrays_dot, reaches_dot, _) = primals, tangents  # the scale counts as a constant
    n = _norm_after(arrays, reaches, scale, axis)
    positive = jnp.where(n > 0, n, 1)
    moves, weights = [], []
    for w, reach, w_dot, reach_dot in zip(arrays, reaches, arrays_dot, reaches_dot, strict=True):
        m = positive + reach
        t = w * scale / m
        moves.append(t * (w_dot * scale - t * reach_dot) / m)
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
    # (l1_ratio total)**2 - squares (k l1_ratio**2 - weight**2), which rounding makes negative for a weight near 0
    mean_before = (total - sizes) / jnp.maximum(count - 1, 1)
    spread = jnp.cumsum((count - 1) / count * jnp.square(sizes - mean_before), -1)
    gap = weight**2 * squares - l1_ratio**2 * count * spread
    root = safe_divide(squares, l1_ratio * total + safe_sqrt(jnp.maximum(gap, 0)))
    rounding = 1 - 8 * jnp.finfo(g.dtype).eps
    fits = (gap >= 0) & (sizes >= l1_ratio * root * rounding)
    return jnp.max(jnp.where(fits, root, 0), initial=0)
