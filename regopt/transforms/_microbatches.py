"""Gradient accumulation: one step with the mean gradient of several micro-batches, for batches larger than memory."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_count, check_optimizer
from regopt._core.numerics import as_float, at_count
from regopt._core.transformation import transformation
from regopt._core.types import Number, ScheduledNumber, Tree


class AccumulateState(NamedTuple):
    """State of ``accumulate``."""

    inner: Tree  # state of the wrapped optimizer
    collected: Number  # shape (), int32: number of gradients in the mean
    mean: Tree  # shapes of the parameters, at least float32
    steps: Number  # shape (), int32: steps of the optimizer so far


def accumulate(
    optimizer: optax.GradientTransformation, every: ScheduledNumber
) -> optax.GradientTransformationExtraArgs:
    """The optimizer takes a step in every ``every``-th call, with the mean of the gradients since the last step.

    If all micro-batches have the same size the step equals, up to rounding, the step with the gradient of one large
    batch made of them. In the calls between steps the update is zero and the inner state does not change, bit for bit.
    A mean with a NaN is discarded after its step. A ``guard`` outside keeps a bad gradient out of the mean; a ``guard``
    inside skips the step. Everything that moves the parameters belongs inside, or it acts in every call.

    Args:
        optimizer: any optax or regopt transformation.
        every: gradients for one step, >= 1; may be traced or scheduled, by the number of steps so far, as in
            ``optax.MultiSteps``. It may change between calls: a step is taken as soon as at least this many gradients
            are collected.

    Returns:
        The optimizer. The wrapped optimizer receives the extra arguments of the last call before each step.

    Raises:
        ValueError: a concrete ``every`` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])
        >>> optimizer = regopt.accumulate(regopt.sgd(0.5), every=2)
        >>> _, state = optimizer.update(jnp.array([1.0, 0.0]), optimizer.init(params), params)
        >>> updates, state = optimizer.update(jnp.array([3.0, 2.0]), state, params)
        >>> updates  # the mean gradient is [2, 1]
        Array([-1. , -0.5], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 8.1.3, on minibatches.
    """
    check_optimizer("optimizer", optimizer)
    if not callable(every) or isinstance(every, type):
        check_count("every", every, "[1, inf)")
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params):
        collected, steps = (jnp.zeros((), jnp.int32) for _ in range(2))  # one buffer cannot be donated twice
        return AccumulateState(optimizer.init(params), collected, trees.zeros_wide(params), steps)

    def update(updates, state, params=None, **extra_args):
        collected = optax.safe_increment(state.collected)
        mean = trees.lift(lambda m, g, n: m + (g - m) / n, state.mean, updates, numbers=(as_float(collected),))
        grads = jax.tree.map(lambda m, g: m.astype(jnp.asarray(g).dtype), mean, updates)
        moves, inner = optimizer.update(grads, state.inner, params, **extra_args)
        full = as_float(collected) >= as_float(at_count(every, state.steps))
        after = AccumulateState(
            inner=trees.where(full, trees.cast_like(inner, state.inner), state.inner),
            collected=jnp.where(full, 0, collected),
            mean=trees.where(full, optax.tree.zeros_like(mean), mean),
            steps=jnp.where(full, optax.safe_increment(state.steps), state.steps),
        )
        return trees.where(full, moves, trees.no_move(moves)), after

    return transformation(init, update, AccumulateState)
