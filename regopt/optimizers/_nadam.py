"""Nadam: Adam with Nesterov's look-ahead in the first moment."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from regopt._core import trees
from regopt._core.numerics import one_minus
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Number, NumberOrSchedule, ScheduledNumber, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByNadamState(NamedTuple):
    """State of ``scale_by_nadam``."""

    count: Number  # shape (), int32: updates so far
    mu: Tree  # shapes of the parameters, at least float32 or mu_dtype: moving average of g
    nu: Tree  # shapes of the parameters, at least float32: moving average of g**2


@takes_schedules()
def scale_by_nadam(
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.999,
    eps: ScheduledNumber = 1e-8,
    eps_root: ScheduledNumber = 0.0,
    *,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Nadam's direction: Adam's, with the first moment extrapolated by one step.

    ``(b1 s / (1 - b1**(t+1)) + (1 - b1) g / (1 - b1**t)) / (sqrt(r / (1 - b2**t) + eps_root) + eps)``, elementwise,
    where s and r are Adam's moments. The gradient is evaluated at the parameters themselves. Subtracting the direction
    descends (``scale_by_learning_rate`` does so). Its leaves are at least float32. Where all gradients so far were zero
    the direction is 0, even with ``eps = 0``.

    This is the rule of the paper for a constant b1 and equals ``optax.nadam``. The paper's schedule for b1 is left out,
    and so is the factor b2 that it prints in the corrected r.

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
        >>> from regopt.optimizers import scale_by_nadam
        >>> grads = jnp.array([3.0, -0.1])
        >>> transform = scale_by_nadam(b1=0.5)
        >>> directions, state = transform.update(grads, transform.init(grads))
        >>> (3 * directions).round(3)  # 4 / 3 of Adam's direction
        Array([ 4., -4.], dtype=float32)

    References:
        Dozat, T. (2016). Incorporating Nesterov momentum into Adam. ICLR Workshop. Algorithm 2.
    """
    moments.check_numbers(b1, b2, eps, eps_root)
    moments.check_mu_dtype(mu_dtype)

    def init(params):
        return ScaleByNadamState(
            jnp.zeros((), jnp.int32),
            moments.zeros(params, mu_dtype),
            trees.zeros_wide(params),
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        t = optax.safe_increment(state.count)
        mu, kept = moments.first_moment(b1, state.mu, updates)
        nu = moments.average_of_squares(b2, state.nu, updates)
        ahead = trees.lift_wide(
            lambda s, g, b, c: b * s + c * g,
            moments.correct_bias(b1, optax.safe_increment(t), mu),
            moments.correct_bias(b1, t, updates),
            numbers=(b1, one_minus(b1)),
        )
        directions = moments.divide_by_root(ahead, moments.correct_bias(b2, t, nu), eps, eps_root)
        return directions, ScaleByNadamState(t, kept, nu)

    return transformation(init, update, ScaleByNadamState, trains=True)


@takes_schedules("learning_rate")
def nadam(
    learning_rate: NumberOrSchedule,
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.999,
    eps: ScheduledNumber = 1e-8,
    eps_root: ScheduledNumber = 0.0,
    *,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Nadam, ``w <- w - learning_rate * d / (sqrt(r / (1 - b2**t) + eps_root) + eps)``: Adam with a look-ahead.

    ``d = b1 s / (1 - b1**(t+1)) + (1 - b1) g / (1 - b1**t)``, where s and r are Adam's moments and t = 1, 2, ... counts
    the updates.

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
        >>> optimizer = regopt.nadam(learning_rate=0.75, b1=0.5)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates.round(3)
        Array([-1.,  1.], dtype=float32)

    References:
        Dozat, T. (2016). Incorporating Nesterov momentum into Adam. ICLR Workshop. Algorithm 2 with a constant b1;
        ``scale_by_nadam`` names a factor that is left out.
    """
    return optax.chain(scale_by_nadam(b1, b2, eps, eps_root, mu_dtype=mu_dtype), scale_by_learning_rate(learning_rate))
