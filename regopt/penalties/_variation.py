"""Total variation along an axis: neighbouring entries become exactly equal, so a signal becomes piecewise constant.

The proximal operator is exact, by dynamic programming along the axis. Each line along the axis is treated on its own;
the two-dimensional total variation of images is not covered.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.checks import check_index
from regopt._core.numerics import check_range, safe_divide
from regopt._core.placing import penalty_on_whole_arrays
from regopt._core.types import Mask, NumberOrSchedule, Penalty
from regopt.penalties._leafwise import FUSED, leafwise, magnitude
from regopt.penalties._scheduled import takes_schedules


@takes_schedules
def total_variation(strength: NumberOrSchedule = 1.0, *, axis: int = 0, mask: Mask = "weights") -> Penalty:
    """``strength * sum_i |w_{i+1} - w_i|`` along an axis, summed over all lines along this axis.

    The proximal operator returns a piecewise constant signal. The level of a piece is the mean of w over the piece,
    moved towards each neighbouring piece by ``step strength`` over the length of the piece. A line of n entries takes
    O(n) sequential operations; all lines are computed in parallel. The sum with ``l1`` in ``penalties.total`` is the
    fused lasso.

    Args:
        strength: factor of the penalty, >= 0, in loss units per parameter unit; a number or a prefix tree of numbers;
            may be traced or scheduled.
        axis: the axis of each penalised leaf; static. Axis 0 of a flax kernel ``[in, out]`` runs over the inputs.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a proximal operator that also takes a step for each entry. Where the steps differ by a factor
        of more than about 1e5, float32 is too coarse for the exact pieces.

    Raises:
        ValueError: a concrete strength is negative or NaN, or a penalised leaf lacks the axis when the penalty is used.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import total_variation
        >>> total_variation(0.5).prox(jnp.array([1.0, 1.5, 4.0, 3.0]), 1.0)
        Array([1.5 , 1.5 , 3.25, 3.25], dtype=float32)

    References:
        Johnson, N. A. (2013). A dynamic programming algorithm for the fused lasso and L0-segmentation. Journal of
        Computational and Graphical Statistics, 22(2), 246-260. Section 3 and Algorithm 1, here with weights.

        Rudin, L. I., Osher, S., & Fatemi, E. (1992). Nonlinear total variation based noise removal algorithms. Physica
        D, 60, 259-268.

        Tibshirani, R., Saunders, M., Rosset, S., Zhu, J., & Knight, K. (2005). Sparsity and smoothness via the fused
        lasso. Journal of the Royal Statistical Society B, 67(1), 91-108. For the fused lasso.

        Friedman, J., Hastie, T., Hoefling, H., & Tibshirani, R. (2007). Pathwise coordinate optimization. Annals of
        Applied Statistics, 1(2), 302-332. Proposition 1.
    """
    check_index("axis", axis)
    check_range("strength", strength, "[0, inf)")

    def value_at(w, strength):
        return strength * magnitude(jnp.diff(w, axis=_axis(axis, w)))

    def prox_at(w, step, strength):
        place = _axis(axis, w)
        if w.shape[place] < 2 or not w.size:
            return w
        steps = jnp.broadcast_to(step, w.shape)
        lines, steps = (jnp.moveaxis(x, place, -1) for x in (w, steps))
        shape = lines.shape
        flat = jax.vmap(_denoise, in_axes=(0, 0, None))(
            lines.reshape(-1, shape[-1]), steps.reshape(-1, shape[-1]), strength
        )
        return jnp.moveaxis(flat.reshape(shape), -1, place)

    return penalty_on_whole_arrays(leafwise((strength,), mask, value_at, prox_at, stage=FUSED, by_entry=(False,)))


def _axis(axis: int, w: jax.Array) -> int:
    if not -w.ndim <= axis < w.ndim:
        raise ValueError(f"axis must fit every penalised leaf, got {axis} for a leaf of shape {w.shape}")
    return axis % w.ndim


def _denoise(y: jax.Array, steps: jax.Array, strength: jax.Array) -> jax.Array:
    """``argmin_u sum_i (u_i - y_i)**2 / (2 steps_i) + strength sum_i |u_{i+1} - u_i|``; all ``[n]``.

    The pieces are found by the algorithm. Their levels, and with them the derivatives, follow from the optimality
    conditions on each piece.
    """
    fixed_steps = jax.lax.stop_gradient(steps)
    unit = jnp.max(fixed_steps)
    unit = jnp.where(unit > 0, unit, 1)
    # a step of 0 is replaced by a negligible one, and the entry is restored at the end
    least = unit * jnp.finfo(y.dtype).eps
    weights = unit / jnp.where(fixed_steps > least, steps, least)
    reach = unit * strength
    rises = _rises(*(jax.lax.stop_gradient(x) for x in (y, weights, reach)))
    pull = jnp.pad(rises, (0, 1)) - jnp.pad(rises, (1, 0))
    starts = jnp.pad(rises != 0, (1, 0))
    piece = jnp.cumsum(starts.astype(jnp.int32))
    base = jax.lax.stop_gradient(y)[jax.lax.cummax(jnp.where(starts, jnp.arange(y.size), 0))]  # a piece's first entry
    forces = weights * (y - base) + reach * pull
    moved, total = (jax.ops.segment_sum(x, piece, y.size, indices_are_sorted=True) for x in (forces, weights))
    return jnp.where(steps == 0, y, base + safe_divide(moved, total)[piece])


def _rises(y: jax.Array, weights: jax.Array, reach: jax.Array) -> jax.Array:
    """The sign of ``u_{i+1} - u_i`` at the minimum of ``sum weights_i (u_i - y_i)**2 / 2 + reach sum |u_{i+1} - u_i|``.

    The best objective of the first i entries, as a function of the i-th, has a piecewise linear derivative. The points
    where it equals -reach and reach are the bounds of the i-th entry given the next one. The derivative for the next
    entry is this one, clipped to [-reach, reach], plus a line of slope ``weights_{i+1}``.

    Args:
        y: ``[n]``, n >= 2.
        weights: > 0, ``[n]``.
        reach: >= 0, shape ().

    Returns:
        -1, 0 or 1, ``[n - 1]``, in the dtype of y.
    """
    low, high = _bounds(y, weights, reach)

    def backward(after, bounds):
        u = jnp.clip(after, *bounds)
        return u, jnp.sign(after - u)

    return jax.lax.scan(backward, low[-1], (low[:-1], high[:-1]), reverse=True)[1]


class _Search(NamedTuple):
    """The search for an entry's two bounds; numbers of shape ()."""

    knots: jax.Array  # [2 n + 2]; those from first to last are in use and ascend
    bends: jax.Array  # [2 n + 2], by how much the derivative's slope rises at each
    first: jax.Array
    last: jax.Array
    bounds: jax.Array  # [2, n], lower and upper
    entry: jax.Array  # whose bounds are sought; n at the end
    side: jax.Array  # 1 for the lower bound, from the left; -1 for the upper, from the right
    place: jax.Array  # the next knot on the way
    knot: jax.Array  # its position and bend, read where they are written: in the other order XLA copies both arrays
    bend: jax.Array
    at: jax.Array  # a point on the line before it, the derivative there, and its slope
    height: jax.Array
    slope: jax.Array


def _bounds(y: jax.Array, weights: jax.Array, reach: jax.Array) -> jax.Array:
    """The lower and the upper bounds of ``_rises``, ``[2, n]``; both bounds of the last entry are its minimiser.

    Every move passes a knot, which is not visited again, or finds a bound, which becomes a knot, so 4 n moves suffice.
    Their number is fixed and each writes one entry, so that many lines can be computed in parallel under ``vmap``.
    """
    n, zero, one = y.size, jnp.zeros((), y.dtype), jnp.ones((), jnp.int32)
    empty = jnp.zeros(2 * n + 3, y.dtype)  # the last for moves that write nothing
    start = _Search(
        empty, empty, n * one + 1, n * one, jnp.zeros((2, n + 1), y.dtype),
        0 * one, one, n * one + 1, zero, zero, y[0], zero, weights[0],
    )  # fmt: skip

    def move(_, s):
        sign = s.side.astype(y.dtype)
        level = jnp.where(s.entry < n - 1, -sign * reach, 0)
        height = s.height + s.slope * (s.knot - s.at)
        inside = (s.place >= jnp.where(s.side > 0, s.first, s.first + 1)) & (s.place <= s.last)
        passes = inside & (sign * (height - level) < 0)
        found = ~passes & (s.entry < n)
        lower, upper = found & (s.side > 0), found & (s.side < 0)
        bound = s.at + (level - s.height) / s.slope
        slot = jnp.where(found, s.place - s.side, 2 * n + 2)
        knots, bends = s.knots.at[slot].set(bound), s.bends.at[slot].set(sign * s.slope)
        first, last = jnp.where(lower, slot, s.first), jnp.where(upper, slot, s.last)
        entry = jnp.where(upper, s.entry + 1, s.entry)
        place = jnp.where(found, jnp.where(lower, last, first), s.place + s.side)
        restart = jnp.where(lower, jnp.where(entry > 0, reach, 0), -reach)
        return _Search(
            knots,
            bends,
            first,
            last,
            s.bounds.at[(1 - s.side) // 2, jnp.where(found, s.entry, n)].set(bound),
            entry,
            jnp.where(found, -s.side, s.side),
            place,
            knots[place],
            bends[place],
            jnp.where(found, y[entry], s.knot),
            jnp.where(found, restart, height),
            jnp.where(found, weights[entry], jnp.maximum(s.slope + sign * s.bend, weights[entry])),
        )

    return jax.lax.fori_loop(0, 4 * n, move, start).bounds[:, :n]
