"""Momentum methods: a velocity that remembers past steps.

In ``heavy_ball`` and ``nesterov`` the learning rate acts before the velocity, as in the book, so a schedule does
not rescale steps already taken; in ``ema_momentum`` it acts after the average, as the form with an average is written.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import as_float, at_count, check_range
from regopt._core.types import Number, NumberOrSchedule, NumberTree, Tree
from regopt.optimizers import _moments as moments


class HeavyBallState(NamedTuple):
    """State of ``heavy_ball``."""

    count: Number  # shape (), int32: updates so far
    velocity: Tree  # structure, shapes and dtypes of the parameters

    def displaced(self, shift: Tree) -> "HeavyBallState":
        """The state if the parameters moved by ``shift`` more than the update: a velocity is what they moved by."""
        return self._replace(velocity=trees.lift(jnp.add, self.velocity, shift))


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
        velocity = _accelerate(state.velocity, updates, momentum, rate)
        return velocity, HeavyBallState(optax.safe_increment(state.count), velocity)

    return optax.GradientTransformationExtraArgs(init, update)


class EmaMomentumState(NamedTuple):
    """State of ``ema_momentum``."""

    count: Number  # shape (), int32: updates so far
    average: Tree  # shapes of the parameters, at least float32: moving average of g


def ema_momentum(learning_rate: NumberOrSchedule, decay: Number) -> optax.GradientTransformationExtraArgs:
    """Momentum as a moving average, ``m <- decay * m + (1 - decay) * g``; the update is ``-learning_rate * m``.

    For a constant rate it is ``heavy_ball`` with the learning rate ``learning_rate * (1 - decay)``: the same number
    for both makes this one's steps smaller by ``1 - decay``. There is no bias correction, so that the first
    steps are short. A schedule rescales the whole average, past gradients included.

    Args:
        learning_rate: step size, >= 0, in parameter units per gradient unit; may be traced, a schedule, or a
            prefix tree of these (one for a layer, say).
        decay: in [0, 1), dimensionless; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Kingma & Ba (2015), Algorithm 1, the first moment alone without its correction; Polyak (1964).
    """
    check_range("learning_rate", learning_rate, "[0, inf)")
    check_range("decay", decay, "[0, 1)")

    def init(params):
        return EmaMomentumState(jnp.zeros((), jnp.int32), trees.zeros_wide(params))

    def update(updates, state, params=None, **extra_args):
        del extra_args
        rate = at_count(learning_rate, state.count)
        average = moments.average(decay, state.average, updates)
        leading = updates if params is None else params
        steps = trees.lift(lambda _, m, rate: -rate * m, leading, average, numbers=(rate,))
        return steps, EmaMomentumState(optax.safe_increment(state.count), average)

    return optax.GradientTransformationExtraArgs(init, update)


class NesterovState(NamedTuple):
    """State of ``nesterov``."""

    count: Number  # shape (), int32: updates so far
    velocity: Tree  # structure, shapes and dtypes of the parameters
    momentum: Number  # shape (), default float dtype: kept here because the evaluation point needs it

    def evaluation_params(self, params: Tree) -> Tree:
        """The interim point of Algorithm 8.3, ``params + momentum * velocity``; shapes and dtypes of ``params``."""
        return trees.lift(lambda w, v, a: w + a * v, params, self.velocity, numbers=(self.momentum,))

    def displaced(self, shift: Tree) -> "NesterovState":
        """The state if the parameters moved by ``shift`` more than the update: a velocity is what they moved by."""
        return self._replace(velocity=trees.lift(jnp.add, self.velocity, shift))


def nesterov(learning_rate: NumberOrSchedule, momentum: Number) -> optax.GradientTransformationExtraArgs:
    """Nesterov momentum, ``v <- momentum * v - learning_rate * g(w + momentum * v)``; the update is v.

    The parameters are the book's own iterate: ask for the gradient at ``regopt.evaluation_params(params, state)``,
    as the sweep's tasks do. optax and PyTorch keep the interim point itself as the parameters, off the iterate by
    ``momentum * v``; with a constant learning rate both see the same gradients.

    Args:
        learning_rate: step size, >= 0, in parameter units per gradient unit; may be traced, a schedule, or a
            prefix tree of these (one for a layer, say).
        momentum: in [0, 1), dimensionless; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), Algorithm 8.3; Sutskever et al. (2013), equations 3 and 4.
    """
    check_range("learning_rate", learning_rate, "[0, inf)")
    check_range("momentum", momentum, "[0, 1)")

    def init(params):
        return NesterovState(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params), jnp.copy(as_float(momentum)))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        rate = at_count(learning_rate, state.count)
        velocity = _accelerate(state.velocity, updates, momentum, rate)
        return velocity, NesterovState(optax.safe_increment(state.count), velocity, as_float(momentum))

    return optax.GradientTransformationExtraArgs(init, update)


def _accelerate(velocity: Tree, grads: Tree, momentum: Number, rate: NumberTree) -> Tree:
    """``momentum * v - rate * g``, leaf by leaf."""
    return trees.lift(lambda v, g, momentum, rate: momentum * v - rate * g, velocity, grads, numbers=(momentum, rate))
