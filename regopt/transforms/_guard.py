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
from regopt._core.numerics import as_float
from regopt._core.types import Number, Tree
from regopt.transforms._clipping import clip_by_global_norm


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
    optimizer: optax.GradientTransformation, max_norm: Number | None = None
) -> optax.GradientTransformationExtraArgs:
    """The optimizer without the steps that are not finite; a gradient longer than ``max_norm`` is clipped first.

    An update has four parts, in this order. A gradient with a NaN or an infinity anywhere is dropped. Any other
    gradient is clipped by its global norm. The optimizer takes its step. The step is undone if the updates, the moved
    parameters or the state of the optimizer are not finite. After a skipped step the parameters and the inner state are
    unchanged, bit for bit.

    Set ``max_norm`` where spikes may occur. Without it a spike that does not overflow passes, and a gradient of 1e18
    keeps Adam's second moment so large that thousands of later steps are negligible.

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
    optimizer = optax.with_extra_args_support(optimizer)
    clipping = optax.identity() if max_norm is None else clip_by_global_norm(max_norm)

    def init(params):
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
        finite = trees.count_not_finite(updates) == 0
        # zeros keep the dropped values out of the optimizer's arithmetic and of derivatives through it
        grads = trees.where(finite, updates, optax.tree.zeros_like(updates))
        grads, _ = clipping.update(grads, optax.EmptyState())
        moves, inner = optimizer.update(grads, state.inner, params, **extra_args)
        good = finite & (trees.count_not_finite(moves) == 0) & ~_worse(state.inner, inner)
        if params is not None:
            good &= ~_worse(params, trees.lift(jnp.add, params, moves))
        inner = trees.where(good, inner, state.inner)
        still = (_largest(moves) <= _negligible(params)) & (_largest(grads) > 0)
        after = GuardState(
            inner=inner,
            count=optax.safe_increment(state.count),
            skipped=jnp.where(good, state.skipped, optax.safe_increment(state.skipped)),
            first_bad_step=jnp.where(good | (state.first_bad_step >= 0), state.first_bad_step, state.count),
            still=jnp.where(good, jnp.where(still, optax.safe_increment(state.still), 0), state.still),
            overflowed=trees.count_not_finite(inner) > state.infinite,
            infinite=state.infinite,
        )
        return trees.where(good, moves, trees.no_move(moves)), after

    return optax.GradientTransformationExtraArgs(init, update)


def _worse(before: Tree, after: Tree) -> jax.Array:
    """Whether more entries are not finite than before; some may be from the start, such as a mask of -inf."""
    return trees.count_not_finite(after) > trees.count_not_finite(before)


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
    return reduce(jnp.maximum, map(as_float, peaks), as_float(0.0))
