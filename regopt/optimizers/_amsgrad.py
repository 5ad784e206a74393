"""AMSGrad: Adam with a second moment that never decreases."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from regopt._core import trees
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import NumberOrSchedule, ScheduledNumber, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByAmsgradState(NamedTuple):
    """State of ``scale_by_amsgrad``."""

    mu: Tree  # shapes of the parameters, at least float32 or mu_dtype: moving average of g
    nu: Tree  # shapes of the parameters, at least float32: moving average of g**2
    nu_max: Tree  # shapes of the parameters, at least float32: the largest ``nu`` so far


@takes_schedules()
def scale_by_amsgrad(
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.999,
    eps: ScheduledNumber = 1e-8,
    eps_root: ScheduledNumber = 0.0,
    *,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """AMSGrad's direction, ``s / (sqrt(r_max + eps_root) + eps)`` with ``r_max <- max(r_max, r)``, elementwise.

    ``s <- b1 s + (1 - b1) g`` and ``r <- b2 r + (1 - b2) g**2`` are Adam's moments. As in the paper neither moment is
    corrected for its bias; the paper has no eps either. PyTorch takes the same maximum and then corrects s and r_max.
    By default optax corrects s and r and takes the maximum of the corrected r.

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
        >>> from regopt.optimizers import scale_by_amsgrad
        >>> grads = jnp.array([3.0, -0.1])
        >>> transform = scale_by_amsgrad(b2=0.99)
        >>> directions, state = transform.update(grads, transform.init(grads))
        >>> directions.round(4)  # (1 - b1) / sqrt(1 - b2)
        Array([ 1., -1.], dtype=float32)

    References:
        Reddi, S. J., Kale, S., & Kumar, S. (2018). On the convergence of Adam and beyond. ICLR. Algorithm 2.
    """
    moments.check_numbers(b1, b2, eps, eps_root)
    moments.check_mu_dtype(mu_dtype)

    def init(params):
        return ScaleByAmsgradState(
            moments.zeros(params, mu_dtype),
            trees.zeros_wide(params),
            trees.zeros_wide(params),
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        mu, kept = moments.first_moment(b1, state.mu, updates)
        nu = moments.average_of_squares(b2, state.nu, updates)
        nu_max = trees.lift(jnp.maximum, state.nu_max, nu)
        return moments.divide_by_root(mu, nu_max, eps, eps_root), ScaleByAmsgradState(kept, nu, nu_max)

    return transformation(init, update, ScaleByAmsgradState, trains=True)


@takes_schedules("learning_rate")
def amsgrad(
    learning_rate: NumberOrSchedule,
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.999,
    eps: ScheduledNumber = 1e-8,
    eps_root: ScheduledNumber = 0.0,
    *,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """AMSGrad, ``w <- w - learning_rate * s / (sqrt(r_max + eps_root) + eps)`` with ``r_max <- max(r_max, r)``.

    s and r are Adam's moments without bias correction, as in the paper, so the first step is
    ``(1 - b1) / sqrt(1 - b2)`` times the learning rate. ``scale_by_amsgrad`` says how other libraries differ.

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
        >>> optimizer = regopt.amsgrad(learning_rate=0.5, b2=0.99)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates.round(4)
        Array([-0.5,  0.5], dtype=float32)

    References:
        Reddi, S. J., Kale, S., & Kumar, S. (2018). On the convergence of Adam and beyond. ICLR. Algorithm 2.
    """
    return optax.chain(
        scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype=mu_dtype), scale_by_learning_rate(learning_rate)
    )
