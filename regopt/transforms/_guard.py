"""A guard against bad gradients: a step that is not finite is skipped and counted.

Without it one NaN stays in the moments of an optimizer for ever. A single finite spike of 1e30 is worse: its square
overflows in the second moment, every later update is 0, and no value looks wrong.
"""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_optimizer
from regopt._core.numerics import as_float, check_number, direction_and_norm, like, safe_divide
from regopt._core.sums import largest_of_vector
from regopt._core.types import Number, Tree


class GuardState(NamedTuple):
    """State of ``guard``: the state of the wrapped optimizer, and a report."""

    inner: Tree
    count: Number  # shape (), int32: steps so far, including skipped ones
    skipped: Number  # shape (), int32: skipped steps
    first_bad_step: Number  # shape (), int32: the count before the first skipped step; -1 if there is none
    still: Number  # shape (), int32: number of the last steps that moved nothing although the gradient was not 0
    overflowed: Number  # shape (), bool: the inner state has a NaN or an infinity that its first state had not
    infinite: Number  # shape (), int32: number of entries of the first inner state that were not finite


def guard(
    optimizer: optax.GradientTransformation, max_norm: Number | None = None, max_shrink: Number = 1e6
) -> optax.GradientTransformationExtraArgs:
    """The optimizer without the steps that are not finite; a gradient longer than ``max_norm`` is clipped first.

    An update has four parts, in this order. A gradient with a NaN or an infinity anywhere is dropped, and so is one
    longer than ``max_shrink * max_norm``. Any other gradient is clipped by its global norm. The optimizer takes its
    step. The step is undone if the updates, the moved parameters or the state of the optimizer are not finite. After a
    skipped step the parameters and the inner state are unchanged, bit for bit.

    Set ``max_norm`` where spikes may occur. Without it a spike that does not overflow passes, and a gradient of 1e18
    keeps Adam's second moment so large that thousands of later steps are negligible. A clipped spike still points the
    wrong way. This table counts the runs that end above twice the loss of a clean one, of 54 for each size: 9
    first-order optimizers on a linear regression with 8 weights and ``max_norm=2``, one or five spikes in a row, in one
    entry, along and against the signs of the gradient, and about 170 steps after them.

    ===================  ======  ======  ======  ======  ======  ======  ===
    size of the spike    1e2     1e4     1e6     1e8     1e18    3e38    NaN
    ===================  ======  ======  ======  ======  ======  ======  ===
    clipped              2       2       2       2       2       0       0
    ``max_shrink=1e6``   2       2       2       0       0       0       0
    ``max_shrink=1e3``   2       0       0       0       0       0       0
    ===================  ======  ======  ======  ======  ======  ======  ===

    A small ``max_shrink`` also drops the gradients of a start that is far away, and a run all of whose gradients are
    dropped does not move: ``skipped`` then equals ``count``.

    The state reports ``skipped`` and ``first_bad_step``. For an optimizer that is frozen, which an inner state carried
    over from an unguarded run can be, it also reports ``overflowed`` and a growing ``still``. A step is still if a
    million steps like it would move no parameter by a rounding error; this distinguishes a frozen optimizer from one
    that has converged to the last bit. A few still steps are normal for an optimizer that takes several gradients for
    one step. ``optax.tree.get(opt_state, "skipped")`` reads a field at any depth of a state.

    Derivatives through a step that was skipped because of its gradient are finite. Those through a step that overflowed
    may not be.

    Args:
        optimizer: any optax or regopt transformation.
        max_norm: bound of the gradient's global norm, >= 0, in gradient units; may be traced. None does not clip.
        max_shrink: how many times ``max_norm`` a gradient may be long before it is dropped instead of clipped, >= 1,
            dimensionless; may be traced. Not used without ``max_norm``, nor with one of 0.

    Returns:
        The guarded optimizer. It checks the moved parameters only if ``update`` receives ``params``.

    Raises:
        ValueError: a concrete bound is negative, infinite or NaN.

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
        return GuardState(
            inner=inner,
            count=jnp.zeros((), jnp.int32),
            skipped=jnp.zeros((), jnp.int32),
            first_bad_step=jnp.full((), -1, jnp.int32),
            still=jnp.zeros((), jnp.int32),
            overflowed=jnp.zeros((), bool),
            infinite=trees.count_not_finite(inner),
        )

    def update(updates, state, params=None, **extra_args):
        grads, wanted, nonzero = _cleaned(updates, max_norm, max_shrink)
        moves, inner = optimizer.update(grads, state.inner, params, **extra_args)
        inner = trees.cast_like(inner, state.inner)
        before, after = _count_not_finite(state.inner, updates), _count_not_finite(inner, updates)
        good = wanted & (after <= before) & _all_finite(moves, params)
        still = (_largest(moves) <= _negligible(params)) & nonzero
        reported = GuardState(
            inner=trees.where(good, inner, state.inner),
            count=optax.safe_increment(state.count),
            skipped=jnp.where(good, state.skipped, optax.safe_increment(state.skipped)),
            first_bad_step=jnp.where(good | (state.first_bad_step >= 0), state.first_bad_step, state.count),
            still=jnp.where(good, jnp.where(still, optax.safe_increment(state.still), 0), state.still),
            overflowed=jnp.where(good, after, before) > state.infinite,
            infinite=state.infinite,
        )
        return trees.where(good, moves, trees.no_move(moves)), reported

    return optax.GradientTransformationExtraArgs(init, update)


def _cleaned(grads: Tree, max_norm: Number | None, max_shrink: Number) -> tuple[Tree, jax.Array, jax.Array]:
    """The clipped gradient, or zeros for one to be dropped; whether it is kept; whether it has an entry other than 0.

    Zeros keep the dropped values out of the optimizer's arithmetic and of derivatives through it.
    """
    finite = trees.count_not_finite(grads) == 0
    grads = trees.where(finite, grads, optax.tree.zeros_like(grads))
    leaves, structure = jax.tree.flatten(grads)
    if max_norm is None or not leaves:
        return grads, finite, _largest(grads) > 0
    norm = direction_and_norm(leaves)[1]
    bound = like(max_norm, norm)
    limit = jnp.minimum(bound * like(max_shrink, norm), jnp.finfo(norm.dtype).max)  # the norm may be infinite
    short = (norm <= limit) | (bound == 0)
    factor = jnp.where(norm > bound, safe_divide(bound, norm), 1)

    def clipped(g):
        wide = g.astype(norm.dtype)
        return jnp.where(short, jnp.where(norm > bound, factor * wide, wide), 0).astype(g.dtype)

    return structure.unflatten(list(map(clipped, leaves))), finite & short, short & (norm > 0) & (bound > 0)


def _count_not_finite(inner: Tree, grads: Tree) -> jax.Array:
    """``trees.count_not_finite``, where trees like the gradients, such as moments, share one sum for each leaf."""
    structure, shapes = jax.tree.structure(grads), [x.shape for x in jax.tree.leaves(grads)]
    alike, others = [], []
    for node in jax.tree.leaves(inner, is_leaf=lambda node: jax.tree.structure(node) == structure):
        leaves = jax.tree.leaves(node)
        flags = [~jnp.isfinite(x) for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
        (alike if [x.shape for x in flags] == shapes else others).append(flags)
    together = [trees.count_true_in_leaf(*flags) for flags in zip(*alike, strict=True)]
    return trees.total_count(together + [trees.count_true_in_leaf(x) for flags in others for x in flags])


def _all_finite(moves: Tree, params: Tree) -> jax.Array:
    """Whether the moves are finite, and the moved parameters where those before are."""
    if params is None:
        return trees.count_not_finite(moves) == 0

    def worse(u, w):  # what is not finite in a parameter stays so after any move
        moved = trees.lift(jnp.add, w, u)
        return trees.count_true_in_leaf(~jnp.isfinite(u) | (~jnp.isfinite(moved) & jnp.isfinite(w)))

    return trees.total_count(jax.tree.leaves(jax.tree.map(worse, moves, params))) == 0


def _negligible(params: Tree) -> jax.Array:
    """A millionth of the largest parameter's rounding error; 0 without parameters."""
    if params is None:
        return as_float(0.0)
    dtypes = map(jnp.result_type, jax.tree.leaves(params))
    eps = max((float(jnp.finfo(dtype).eps) for dtype in dtypes if jnp.issubdtype(dtype, jnp.inexact)), default=0.0)
    return 1e-6 * eps * _largest(params)


def _largest(leaves: Tree) -> jax.Array:
    """The largest magnitude, in the default float dtype."""
    peaks = [jnp.max(jnp.abs(x), initial=0) for x in jax.tree.leaves(leaves)]
    by_dtype = {peak.dtype: [other for other in peaks if other.dtype == peak.dtype] for peak in peaks}
    largest = [as_float(largest_of_vector(jnp.stack(same))) for same in by_dtype.values()]
    return reduce(jnp.maximum, largest, as_float(0.0))
