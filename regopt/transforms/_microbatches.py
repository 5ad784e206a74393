"""Gradient accumulation: one step from the mean gradient of several micro-batches, for batches larger than memory."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import as_float, check_range
from regopt._core.types import Number, Tree


class AccumulateState(NamedTuple):
    """State of ``accumulate``."""

    inner: Tree  # the wrapped optimizer's
    collected: Number  # shape (), int32: gradients in the mean
    mean: Tree  # shapes of the parameters, at least float32


def accumulate(optimizer: optax.GradientTransformation, every: Number) -> optax.GradientTransformationExtraArgs:
    """A step of the optimizer in every ``every``-th call, with the mean of the gradients since the last.

    Up to rounding it is the step with the gradient of one batch made of all micro-batches, if these are of one size.
    Between steps the update is zero and the inner state stays as it is, bit for bit. A mean with a NaN
    is dropped after its step; a ``guard`` goes outside to leave a bad gradient out of the mean, inside to skip the
    step. Whatever moves the parameters belongs inside, or it acts in every call.

    Args:
        optimizer: any optax or regopt transformation.
        every: gradients for one step, >= 1; may be traced. It may change between calls: a step is taken when at least
            so many are collected.

    Returns:
        The optimizer. Extra arguments reach the wrapped one as the last call of a step has them.

    Raises:
        ValueError: a concrete ``every`` is below 1.
    """
    check_range("every", every, "[1, inf)")
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params):
        return AccumulateState(optimizer.init(params), jnp.zeros((), jnp.int32), trees.zeros_wide(params))

    def update(updates, state, params=None, **extra_args):
        collected = optax.safe_increment(state.collected)
        mean = trees.lift(lambda m, g, n: m + (g - m) / n, state.mean, updates, numbers=(as_float(collected),))
        grads = jax.tree.map(lambda m, g: m.astype(jnp.asarray(g).dtype), mean, updates)
        moves, inner = optimizer.update(grads, state.inner, params, **extra_args)
        full = as_float(collected) >= as_float(every)
        after = AccumulateState(
            inner=trees.where(full, inner, state.inner),
            collected=jnp.where(full, 0, collected),
            mean=trees.where(full, optax.tree.zeros_like(mean), mean),
        )
        return trees.where(full, moves, trees.no_move(moves)), after

    return optax.GradientTransformationExtraArgs(init, update)
