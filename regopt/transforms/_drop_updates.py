"""A random part of the parameters stays as it is in each step, as if the others alone were trained."""

from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_key, check_switch
from regopt._core.numerics import check_number
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Key, Number, ScheduledNumber
from regopt.noise import dropout


class DropUpdatesState(NamedTuple):
    """State of ``drop_updates``."""

    count: Number  # shape (), int32: updates so far
    key: Key  # shape (), a typed key; it never changes


@takes_schedules()
def drop_updates(key: Key, rate: ScheduledNumber, *, inverted: bool = False) -> optax.GradientTransformationExtraArgs:
    """``u_i <- d_i u_i`` with ``P(d_i = 1) = 1 - rate``, drawn anew for each entry in each step.

    After an optimizer in a chain, a random fraction ``1 - rate`` of the parameters takes its step and the others stay
    exactly as they are. Before it, their gradients are zero, and momentum may move them still. The mean of a step is
    ``1 - rate`` times the full one, or the full one with ``inverted``; its variance is ``rate (1 - rate) u_i^2``, or
    ``rate / (1 - rate) u_i^2``.

    The draws of a step depend only on the key, the step count and the position of the leaf. In a sweep a fixed key
    gives all settings the same draws; ``jax.random.fold_in(key, h["seed"])`` gives each seed its own.

    Args:
        key: a typed key, as ``jax.random.key(0)``; may be traced.
        rate: probability that an entry stays, in [0, 1], dimensionless; may be traced or scheduled.
        inverted: whether to divide by ``1 - rate``, so that the mean of a step is the full one; static.

    Returns:
        The transformation; it keeps the dtypes of the updates.

    Raises:
        ValueError: a concrete rate lies outside its range, or ``key`` is not a typed key.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.transforms import drop_updates
        >>> transform = drop_updates(jax.random.key(0), rate=0.5)
        >>> updates = jnp.ones(4)
        >>> transform.update(updates, transform.init(updates))[0]
        Array([1., 0., 1., 0.], dtype=float32)

    References:
        Xu, R., Luo, F., Zhang, Z., Tan, C., Chang, B., Huang, S., & Huang, F. (2021). Raise a child in large language
        model: Towards effective and generalizable fine-tuning. EMNLP. Section 2, the task-free variant: before the
        optimizer, with ``inverted``.
    """
    check_key("key", key)
    check_number("rate", rate, "[0, 1]")
    check_switch("inverted", inverted)

    def init(params):
        trees.refuse_complex(params)
        return DropUpdatesState(jnp.zeros((), jnp.int32), jnp.copy(key))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        leaves, structure = jax.tree.flatten(updates)
        at_step = jax.random.fold_in(state.key, state.count)
        kept = [
            dropout(jax.random.fold_in(at_step, place), leaf, cast(Number, rate), inverted=inverted)
            for place, leaf in enumerate(leaves)
        ]
        return structure.unflatten(kept), DropUpdatesState(optax.safe_increment(state.count), state.key)

    return transformation(init, update, DropUpdatesState)
