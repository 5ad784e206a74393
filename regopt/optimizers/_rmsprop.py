"""RMSProp, plain and with Nesterov momentum: the gradient is divided by the root of a moving average of its square.

``eps`` is added outside the root, in gradient units, and ``eps_root`` inside it, in squared gradient units. For small
gradients the two give very different steps, and sources differ in which one they print. The accumulator is kept in at
least float32.
"""

from typing import NamedTuple

import optax

from regopt._core import trees
from regopt._core.checks import check_switch
from regopt._core.numerics import check_number, one_minus
from regopt._core.protocols import with_explicit_form
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import NumberOrSchedule, ScheduledNumber, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._momentum import nesterov
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByRmspropState(NamedTuple):
    """State of ``scale_by_rmsprop``."""

    nu: Tree  # shapes of the parameters, at least float32: moving average of g**2, about ``mu`` if centered
    mu: Tree  # shapes of the parameters, at least float32: moving average of g; None unless centered


@takes_schedules()
def scale_by_rmsprop(
    decay: ScheduledNumber = 0.9,
    eps: ScheduledNumber = 0.0,
    eps_root: ScheduledNumber = 1e-6,
    *,
    centered: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """RMSProp's direction, ``g / (sqrt(r + eps_root) + eps)`` with ``r <- decay r + (1 - decay) g**2``, elementwise.

    With ``centered``, r is a variance: the moving average of g**2 minus the square of the moving average m of g. It is
    updated as ``r <- decay (r + (1 - decay) (g - m)**2)`` with m before its own update, which is the same number and is
    never negative by rounding. There is no bias correction. Subtracting the direction descends
    (``scale_by_learning_rate`` does so). Its leaves are at least float32. Where all gradients so far were zero the
    direction is 0, even with both constants 0.

    Args:
        decay: decay rate of the moving averages, in [0, 1), dimensionless; may be traced or scheduled.
        eps: constant added outside the root, as in PyTorch, >= 0, in gradient units; may be traced or scheduled.
        eps_root: constant added inside the root, as in the book, >= 0, in squared gradient units; may be traced or
            scheduled.
        centered: if True, divide by the standard deviation of the gradient instead of its root mean square; static.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.optimizers import scale_by_rmsprop
        >>> grads = jnp.array([3.0, -0.1])
        >>> transform = scale_by_rmsprop(decay=0.75)
        >>> directions, state = transform.update(grads, transform.init(grads))
        >>> directions.round(3)  # 1 / sqrt(1 - decay)
        Array([ 2., -2.], dtype=float32)

    References:
        Tieleman, T., & Hinton, G. (2012). Lecture 6.5, RMSProp: Divide the gradient by a running average of its recent
        magnitude. COURSERA: Neural Networks for Machine Learning.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.5.

        Graves, A. (2013). Generating sequences with recurrent neural networks. arXiv:1308.0850. Equations 38 to 40, for
        the centered form.
    """
    check_switch("centered", centered)
    check_number("decay", decay, "[0, 1)")
    check_number("eps", eps, "[0, inf)")
    check_number("eps_root", eps_root, "[0, inf)")

    def init(params):
        mu = trees.zeros_wide(params) if centered else None
        return ScaleByRmspropState(trees.zeros_wide(params), mu)

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        if centered:
            nu = _variance(decay, state.nu, state.mu, updates)
            mu = moments.average(decay, state.mu, updates)
        else:
            nu, mu = moments.average_of_squares(decay, state.nu, updates), None
        return moments.divide_by_root(updates, nu, eps, eps_root), ScaleByRmspropState(nu, mu)

    return transformation(init, update, ScaleByRmspropState, trains=True)


@takes_schedules("learning_rate")
def rmsprop(
    learning_rate: NumberOrSchedule,
    decay: ScheduledNumber = 0.9,
    eps: ScheduledNumber = 0.0,
    eps_root: ScheduledNumber = 1e-6,
    *,
    centered: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """RMSProp, ``w <- w - learning_rate * g / (sqrt(r + eps_root) + eps)``.

    ``r <- decay r + (1 - decay) g**2`` is a moving average. By default the constant is inside the root, as in the book;
    ``eps=1e-8, eps_root=0`` is the form with the constant outside. The two are not interchangeable: they differ where
    gradients are small compared with the root of the constant.

    Args:
        learning_rate: step size, >= 0, in parameter units; a number (may be traced), a schedule, or a prefix tree of
            these with, for example, one entry for each layer.
        decay: decay rate of the moving average, in [0, 1), dimensionless; may be traced or scheduled.
        eps: constant added outside the root, >= 0, in gradient units; may be traced or scheduled.
        eps_root: constant added inside the root, >= 0, in squared gradient units; may be traced or scheduled.
        centered: if True, r is the variance of the gradient instead of its mean square; static.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.rmsprop(learning_rate=0.5, decay=0.75)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates.round(3)
        Array([-1.,  1.], dtype=float32)

    References:
        Tieleman, T., & Hinton, G. (2012). Lecture 6.5, RMSProp: Divide the gradient by a running average of its recent
        magnitude. COURSERA: Neural Networks for Machine Learning.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.5.
    """
    check_switch("centered", centered)
    return optax.chain(scale_by_rmsprop(decay, eps, eps_root, centered=centered), scale_by_learning_rate(learning_rate))


@takes_schedules("learning_rate", "momentum")
def rmsprop_nesterov(
    learning_rate: NumberOrSchedule,
    decay: ScheduledNumber = 0.9,
    momentum: ScheduledNumber = 0.9,
    eps: ScheduledNumber = 0.0,
    eps_root: ScheduledNumber = 1e-6,
    *,
    explicit_point: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """RMSProp with Nesterov momentum, ``v <- momentum * v - learning_rate * g / (sqrt(r + eps_root) + eps)``.

    The iterate moves by v, and ``r <- decay r + (1 - decay) g**2``. As in ``nesterov``, the parameters of the training
    loop are the point ``w + momentum * v`` at which g is the gradient, and the iterate w is
    ``regopt.final_params(params, state)``. The book prints no constant here, so a zero gradient gives 0 / 0; this
    function has the constants of RMSProp. With both constants 0 a coordinate whose gradients have all been zero keeps
    its velocity.

    Args:
        learning_rate: step size, >= 0, in parameter units; a number (may be traced), a schedule, or a prefix tree of
            these with, for example, one entry for each layer.
        decay: decay rate of the moving average, in [0, 1), dimensionless; may be traced or scheduled.
        momentum: decay rate of the velocity, in [0, 1), dimensionless; may be traced or scheduled.
        eps: constant added outside the root, >= 0, in gradient units; may be traced or scheduled.
        eps_root: constant added inside the root, >= 0, in squared gradient units; may be traced or scheduled.
        explicit_point: whether the parameters are the iterate, and the loop evaluates the gradient at
            ``regopt.evaluation_params(params, state)``; static.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.rmsprop_nesterov(learning_rate=0.5, decay=0.75, momentum=0.5)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> (params + updates).round(4), regopt.final_params(params + updates, state).round(4)
        (Array([-0.5, -0.5], dtype=float32), Array([ 0., -1.], dtype=float32))

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.6.
    """
    check_switch("explicit_point", explicit_point)
    direction = scale_by_rmsprop(decay, eps, eps_root)
    explicit = optax.chain(direction, nesterov(learning_rate, momentum, explicit_point=True))
    if explicit_point:
        return explicit
    return with_explicit_form(optax.chain(direction, nesterov(learning_rate, momentum)), explicit)


def _variance(decay: ScheduledNumber, variance: Tree, mu: Tree, grads: Tree) -> Tree:
    """The exponentially weighted variance after one more gradient, from the variance and the mean before it."""
    return trees.lift(
        lambda r, m, g, b, c: b * (r + c * (g - m) ** 2), variance, mu, grads, numbers=(decay, one_minus(decay))
    )
