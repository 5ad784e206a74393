"""Momentum methods: a velocity that remembers past steps.

The learning rate acts before the velocity, as in the book, so a schedule does not rescale steps already taken.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from regopt import tree
from regopt.numerics import at_count, check_range
from regopt.types import Number, NumberOrSchedule, Tree


class HeavyBallState(NamedTuple):
    """State of ``heavy_ball``."""

    count: Number  # shape (), int32: updates so far
    velocity: Tree  # structure, shapes and dtypes of the parameters


def heavy_ball(learning_rate: NumberOrSchedule, momentum: Number) -> optax.GradientTransformationExtraArgs:
    """Momentum, ``v <- momentum * v - learning_rate * g``; the update is v.

    Under a constant gradient the step grows to ``learning_rate * g / (1 - momentum)``.

    Args:
        learning_rate: step size, >= 0, in parameter units per gradient unit; may be traced, a schedule, or a
            prefix tree of these (one for a layer, say).
        momentum: in [0, 1), dimensionless; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), Algorithm 8.2; Polyak (1964).
    """
    check_range("learning_rate", learning_rate, "[0, inf)")
    check_range("momentum", momentum, "[0, 1)")

    def init(params):
        return HeavyBallState(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        rate = at_count(learning_rate, state.count)
        velocity = tree.lift(
            lambda v, g, momentum, rate: momentum * v - rate * g, state.velocity, updates, numbers=(momentum, rate)
        )
        return velocity, HeavyBallState(optax.safe_increment(state.count), velocity)

    return optax.GradientTransformationExtraArgs(init, update)
