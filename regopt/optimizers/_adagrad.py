"""AdaGrad: the gradient is divided by the root of the sum of all squared gradients.

``eps`` is added outside the root, in gradient units, and ``eps_root`` inside it, in squared gradient units. For small
gradients the two give very different steps, and sources differ in which one they print. The accumulator is kept in at
least float32.
"""

from typing import NamedTuple

import optax

from regopt._core import trees
from regopt._core.numerics import check_number
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Number, NumberOrSchedule, ScheduledNumber, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByAdagradState(NamedTuple):
    """State of ``scale_by_adagrad``."""

    sum_of_squares: Tree  # shapes of the parameters, at least float32


@takes_schedules()
def scale_by_adagrad(
    eps: ScheduledNumber = 1e-7, eps_root: ScheduledNumber = 0.0, initial_accumulator: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """AdaGrad's direction, ``g / (sqrt(r + eps_root) + eps)`` with ``r <- r + g**2``, elementwise.

    Subtracting the direction descends (``scale_by_learning_rate`` does so). Its leaves are at least float32. Where all
    gradients so far were zero the direction is 0, even with both constants 0. optax adds its constant inside the root,
    PyTorch outside.

    Args:
        eps: constant added outside the root, >= 0, in gradient units; may be traced or scheduled.
        eps_root: constant added inside the root, >= 0, in squared gradient units; may be traced or scheduled.
        initial_accumulator: r before the first step, >= 0, in squared gradient units; may be traced. It belongs to no
            step, so it takes no schedule.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.optimizers import scale_by_adagrad
        >>> grads = jnp.array([3.0, -0.1])
        >>> transform = scale_by_adagrad(initial_accumulator=16.0)
        >>> directions, state = transform.update(grads, transform.init(grads))
        >>> directions.round(3)
        Array([ 0.6  , -0.025], dtype=float32)

    References:
        Duchi, J., Hazan, E., & Singer, Y. (2011). Adaptive subgradient methods for online learning and stochastic
        optimization. Journal of Machine Learning Research, 12, 2121-2159. Figure 1.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.4.
    """
    check_number("eps", eps, "[0, inf)")
    check_number("eps_root", eps_root, "[0, inf)")
    check_number("initial_accumulator", initial_accumulator, "[0, inf)")

    def init(params):
        zeros = trees.zeros_wide(params)
        start = trees.lift(lambda r, start: r + start, zeros, numbers=(initial_accumulator,))
        return ScaleByAdagradState(start)

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        total = trees.lift(lambda r, g: r + g * g, state.sum_of_squares, updates)
        return moments.divide_by_root(updates, total, eps, eps_root), ScaleByAdagradState(total)

    return transformation(init, update, ScaleByAdagradState, trains=True)


@takes_schedules("learning_rate")
def adagrad(
    learning_rate: NumberOrSchedule,
    eps: ScheduledNumber = 1e-7,
    eps_root: ScheduledNumber = 0.0,
    initial_accumulator: Number = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """AdaGrad, ``w <- w - learning_rate * g / (sqrt(r + eps_root) + eps)`` with ``r <- r + g**2``.

    Args:
        learning_rate: step size, >= 0, in parameter units; a number (may be traced), a schedule, or a prefix tree of
            these with, for example, one entry for each layer.
        eps: constant added outside the root, >= 0, in gradient units; may be traced or scheduled.
        eps_root: constant added inside the root, >= 0, in squared gradient units; may be traced or scheduled.
        initial_accumulator: r before the first step, >= 0, in squared gradient units; may be traced. It belongs to no
            step, so it takes no schedule.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.adagrad(learning_rate=0.5)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates.round(4)
        Array([-0.5,  0.5], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.4.

        Duchi, J., Hazan, E., & Singer, Y. (2011). Adaptive subgradient methods for online learning and stochastic
        optimization. Journal of Machine Learning Research, 12, 2121-2159. Figure 1.
    """
    return optax.chain(scale_by_adagrad(eps, eps_root, initial_accumulator), scale_by_learning_rate(learning_rate))
