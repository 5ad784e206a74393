"""A guard against bad gradients: a step that is not finite is skipped and counted.

Without it one NaN stays in the moments of an optimizer for ever. A single finite spike of 1e30 is worse: its square
overflows in the second moment, every later update is 0, and no value looks wrong.
"""

import math
from functools import reduce
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_optimizer
from regopt._core.numerics import as_float, check_number, like, safe_sqrt, widen
from regopt._core.scheduled import takes_schedules
from regopt._core.sums import largest_of_vector, sum_of_squares, sum_vector
from regopt._core.transformation import transformation
from regopt._core.types import Number, ScheduledNumber, Tree
from regopt.regularization import ProximalState
from regopt.transforms._attempt import Clipped, attempt

Pair: TypeAlias = tuple[jax.Array, jax.Array]
_SMALL = 4096  # entries of a leaf


class GuardState(NamedTuple):
    """State of ``guard``: the state of the wrapped optimizer, and a report."""

    inner: Tree
    count: Number  # shape (), int32: steps so far, including skipped ones
    skipped: Number  # shape (), int32: skipped steps
    first_bad_step: Number  # shape (), int32: the count before the first skipped step; -1 if there is none
    still: Number  # shape (), int32: number of the last steps that moved nothing although the gradient was not 0
    overflowed: Number  # shape (), bool: before the last step more was not finite than at first, see ``infinite``
    infinite: Number  # shape (), int32: at first, leaves with something that is not finite, and such other entries


@takes_schedules()
def guard(
    optimizer: optax.GradientTransformation,
    max_norm: ScheduledNumber | None = None,
    max_shrink: ScheduledNumber = 1e6,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer without the steps that are not finite; a gradient longer than ``max_norm`` is clipped first.

    An update has four parts, in this order. A gradient with a NaN or an infinity anywhere is dropped, and so is one
    longer than ``max_shrink * max_norm``. Any other gradient is clipped by its global norm. The optimizer takes its
    step. The step is undone if an update is not finite, or if a parameter or an entry of the optimizer's state ceases
    to be finite. After a skipped step the parameters and the inner state are unchanged, bit for bit.

    Set ``max_norm`` where spikes may occur. Without it a spike that does not overflow passes, and a gradient of 1e18
    keeps Adam's second moment so large that thousands of later steps are negligible. A clipped spike still points the
    wrong way and enters the optimizer's moments, and one that is dropped changes nothing: the smaller ``max_shrink``
    is, the smaller are the spikes that do no harm.

    A small ``max_shrink`` also drops the gradients of a start that is far away, and a run all of whose gradients are
    dropped does not move: ``skipped`` then equals ``count``.

    The state reports ``skipped`` and ``first_bad_step``. For an optimizer that is frozen, which an inner state carried
    over from an unguarded run can be, it also reports ``overflowed`` and a growing ``still``. A step is still if a
    million steps like it would move no parameter by a rounding error of its layer's mean magnitude; this distinguishes
    a frozen optimizer from one that has converged to the last bit. A few still steps are normal for an optimizer that
    takes several gradients for one step. ``optax.tree.get(opt_state, "skipped")`` reads a field at any depth.

    Derivatives through a step that was skipped because of its gradient are finite. Those through a step that overflowed
    may not be.

    Args:
        optimizer: any optax or regopt transformation.
        max_norm: bound of the gradient's global norm, >= 0, in gradient units; may be traced or scheduled. None does
            not clip.
        max_shrink: how many times ``max_norm`` a gradient may be long before it is dropped instead of clipped, >= 1,
            dimensionless; may be traced or scheduled. In float32 a factor above 1e18 counts as 1e18. Not used
            without ``max_norm``, nor with one of 0.

    Returns:
        The guarded optimizer. It checks the moved parameters only if ``update`` receives ``params``.

    Raises:
        ValueError: a concrete bound is negative, infinite or NaN, or (in ``init``) ``max_norm`` is given around a
            proximal step.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])
        >>> optimizer = regopt.guard(regopt.adam(0.5), max_norm=10.0)
        >>> updates, state = optimizer.update(jnp.array([jnp.nan, 1.0]), optimizer.init(params), params)
        >>> updates, optax.tree.get(state, "skipped")
        (Array([-0., -0.], dtype=float32), Array(1, dtype=int32))

    References:
        Pascanu, R., Mikolov, T., & Bengio, Y. (2013). On the difficulty of training recurrent neural networks. ICML.
        Algorithm 1.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 10.11.1.
    """
    check_optimizer("optimizer", optimizer)
    if max_norm is not None:
        check_number("max_norm", max_norm, "[0, inf)")
    check_number("max_shrink", max_shrink, "[1, inf)")
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params):
        trees.refuse_complex(params)
        inner = optimizer.init(params)
        if max_norm is not None and any(map(_is_proximal, jax.tree.leaves(inner, is_leaf=_is_proximal))):
            raise ValueError(
                "max_norm clips the gradient, of which the proximal step inside does not know: put the guard inside, "
                'regularize(guard(optimizer, max_norm), penalty, "proximal")'
            )
        return GuardState(
            inner=inner,
            count=jnp.zeros((), jnp.int32),
            skipped=jnp.zeros((), jnp.int32),
            first_bad_step=jnp.full((), -1, jnp.int32),
            still=jnp.zeros((), jnp.int32),
            overflowed=jnp.zeros((), bool),
            infinite=_not_finite_at_start(params, inner),
        )

    def update(updates, state, params=None, **extra_args):
        clipped, wanted, nonzero = _clipping(updates, max_norm, max_shrink)

        def step(grads, inner, params):
            moves, after = optimizer.update(grads, inner, params, **extra_args)
            return moves, trees.cast_like(after, inner)

        (moves, inner), keep = attempt(step, clipped, wanted, state.inner, params)
        seen = _seen(wanted, updates, moves, params, state.inner, inner)
        good, still = seen.good, seen.still & nonzero
        moves, inner = keep(good)
        return moves, GuardState(
            inner=inner,
            count=optax.safe_increment(state.count),
            skipped=jnp.where(good, state.skipped, optax.safe_increment(state.skipped)),
            first_bad_step=jnp.where(good | (state.first_bad_step >= 0), state.first_bad_step, state.count),
            still=jnp.where(good, jnp.where(still, optax.safe_increment(state.still), 0), state.still),
            overflowed=seen.not_finite > state.infinite,
            infinite=state.infinite,
        )

    return transformation(init, update, GuardState)


def _is_proximal(node: Tree) -> bool:
    return isinstance(node, ProximalState)


def _clipping(
    grads: Tree, max_norm: ScheduledNumber | None, max_shrink: ScheduledNumber
) -> tuple[Clipped, jax.Array, jax.Array]:
    """How to clip, as for ``attempt``; whether the gradient is wanted; whether it has an entry other than 0."""
    leaves, structure = jax.tree.flatten(grads)
    if not leaves:
        return lambda _: grads, jnp.array(True), jnp.array(False)
    wide = widen(*leaves)

    def chosen(values, good):
        """Zeros keep dropped values out of the optimizer's arithmetic and of derivatives through it."""
        return values if good is None else trees.where(good, values, optax.tree.zeros_like(values))

    if max_norm is None:
        largest = largest_of_vector(jnp.stack([_largest_or_inf(g) for g in jax.lax.stop_gradient(wide)]))
        kept = largest < jnp.inf
        return lambda good: chosen(grads, good), kept, kept & (largest > 0)
    limits = jnp.finfo(wide[0].dtype)
    # In units of the bound, squares overflow only for a gradient that is dropped and underflow only for one that is too
    # short to count, so one pass over the leaves is enough. The factor does not depend on the unit: no slope.
    with jax.ensure_compile_time_eval():  # XLA would fold constants in a round of their own over the whole program
        bound = like(max_norm, wide[0])
        unit = jax.lax.stop_gradient(jnp.where(bound > 0, jnp.clip(bound, 2 * limits.tiny, 0.5 / limits.tiny), 1))
        inverse, longest = 1 / unit, bound / unit
        shrink = jnp.minimum(like(max_shrink, bound), math.sqrt(limits.max) / 16)
    square = sum_vector(jnp.stack([sum_of_squares(g, inverse) for g in wide]))
    length = safe_sqrt(jnp.where(square <= limits.max, square, 0))
    kept = (square <= limits.max) & ((length <= longest * shrink) | (bound == 0))
    # The division is last: XLA computes it once, but what follows on it in the program of every leaf. The least divisor
    # is below every bound but 0, and its square, which the derivative divides by, is no 0.
    factor = jnp.where(kept, longest, 0) / jnp.maximum(jnp.maximum(length, longest), math.sqrt(limits.tiny))

    def clipped(good):
        return structure.unflatten(
            (factor * w).astype(g.dtype) for g, w in zip(leaves, chosen(wide, good), strict=True)
        )

    return clipped, kept, kept & (length > 0) & (bound > 0)


class _Seen(NamedTuple):
    """The numbers that decide on a step, and those that are reported; each array has the shape ()."""

    good: jax.Array  # bool: the step is wanted and nothing ceases to be finite
    still: jax.Array  # bool: no move exceeds a millionth of the rounding error of a parameter of mean size
    not_finite: jax.Array  # int32: as ``GuardState.infinite``, before the step


def _seen(wanted: jax.Array, grads: Tree, moves: Tree, params: Tree, before: Tree, after: Tree) -> _Seen:
    """The numbers of a step, from one pass over the leaves of its trees.

    All of it goes through one sort, so that the decision waits for all of it. XLA can then write the new parameters and
    moments in the place of the old ones; it would copy the old ones for what might read them later.
    """
    moves, params, before, after = jax.lax.stop_gradient((moves, params, before, after))
    alike, others = _pairs(grads, before, after)
    looks = [_look(*each) for each in zip(jax.tree.leaves(moves), _starts(params, alike), alike, strict=True)]
    old, new = (trees.count_not_finite([pair[when] for pair in others]) for when in (0, 1))
    looks.append((jnp.where(wanted & (new <= old), 0.0, jnp.inf), jnp.zeros(())))
    by_size = jnp.sort(jnp.stack([as_float(each) for pair in looks for each in pair]).reshape(-1, 2), axis=0)
    # no reshape but of results: XLA would move it through the arithmetic, in several rounds over the whole program
    finite = jnp.isfinite(by_size)
    largest = jnp.sort(jnp.where(finite, by_size, 0), axis=0)[-1:, 1:]
    still = by_size[-1:, :1] <= 1e-6 * _rounding(params) * largest
    return _Seen(finite[-1, 0], still[0, 0], sum_vector((~finite).astype(jnp.int32)[:, 1]) + old)


def _not_finite_at_start(params: Tree, inner: Tree) -> jax.Array:
    """``_Seen.not_finite`` of the first state."""
    alike, others = _pairs(params, inner, inner)
    sizes = [as_float(jnp.sum(_size_before(w, pairs))) for w, pairs in zip(_starts(params, alike), alike, strict=True)]
    return _count_not_finite(jnp.stack([*sizes, as_float(0.0)])) + trees.count_not_finite([old for old, _ in others])


def _pairs(grads: Tree, before: Tree, after: Tree) -> tuple[list[list[Pair]], list[Pair]]:
    """The floating-point leaves of the inner state before and after a step.

    The first list has those of trees like the gradients, such as moments, by leaf of the gradients; the second has all
    others.
    """
    structure, shapes = jax.tree.structure(grads), [jnp.shape(x) for x in jax.tree.leaves(grads)]
    alike: list[list[Pair]] = [[] for _ in shapes]
    others: list[Pair] = []

    def is_like_grads(node):
        return jax.tree.structure(node) == structure and [jnp.shape(x) for x in jax.tree.leaves(node)] == shapes

    nodes = [jax.tree.leaves(state, is_leaf=is_like_grads) for state in (before, after)]
    for old, new in zip(*nodes, strict=True):
        places = alike if is_like_grads(old) else [others]
        for place, *pair in zip(places, jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
            if jnp.issubdtype(jnp.result_type(pair[0]), jnp.inexact):
                place.append((pair[0], pair[1]))
    return alike, others


def _starts(params: Tree, alike: list[list[Pair]]) -> list[jax.Array | None]:
    return jax.tree.leaves(params) if params is not None else [None] * len(alike)


@jax.jit  # traced once for all leaves of one shape
def _look(u: jax.Array, w: jax.Array | None, moments: list[Pair]) -> tuple[jax.Array, jax.Array]:
    """The largest move, infinite if it, what it moves or a moment ceases to be finite; the sum of ``_size_before``."""
    fine = jnp.isfinite(u)
    moved = [] if w is None else [(w, jax.lax.add(*widen(w, u)).astype(w.dtype))]
    for old, new in [*moved, *moments]:
        fine &= jnp.isfinite(new) >= jnp.isfinite(old)
    (move,) = widen(jnp.where(fine, jnp.abs(u), jnp.inf))
    before = jnp.broadcast_to(_size_before(w, moments), move.shape)
    if move.size > _SMALL:
        return jnp.max(move), jnp.sum(before)

    def both(one, other):
        return jax.lax.max(one[0], other[0]), jax.lax.add(one[1], other[1])

    # one kernel for a small leaf instead of six, which take their time to compile
    zeros = (jnp.zeros((), move.dtype),) * 2
    return jax.lax.reduce((move, before.astype(move.dtype)), zeros, both, tuple(range(move.ndim)))


def _size_before(w: jax.Array | None, moments: list[Pair]) -> jax.Array:
    """An array whose sum is the mean magnitude of the parameters, and NaN or infinite if something is before a step."""
    olds = [old for old, _ in moments]
    if w is not None and jnp.issubdtype(w.dtype, jnp.inexact):
        first, *olds = widen(w, *olds)
        olds = [jnp.abs(first) / max(w.size, 1), *[x - x for x in olds]]
    else:
        olds = [x - x for x in widen(*olds)] or [jnp.zeros(())]
    return reduce(jnp.add, olds)


def _largest_or_inf(x: jax.Array) -> jax.Array:
    # the maximum of XLA may lose a NaN on a CPU, and with a bound, even 0, it would take six kernels instead of one
    return jnp.max(jnp.where(jnp.isfinite(x), jnp.abs(x), jnp.inf)) if x.size else jnp.zeros((), x.dtype)


def _count_not_finite(x: jax.Array) -> jax.Array:
    return sum_vector((~jnp.isfinite(x)).astype(jnp.float32)).astype(jnp.int32)


def _rounding(params: Tree) -> float:
    """The largest rounding error of the dtypes of the parameters; 0 without parameters."""
    dtypes = map(jnp.result_type, jax.tree.leaves(params))
    return max((float(jnp.finfo(dtype).eps) for dtype in dtypes if jnp.issubdtype(dtype, jnp.inexact)), default=0.0)
