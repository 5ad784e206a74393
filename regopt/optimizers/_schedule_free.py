"""Schedule-free methods: an average of the iterates takes the place of a decaying learning rate.

There are three points: z takes the steps, x is the average of z and the final model, and y between the two is where
gradients are evaluated. The user's parameters are y, so a training loop needs no change; x is
``regopt.final_params(params, opt_state)``. The state holds both z and x in at least float32. To recover x from y and z
would need a division by b1, which may be 0, and would lose x in bfloat16.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import at_count, check_number, check_range, safe_divide, widen
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Mask, Number, NumberOrSchedule, ScheduledNumber, Tree
from regopt.optimizers._adam import scale_by_adam
from regopt.optimizers._decay import add_decay


class ScheduleFreeState(NamedTuple):
    """State of ``schedule_free_sgd`` and ``schedule_free_adamw``."""

    inner: Tree  # state of the transformation that turns the gradient into a direction
    count: Number  # shape (), int32: updates so far
    weight_sum: Tree  # a scalar for each leaf, at least float32: sum of the squared learning rates
    z: Tree  # shapes of the parameters, at least float32: the iterate that takes the steps
    x: Tree  # shapes of the parameters, at least float32: its average

    def final_params(self, params: Tree) -> Tree:
        """The average x, in the dtypes of ``params``."""
        return trees.lift(lambda _, x: x, params, self.x)


@takes_schedules("learning_rate")
def schedule_free_sgd(
    learning_rate: NumberOrSchedule,
    b1: ScheduledNumber = 0.9,
    *,
    weight_decay: NumberOrSchedule = 0.0,
    mask: Mask = "weights",
) -> optax.GradientTransformationExtraArgs:
    """Gradient descent of z with gradients at ``y = (1 - b1) z + b1 x``; the model x is a running mean of z.

    ``z <- z - r (g(y) + weight_decay y)``, then ``x <- x + c (z - x)`` with ``c = r**2 / sum r**2``, where r is the
    learning rate. With a constant learning rate x is the mean of z after each step. A warm-up is the only schedule that
    makes sense here.

    Args:
        learning_rate: step size r, >= 0, in parameter units per gradient unit; a number (may be traced), a schedule, or
            a prefix tree of these with, for example, one entry for each layer.
        b1: weight of x in the evaluation point y, in [0, 1], dimensionless; may be traced or scheduled. 0 averages the
            iterates of gradient descent (Polyak-Ruppert), 1 evaluates gradients at the average.
        weight_decay: strength of the decay, >= 0, in loss units per squared parameter unit; a number, or numbers by
            layer or by path pattern; may be traced or scheduled.
        mask: the leaves that decay: ``"weights"`` for all but biases and normalisation scales, bools by layer or by
            path pattern, a function from parameters to these, or None for all leaves.

    Returns:
        The optimizer; its ``update`` requires ``params``. The model is ``regopt.final_params(params, opt_state)``.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.schedule_free_sgd(learning_rate=0.5, b1=0.5)
        >>> state = optimizer.init(params)
        >>> for _ in range(2):
        ...     updates, state = optimizer.update(params, state, params)
        ...     params = params + updates
        >>> regopt.final_params(params, state)
        Array([ 0.375, -0.75 ], dtype=float32)

    References:
        Defazio, A., Yang, X., Mehta, H., Mishchenko, K., Khaled, A., & Cutkosky, A. (2024). The road less scheduled.
        NeurIPS. Equations 2 to 4, with the weights and the decay of Algorithm 1.
    """
    return _schedule_free(optax.identity(), learning_rate, b1, weight_decay, mask)


@takes_schedules("learning_rate")
def schedule_free_adamw(
    learning_rate: NumberOrSchedule,
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.999,
    eps: ScheduledNumber = 1e-8,
    *,
    weight_decay: NumberOrSchedule = 0.0,
    mask: Mask = "weights",
) -> optax.GradientTransformationExtraArgs:
    """``schedule_free_sgd`` with Adam's scaling in place of g, ``g / (sqrt(v / (1 - b2**t)) + eps)``.

    ``v <- b2 v + (1 - b2) g**2``, elementwise. The interpolation by b1 takes the place of momentum.

    Args:
        learning_rate: step size, >= 0, in parameter units; a number (may be traced), a schedule, or a prefix tree of
            these with, for example, one entry for each layer.
        b1: weight of x in the evaluation point y, in [0, 1], dimensionless; may be traced or scheduled.
        b2: decay rate of the second moment, in [0, 1), dimensionless; may be traced or scheduled.
        eps: constant added outside the root, >= 0, in gradient units; may be traced or scheduled.
        weight_decay: strength of the decay, >= 0, in inverse parameter units; a number, or numbers by layer or by path
            pattern; may be traced or scheduled.
        mask: the leaves that decay: ``"weights"`` for all but biases and normalisation scales, bools by layer or by
            path pattern, a function from parameters to these, or None for all leaves.

    Returns:
        The optimizer; its ``update`` requires ``params``. The model is ``regopt.final_params(params, opt_state)``.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.schedule_free_adamw(learning_rate=0.25)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> regopt.final_params(params + updates, state).round(3)
        Array([ 0.75000006, -1.7500001 ], dtype=float32)

    References:
        Defazio, A., Yang, X., Mehta, H., Mishchenko, K., Khaled, A., & Cutkosky, A. (2024). The road less scheduled.
        NeurIPS. Algorithm 1. There the correction ``sqrt(1 - b2**t)`` is a factor of the learning rate. Here it
        corrects the second moment, as in the authors' later code and in optax, so that it affects neither the decay nor
        the weights of the average.
    """
    return _schedule_free(scale_by_adam(0.0, b2, eps), learning_rate, b1, weight_decay, mask)


def _schedule_free(
    direction: optax.GradientTransformation,
    learning_rate: NumberOrSchedule,
    b1: ScheduledNumber,
    weight_decay: NumberOrSchedule,
    mask: Mask,
) -> optax.GradientTransformationExtraArgs:
    check_range("learning_rate", learning_rate, "[0, inf)")
    check_number("b1", b1, "[0, 1]")
    inner = optax.chain(direction, add_decay(weight_decay, mask))

    def init(params):
        sums = jax.tree.map(lambda w: jnp.zeros((), widen(w)[0].dtype), params)
        return ScheduleFreeState(
            inner.init(params), jnp.zeros((), jnp.int32), sums, trees.copy_wide(params), trees.copy_wide(params)
        )

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("schedule-free methods need the parameters: call update(grads, state, params)")
        directions, inner_state = inner.update(updates, state.inner, params, **extra_args)
        rate = at_count(learning_rate, state.count)
        sums = trees.lift(lambda total, r: total + r * r, state.weight_sum, numbers={"learning_rate": rate})
        z = trees.lift(lambda z, d, r: z - r * d, state.z, directions, numbers={"learning_rate": rate})
        # while a warm-up has rate 0 the average stays at its start
        x = trees.lift(
            lambda x, z, total, r: x + safe_divide(r * r, total) * (z - x), state.x, z, sums, numbers=(rate,)
        )
        moves = trees.lift(lambda y, z, x, b1: (1 - b1) * z + b1 * x - y, params, z, x, numbers=(b1,))
        return moves, ScheduleFreeState(inner_state, optax.safe_increment(state.count), sums, z, x)

    return transformation(init, update, ScheduleFreeState, trains=True)
