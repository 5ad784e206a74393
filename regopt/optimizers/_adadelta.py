"""Adadelta: the gradient is scaled by the ratio of the sizes of past steps and past gradients.

Both accumulators are kept in at least float32.
"""

import operator
from typing import NamedTuple

import optax

from regopt._core import trees
from regopt._core.numerics import check_number, safe_divide, safe_sqrt
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import NumberOrSchedule, ScheduledNumber, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByAdadeltaState(NamedTuple):
    """State of ``scale_by_adadelta``."""

    gradients: Tree  # shapes of the parameters, at least float32: moving average of g**2
    steps: Tree  # shapes of the parameters, at least float32: moving average of the squared direction


@takes_schedules()
def scale_by_adadelta(
    decay: ScheduledNumber = 0.95, eps_root: ScheduledNumber = 1e-6
) -> optax.GradientTransformationExtraArgs:
    """Adadelta's direction, ``d = g * sqrt(x + eps_root) / sqrt(r + eps_root)``, elementwise.

    ``r <- decay r + (1 - decay) g**2`` is updated before the direction is computed and
    ``x <- decay x + (1 - decay) d**2`` after it, so d has the units of the parameters. Subtracting d descends
    (``scale_by_learning_rate`` does so). The leaves of d are at least float32. With ``eps_root = 0`` the method never
    leaves its start, because x is 0 there.

    Args:
        decay: decay rate of both averages, in [0, 1), dimensionless; may be traced or scheduled.
        eps_root: constant added inside both roots, >= 0, in squared parameter units and in squared gradient units; may
            be traced or scheduled.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.optimizers import scale_by_adadelta
        >>> grads = jnp.array([1.0, -100.0])
        >>> transform = scale_by_adadelta()
        >>> directions, state = transform.update(grads, transform.init(grads))
        >>> directions.round(4)  # independent of the scale of the gradient
        Array([ 0.0045, -0.0045], dtype=float32)

    References:
        Zeiler, M. D. (2012). ADADELTA: An adaptive learning rate method. arXiv:1212.5701. Algorithm 1.
    """
    check_number("decay", decay, "[0, 1)")
    check_number("eps_root", eps_root, "[0, inf)")

    def init(params):
        return ScaleByAdadeltaState(trees.zeros_wide(params), trees.zeros_wide(params))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        gradients = moments.average_of_squares(decay, state.gradients, updates)

        def ratio(r, x, eps_root):
            return safe_divide(safe_sqrt(x + eps_root), safe_sqrt(r + eps_root))

        scale = trees.lift(ratio, gradients, state.steps, numbers=(eps_root,))
        directions = trees.lift_wide(operator.mul, updates, scale)
        steps = moments.average_of_squares(decay, state.steps, directions)
        return directions, ScaleByAdadeltaState(gradients, steps)

    return transformation(init, update, ScaleByAdadeltaState, trains=True)


@takes_schedules("learning_rate")
def adadelta(
    learning_rate: NumberOrSchedule = 1.0, decay: ScheduledNumber = 0.95, eps_root: ScheduledNumber = 1e-6
) -> optax.GradientTransformationExtraArgs:
    """Adadelta, ``w <- w - learning_rate * d`` with ``d = g * sqrt(x + eps_root) / sqrt(r + eps_root)``.

    ``r <- decay r + (1 - decay) g**2`` is updated before d is computed and ``x <- decay x + (1 - decay) d**2`` after
    it. The paper has no learning rate, which corresponds to the value 1; the learning rate does not enter x.

    Args:
        learning_rate: factor of the step, >= 0, dimensionless; a number (may be traced), a schedule, or a prefix tree
            of these.
        decay: decay rate of both averages, in [0, 1), dimensionless; may be traced or scheduled.
        eps_root: constant added inside both roots, >= 0, in squared parameter units and in squared gradient units; may
            be traced or scheduled.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.adadelta(eps_root=1e-4)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates.round(4)
        Array([-0.0447,  0.0447], dtype=float32)

    References:
        Zeiler, M. D. (2012). ADADELTA: An adaptive learning rate method. arXiv:1212.5701. Algorithm 1.
    """
    return optax.chain(scale_by_adadelta(decay, eps_root), scale_by_learning_rate(learning_rate))
