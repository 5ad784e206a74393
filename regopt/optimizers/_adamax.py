"""AdaMax: Adam with the largest recent gradient in place of the root mean square."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from regopt._core import trees
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Number, NumberOrSchedule, ScheduledNumber, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByAdamaxState(NamedTuple):
    """State of ``scale_by_adamax``."""

    count: Number  # shape (), int32: updates so far
    mu: Tree  # shapes of the parameters, at least float32 or mu_dtype: moving average of g
    nu: Tree  # shapes of the parameters, at least float32: the largest |g|, forgotten at the rate b2


@takes_schedules()
def scale_by_adamax(
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.999,
    eps: ScheduledNumber = 0.0,
    *,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """AdaMax's direction, ``(s / (1 - b1**t)) / (u + eps)`` with ``u <- max(b2 u, |g|)``, elementwise.

    ``s <- b1 s + (1 - b1) g`` is Adam's first moment. u is the limit of ``r**(1/p)`` for p to infinity, where
    ``r <- b2**p r + (1 - b2**p) |g|**p``; the limit is that of the root, not of r. The paper has no eps, and none is
    needed: where all gradients so far were zero the direction is 0. optax and PyTorch add their eps inside the maximum.
    Subtracting the direction descends (``scale_by_learning_rate`` does so). Its leaves are at least float32.

    Args:
        b1: decay rate of the first moment, in [0, 1), dimensionless; may be traced or scheduled.
        b2: decay rate of the largest magnitude, in [0, 1), dimensionless; may be traced or scheduled.
        eps: constant added to u, >= 0, in gradient units; may be traced or scheduled.
        mu_dtype: dtype in which the state keeps the first moment, as in optax; None for at least float32; static. The
            step itself is computed in at least float32.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.optimizers import scale_by_adamax
        >>> grads = jnp.array([3.0, 0.0])
        >>> transform = scale_by_adamax()
        >>> directions, state = transform.update(grads, transform.init(grads))
        >>> directions.round(4)
        Array([1., 0.], dtype=float32)

    References:
        Kingma, D. P., & Ba, J. (2015). Adam: A method for stochastic optimization. ICLR. Algorithm 2.
    """
    moments.check_numbers(b1, b2, eps)
    moments.check_mu_dtype(mu_dtype)

    def init(params):
        return ScaleByAdamaxState(jnp.zeros((), jnp.int32), moments.zeros(params, mu_dtype), trees.zeros_wide(params))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        t = optax.safe_increment(state.count)
        mu, kept = moments.first_moment(b1, state.mu, updates)
        nu = trees.lift(lambda u, g, b: jnp.maximum(b * u, jnp.abs(g)), state.nu, updates, numbers=(b2,))

        def direction(s, u, eps):
            # the bound keeps the factor of s finite, and at most as large as Adam's, where all gradients were zero
            below = jnp.maximum(u + eps, jnp.sqrt(jnp.finfo(u.dtype).tiny))
            size = jax.lax.stop_gradient(below)  # the derivative s / below**2 would overflow for tiny gradients
            return (s / size) / (below / size)

        directions = trees.lift_wide(direction, moments.correct_bias(b1, t, mu), nu, numbers=(eps,))
        return directions, ScaleByAdamaxState(t, kept, nu)

    return transformation(init, update, ScaleByAdamaxState, trains=True)


@takes_schedules("learning_rate")
def adamax(
    learning_rate: NumberOrSchedule,
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.999,
    eps: ScheduledNumber = 0.0,
    *,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """AdaMax, ``w <- w - learning_rate * (s / (1 - b1**t)) / (u + eps)`` with ``u <- max(b2 u, |g|)``.

    ``s <- b1 s + (1 - b1) g`` is Adam's first moment. A parameter whose gradient has always been zero does not move.

    Args:
        learning_rate: step size, >= 0, in parameter units; a number (may be traced), a schedule, or a prefix tree of
            these with, for example, one entry for each layer.
        b1: decay rate of the first moment, in [0, 1), dimensionless; may be traced or scheduled.
        b2: decay rate of the largest magnitude, in [0, 1), dimensionless; may be traced or scheduled.
        eps: constant added to u, >= 0, in gradient units; may be traced or scheduled.
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
        >>> optimizer = regopt.adamax(learning_rate=0.5)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates.round(4)
        Array([-0.5,  0.5], dtype=float32)

    References:
        Kingma, D. P., & Ba, J. (2015). Adam: A method for stochastic optimization. ICLR. Algorithm 2.
    """
    return optax.chain(scale_by_adamax(b1, b2, eps, mu_dtype=mu_dtype), scale_by_learning_rate(learning_rate))
