"""Momentum methods: a velocity accumulates past gradients.

In ``heavy_ball`` and ``nesterov`` the learning rate multiplies each gradient before it enters the velocity, as in
Goodfellow et al. (2016), so a schedule does not rescale past steps. In ``ema_momentum`` it multiplies the average.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_switch
from regopt._core.numerics import as_float, at_count, check_number, check_range, check_schedulable
from regopt._core.protocols import with_explicit_form
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Number, NumberOrSchedule, NumberTree, ScheduledNumber, Tree
from regopt.optimizers import _moments as moments


class HeavyBallState(NamedTuple):
    """State of ``heavy_ball``."""

    count: Number  # shape (), int32: updates so far
    velocity: Tree  # structure, shapes and dtypes of the parameters

    def displaced(self, shift: Tree) -> "HeavyBallState":
        """The state after the parameters moved by ``shift`` beyond the update; the velocity includes that move."""
        return self._replace(velocity=trees.lift(jnp.add, self.velocity, shift))


@takes_schedules("learning_rate")
def heavy_ball(learning_rate: NumberOrSchedule, momentum: ScheduledNumber) -> optax.GradientTransformationExtraArgs:
    """Momentum, ``v <- momentum * v - learning_rate * g``; the update is v.

    Under a constant gradient the step approaches ``-learning_rate * g / (1 - momentum)``.

    Args:
        learning_rate: step size, >= 0, in parameter units per gradient unit; a number (may be traced), a schedule, or
            a prefix tree of these with, for example, one entry for each layer.
        momentum: decay rate of the velocity, in [0, 1), dimensionless; may be traced or scheduled.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])
        >>> optimizer = regopt.heavy_ball(learning_rate=0.5, momentum=0.5)
        >>> state = optimizer.init(params)
        >>> for _ in range(2):
        ...     updates, state = optimizer.update(jnp.ones(2), state)  # a constant gradient
        >>> updates
        Array([-0.75, -0.75], dtype=float32)

    References:
        Polyak, B. T. (1964). Some methods of speeding up the convergence of iteration methods. USSR Computational
        Mathematics and Mathematical Physics, 4(5), 1-17.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.2.
    """
    check_range("learning_rate", learning_rate, "[0, inf)")
    check_number("momentum", momentum, "[0, 1)")

    def init(params):
        return HeavyBallState(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        rate = at_count(learning_rate, state.count)
        velocity = _accelerate(state.velocity, updates, momentum, rate)
        return velocity, HeavyBallState(optax.safe_increment(state.count), velocity)

    return transformation(init, update, HeavyBallState, trains=True)


class EmaMomentumState(NamedTuple):
    """State of ``ema_momentum``."""

    count: Number  # shape (), int32: updates so far
    average: Tree  # shapes of the parameters, at least float32: moving average of g


@takes_schedules("learning_rate")
def ema_momentum(learning_rate: NumberOrSchedule, decay: ScheduledNumber) -> optax.GradientTransformationExtraArgs:
    """Momentum as a moving average, ``m <- decay * m + (1 - decay) * g``; the update is ``-learning_rate * m``.

    With a constant learning rate this is ``heavy_ball`` with the learning rate ``learning_rate * (1 - decay)``: for the
    same learning rate its steps are smaller by the factor ``1 - decay``. There is no bias correction, so the first
    steps are short. A schedule rescales the whole average, past gradients included.

    Args:
        learning_rate: step size, >= 0, in parameter units per gradient unit; a number (may be traced), a schedule, or
            a prefix tree of these with, for example, one entry for each layer.
        decay: decay rate of the average, in [0, 1), dimensionless; may be traced or scheduled.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])
        >>> optimizer = regopt.ema_momentum(learning_rate=0.5, decay=0.5)
        >>> state = optimizer.init(params)
        >>> for _ in range(2):
        ...     updates, state = optimizer.update(jnp.ones(2), state)  # a constant gradient
        >>> updates
        Array([-0.375, -0.375], dtype=float32)

    References:
        Kingma, D. P., & Ba, J. (2015). Adam: A method for stochastic optimization. ICLR. Algorithm 1, the first moment
        without its bias correction.

        Polyak, B. T. (1964). Some methods of speeding up the convergence of iteration methods. USSR Computational
        Mathematics and Mathematical Physics, 4(5), 1-17.
    """
    check_range("learning_rate", learning_rate, "[0, inf)")
    check_number("decay", decay, "[0, 1)")

    def init(params):
        return EmaMomentumState(jnp.zeros((), jnp.int32), trees.zeros_wide(params))

    def update(updates, state, params=None, **extra_args):
        del extra_args
        rate = at_count(learning_rate, state.count)
        average = moments.average(decay, state.average, updates)
        leading = updates if params is None else params
        steps = trees.lift(lambda _, m, rate: -rate * m, leading, average, numbers={"learning_rate": rate})
        return steps, EmaMomentumState(optax.safe_increment(state.count), average)

    return transformation(init, update, EmaMomentumState, trains=True)


class NesterovState(NamedTuple):
    """State of ``nesterov``."""

    count: Number  # shape (), int32: updates so far
    ahead: Tree  # structure, shapes and dtypes of the parameters: momentum * velocity, which is parameters - iterate

    def unshifted(self, params: Tree) -> Tree:
        """The iterate of Algorithm 8.3, ``params - momentum * velocity``, in the dtypes of ``params``."""
        return trees.lift(jnp.subtract, params, self.ahead)


class ExplicitNesterovState(NamedTuple):
    """State of ``nesterov`` with an explicit evaluation point."""

    count: Number  # shape (), int32: updates so far
    velocity: Tree  # structure, shapes and dtypes of the parameters
    momentum: Number  # shape (), default float dtype: the evaluation point needs it

    def evaluation_params(self, params: Tree) -> Tree:
        """The interim point of Algorithm 8.3, ``params + momentum * velocity``, in the dtypes of ``params``."""
        return trees.lift(lambda w, v, a: w + a * v, params, self.velocity, numbers=(self.momentum,))

    def displaced(self, shift: Tree) -> "ExplicitNesterovState":
        """The state after the parameters moved by ``shift`` beyond the update; the velocity includes that move."""
        return self._replace(velocity=trees.lift(jnp.add, self.velocity, shift))


@takes_schedules("learning_rate", "momentum")
def nesterov(
    learning_rate: NumberOrSchedule, momentum: ScheduledNumber, *, explicit_point: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Nesterov momentum, ``v <- momentum * v - learning_rate * g(w + momentum * v)`` and ``w <- w + v``.

    The parameters of the training loop are the interim point ``w + momentum * v``, so a loop that evaluates its
    gradient at the parameters needs no change; the update moves them to the next such point. The iterate w is
    ``regopt.final_params(params, state)``. With a constant learning rate the parameters are those of optax's and
    PyTorch's Nesterov momentum. A transformation that scales updates, such as a plateau rule, belongs before this
    optimizer or into its learning rate: after it, it would scale ``momentum * v`` too, and ``final_params`` would not
    return the iterate.

    With ``explicit_point`` the parameters are w and the update is v. The gradient must then be evaluated at
    ``regopt.evaluation_params(params, state)``, as the tasks of a sweep do; evaluated at the parameters it would give
    heavy ball. Both forms have the same iterates and see the same gradients.

    Args:
        learning_rate: step size, >= 0, in parameter units per gradient unit; a number (may be traced), a schedule, or
            a prefix tree of these with, for example, one entry for each layer.
        momentum: decay rate of the velocity, in [0, 1), dimensionless; may be traced or scheduled.
        explicit_point: whether the parameters are the iterate, and the loop asks for the point at which to evaluate
            the gradient; static.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.nesterov(learning_rate=0.5, momentum=0.5)
        >>> state = optimizer.init(params)
        >>> for _ in range(2):
        ...     updates, state = optimizer.update(params, state, params)
        ...     params = params + updates
        >>> regopt.final_params(params, state)
        Array([ 0.125, -0.25 ], dtype=float32)

    References:
        Sutskever, I., Martens, J., Dahl, G., & Hinton, G. (2013). On the importance of initialization and momentum in
        deep learning. ICML. Equations 3 and 4.

        Bengio, Y., Boulanger-Lewandowski, N., & Pascanu, R. (2013). Advances in optimizing recurrent networks. ICASSP.
        Equations 6 and 7, for the parameters at the interim point.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.3.
    """
    check_range("learning_rate", learning_rate, "[0, inf)")
    check_schedulable("momentum", momentum, "[0, 1)")
    check_switch("explicit_point", explicit_point)
    explicit = _explicit(learning_rate, momentum)
    return explicit if explicit_point else with_explicit_form(_at_the_point(learning_rate, momentum), explicit)


def _at_the_point(learning_rate: NumberOrSchedule, momentum: ScheduledNumber) -> optax.GradientTransformationExtraArgs:
    def init(params):
        return NesterovState(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        rate = at_count(learning_rate, state.count)
        velocity = trees.lift_wide(
            lambda p, g, rate: p - rate * g, state.ahead, updates, numbers={"learning_rate": rate}
        )
        count = optax.safe_increment(state.count)
        # the point of the next gradient has the momentum of the next step
        ahead = trees.lift(lambda _, v, a: a * v, state.ahead, velocity, numbers=(at_count(momentum, count),))
        moves = trees.lift(lambda old, v, new: v + new - old, state.ahead, velocity, ahead)
        return moves, NesterovState(count, ahead)

    return transformation(init, update, NesterovState, trains=True)


def _explicit(learning_rate: NumberOrSchedule, momentum: ScheduledNumber) -> optax.GradientTransformationExtraArgs:
    def init(params):
        velocity = optax.tree.zeros_like(params)
        count = jnp.zeros((), jnp.int32)
        return ExplicitNesterovState(count, velocity, jnp.copy(as_float(at_count(momentum, count))))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        rate = at_count(learning_rate, state.count)
        velocity = _accelerate(state.velocity, updates, at_count(momentum, state.count), rate)
        count = optax.safe_increment(state.count)
        return velocity, ExplicitNesterovState(count, velocity, as_float(at_count(momentum, count)))

    return transformation(init, update, ExplicitNesterovState, trains=True)


def _accelerate(velocity: Tree, grads: Tree, momentum: ScheduledNumber, rate: NumberTree) -> Tree:
    """``momentum * v - rate * g``, leaf by leaf."""
    numbers = {"momentum": momentum, "learning_rate": rate}
    return trees.lift(lambda v, g, momentum, rate: momentum * v - rate * g, velocity, grads, numbers=numbers)
