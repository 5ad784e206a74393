"""Gradient descent, and the last link of every optimizer: the learning rate."""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import at_count, check_range
from regopt._core.types import Number, NumberOrSchedule


class ScaleByLearningRateState(NamedTuple):
    """State of ``scale_by_learning_rate``."""

    count: Number  # shape (), int32: updates so far


def scale_by_learning_rate(learning_rate: NumberOrSchedule) -> optax.GradientTransformationExtraArgs:
    """``u = -learning_rate * d``: the last link of a chain, which turns a direction into an update.

    The product is taken in at least float32; the update has the dtype of the parameters, or of the incoming
    direction where no parameters are given.

    Args:
        learning_rate: step size, >= 0, in parameter units per unit of the direction; may be traced, a
            schedule, which sees counts from 0 on, or a prefix tree of these, one for a layer, say.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete learning rate is negative or NaN.

    References: Goodfellow et al. (2016), Algorithm 8.1.
    """
    check_range("learning_rate", learning_rate, "[0, inf)")

    def init(params):
        del params
        return ScaleByLearningRateState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        del extra_args
        minus_rate = jax.tree.map(operator.neg, at_count(learning_rate, state.count))
        leading = updates if params is None else params
        updates = trees.lift(lambda _, d, minus_rate: minus_rate * d, leading, updates, numbers=(minus_rate,))
        return updates, ScaleByLearningRateState(optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(init, update)


def sgd(learning_rate: NumberOrSchedule) -> optax.GradientTransformationExtraArgs:
    """Gradient descent, ``w <- w - learning_rate * g``.

    Args:
        learning_rate: step size, >= 0, in parameter units per gradient unit; may be traced, a schedule, or a
            prefix tree of these (one for a layer, say).

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete learning rate is negative or NaN.

    References: Goodfellow et al. (2016), Algorithm 8.1; Robbins & Monro (1951).
    """
    return scale_by_learning_rate(learning_rate)
