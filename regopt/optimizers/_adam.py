"""Adam and AdamW: a moving average of the gradient, divided in each coordinate by its root mean square.

The moments are kept in at least float32, whatever the dtype of the parameters: in bfloat16 a second moment with
b2 = 0.999 would never change.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from regopt._core import trees
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Mask, Number, NumberOrSchedule, ScheduledNumber, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._decay import add_decay
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByAdamState(NamedTuple):
    """State of ``scale_by_adam``."""

    count: Number  # shape (), int32: updates so far
    mu: Tree  # shapes of the parameters, at least float32 or mu_dtype: moving average of g
    nu: Tree  # shapes of the parameters, at least float32: moving average of g**2


@takes_schedules()
def scale_by_adam(
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.999,
    eps: ScheduledNumber = 1e-8,
    eps_root: ScheduledNumber = 0.0,
    *,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Adam's direction, ``(s / (1 - b1**t)) / (sqrt(r / (1 - b2**t) + eps_root) + eps)``, elementwise.

    The moments are ``s <- b1 s + (1 - b1) g`` and ``r <- b2 r + (1 - b2) g**2``, and t = 1, 2, ... counts the updates.
    Subtracting the direction descends (``scale_by_learning_rate`` does so). Its leaves are at least float32. Where all
    gradients so far were zero the direction is 0, even with ``eps = 0``.

    Args:
        b1: decay rate of the first moment, in [0, 1), dimensionless; may be traced or scheduled.
        b2: decay rate of the second moment, in [0, 1), dimensionless; may be traced or scheduled.
        eps: constant added outside the root, >= 0, in gradient units; may be traced or scheduled.
        eps_root: constant added inside the root, >= 0, in squared gradient units; may be traced or scheduled.
        mu_dtype: dtype in which the state keeps the first moment, as in optax; None for at least float32; static. The
            step itself is computed in at least float32.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.optimizers import scale_by_adam
        >>> grads = jnp.array([3.0, -0.1])
        >>> transform = scale_by_adam()
        >>> directions, state = transform.update(grads, transform.init(grads))
        >>> directions.round(4)
        Array([ 1., -1.], dtype=float32)

    References:
        Kingma, D. P., & Ba, J. (2015). Adam: A method for stochastic optimization. ICLR. Algorithm 1.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.7.
    """
    moments.check_numbers(b1, b2, eps, eps_root)
    moments.check_mu_dtype(mu_dtype)

    def init(params):
        return ScaleByAdamState(
            jnp.zeros((), jnp.int32),
            moments.zeros(params, mu_dtype),
            trees.zeros_wide(params),
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        t = optax.safe_increment(state.count)
        mu, kept = moments.first_moment(b1, state.mu, updates)
        nu = moments.average_of_squares(b2, state.nu, updates)
        corrected = moments.correct_bias(b1, t, mu), moments.correct_bias(b2, t, nu)
        return moments.divide_by_root(*corrected, eps, eps_root), ScaleByAdamState(t, kept, nu)

    return transformation(init, update, ScaleByAdamState, trains=True)


@takes_schedules("learning_rate")
def adam(
    learning_rate: NumberOrSchedule,
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.999,
    eps: ScheduledNumber = 1e-8,
    eps_root: ScheduledNumber = 0.0,
    *,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Adam, ``w <- w - learning_rate * (s / (1 - b1**t)) / (sqrt(r / (1 - b2**t) + eps_root) + eps)``.

    The moments are ``s <- b1 s + (1 - b1) g`` and ``r <- b2 r + (1 - b2) g**2``, and t = 1, 2, ... counts the updates.
    While ``eps`` is small compared with the gradient, the first step has the size of the learning rate in each
    coordinate, to rounding, for every b1 and b2.

    Args:
        learning_rate: step size, >= 0, in parameter units; a number (may be traced), a schedule, or a prefix tree of
            these with, for example, one entry for each layer.
        b1: decay rate of the first moment, in [0, 1), dimensionless; may be traced or scheduled.
        b2: decay rate of the second moment, in [0, 1), dimensionless; may be traced or scheduled.
        eps: constant added outside the root, >= 0, in gradient units; may be traced or scheduled.
        eps_root: constant added inside the root, >= 0, in squared gradient units; may be traced or scheduled.
        mu_dtype: dtype in which the state keeps the first moment, as in optax; None for at least float32; static. The
            step itself is computed in at least float32.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.adam(learning_rate=0.5)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates.round(4)
        Array([-0.5,  0.5], dtype=float32)

    References:
        Kingma, D. P., & Ba, J. (2015). Adam: A method for stochastic optimization. ICLR. Algorithm 1.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.7.
    """
    return optax.chain(scale_by_adam(b1, b2, eps, eps_root, mu_dtype=mu_dtype), scale_by_learning_rate(learning_rate))


@takes_schedules("learning_rate")
def adamw(
    learning_rate: NumberOrSchedule,
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.999,
    eps: ScheduledNumber = 1e-8,
    eps_root: ScheduledNumber = 0.0,
    *,
    mu_dtype: DTypeLike | None = None,
    weight_decay: NumberOrSchedule = 1e-4,
    mask: Mask = "weights",
) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled decay, ``w <- w - learning_rate * (d + weight_decay * w)``.

    d is Adam's direction, see ``scale_by_adam``. The learning rate scales the decay too, as in PyTorch and optax.

    Args:
        learning_rate: step size, >= 0, in parameter units; a number (may be traced), a schedule, or a prefix tree of
            these with, for example, one entry for each layer.
        b1: decay rate of the first moment, in [0, 1), dimensionless; may be traced or scheduled.
        b2: decay rate of the second moment, in [0, 1), dimensionless; may be traced or scheduled.
        eps: constant added outside the root, >= 0, in gradient units; may be traced or scheduled.
        eps_root: constant added inside the root, >= 0, in squared gradient units; may be traced or scheduled.
        weight_decay: strength of the decay, >= 0, in inverse parameter units; a number, or numbers by layer or by path
            pattern; may be traced or scheduled.
        mask: the leaves that decay: ``"weights"`` for all but biases and normalisation scales, bools by layer or by
            path pattern, a function from parameters to these, or None for all leaves.
        mu_dtype: dtype in which the state keeps the first moment, as in optax; None for at least float32; static. The
            step itself is computed in at least float32.

    Returns:
        The optimizer; its ``update`` requires ``params``.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([1.0])}
        >>> optimizer = regopt.adamw(learning_rate=0.5, weight_decay=0.5)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates["kernel"].round(4), updates["bias"].round(4)  # the bias does not decay
        (Array([-0.75,  1.  ], dtype=float32), Array([-0.5], dtype=float32))

    References:
        Loshchilov, I., & Hutter, F. (2019). Decoupled weight decay regularization. ICLR. Algorithm 2, with the decay
        scaled by the learning rate.
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype=mu_dtype),
        add_decay(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
