"""Gradient descent, and the multiplication by the learning rate that ends the chain of every optimizer."""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import at_count, check_range
from regopt._core.transformation import transformation
from regopt._core.types import NumberOrSchedule, Tree


class ScaleByLearningRateState(NamedTuple):
    """State of ``scale_by_learning_rate``."""

    count: Tree  # shape (), int32: updates so far; None where no schedule asks for it


def scale_by_learning_rate(learning_rate: NumberOrSchedule) -> optax.GradientTransformationExtraArgs:
    """Multiply by the negative learning rate, ``u = -learning_rate * d``, at the end of a chain.

    The product is computed in at least float32. The update has the dtypes of the parameters, or of the incoming
    direction where no parameters are given.

    Args:
        learning_rate: step size, >= 0, in parameter units per unit of the direction; a number (may be traced), a
            schedule, which is called with counts from 0 on, or a prefix tree of these with, for example, one entry for
            each layer.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete learning rate is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.optimizers import scale_by_learning_rate
        >>> directions = {"first": jnp.array([1.0]), "last": jnp.array([1.0])}
        >>> transform = scale_by_learning_rate({"first": 0.25, "last": lambda count: 0.5})
        >>> transform.update(directions, transform.init(directions))[0]
        {'first': Array([-0.25], dtype=float32), 'last': Array([-0.5], dtype=float32)}

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.1.
    """
    check_range("learning_rate", learning_rate, "[0, inf)")
    scheduled = any(map(callable, jax.tree.leaves(learning_rate)))

    def init(params):
        del params
        return ScaleByLearningRateState(jnp.zeros((), jnp.int32) if scheduled else None)

    def update(updates, state, params=None, **extra_args):
        del extra_args
        minus_rate = jax.tree.map(operator.neg, at_count(learning_rate, state.count))
        leading = updates if params is None else params
        updates = trees.lift(
            lambda _, d, minus_rate: minus_rate * d, leading, updates, numbers={"learning_rate": minus_rate}
        )
        return updates, ScaleByLearningRateState(optax.safe_increment(state.count) if scheduled else None)

    return transformation(init, update, ScaleByLearningRateState, trains=True)


def sgd(learning_rate: NumberOrSchedule) -> optax.GradientTransformationExtraArgs:
    """Gradient descent, ``w <- w - learning_rate * g``.

    Args:
        learning_rate: step size, >= 0, in parameter units per gradient unit; a number (may be traced), a schedule, or
            a prefix tree of these with, for example, one entry for each layer.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete learning rate is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.sgd(learning_rate=0.5)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates
        Array([-0.5,  1. ], dtype=float32)

    References:
        Robbins, H., & Monro, S. (1951). A stochastic approximation method. Annals of Mathematical Statistics, 22(3),
        400-407.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.1.
    """
    return scale_by_learning_rate(learning_rate)
