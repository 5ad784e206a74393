"""Lion: the sign of an interpolated momentum, so that all coordinates take steps of one size."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from regopt._core.numerics import check_number
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Mask, NumberOrSchedule, ScheduledNumber, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._decay import add_decay
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByLionState(NamedTuple):
    """State of ``scale_by_lion``."""

    mu: Tree  # shapes of the parameters, at least float32 or mu_dtype: moving average of g


@takes_schedules()
def scale_by_lion(
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.99,
    *,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Lion's direction, ``sign(b1 m + (1 - b1) g)``, followed by ``m <- b2 m + (1 - b2) g``, elementwise.

    Its entries are 1 or -1, or 0 where the interpolation is exactly zero. Its derivative with respect to b1, b2 and the
    gradient is 0. Subtracting the direction descends (``scale_by_learning_rate`` does so). Its leaves are at least
    float32.

    Args:
        b1: weight of the momentum in the direction, in [0, 1), dimensionless; may be traced or scheduled.
        b2: decay rate of the momentum, in [0, 1), dimensionless; may be traced or scheduled.
        mu_dtype: dtype in which the state keeps the first moment, as in optax; None for at least float32; static. The
            step itself is computed in at least float32.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.optimizers import scale_by_lion
        >>> grads = jnp.array([3.0, -0.1, 0.0])
        >>> transform = scale_by_lion()
        >>> directions, state = transform.update(grads, transform.init(grads))
        >>> directions
        Array([ 1., -1.,  0.], dtype=float32)

    References:
        Chen, X., et al. (2023). Symbolic discovery of optimization algorithms. NeurIPS. Algorithm 2.
    """
    check_number("b1", b1, "[0, 1)")
    check_number("b2", b2, "[0, 1)")
    moments.check_mu_dtype(mu_dtype)

    def init(params):
        return ScaleByLionState(moments.zeros(params, mu_dtype))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        mixture, _ = moments.first_moment(b1, state.mu, updates)
        return jax.tree.map(jnp.sign, mixture), ScaleByLionState(moments.first_moment(b2, state.mu, updates)[1])

    return transformation(init, update, ScaleByLionState, trains=True)


@takes_schedules("learning_rate")
def lion(
    learning_rate: NumberOrSchedule,
    b1: ScheduledNumber = 0.9,
    b2: ScheduledNumber = 0.99,
    *,
    mu_dtype: DTypeLike | None = None,
    weight_decay: NumberOrSchedule = 1e-3,
    mask: Mask = "weights",
) -> optax.GradientTransformationExtraArgs:
    """Lion, ``w <- w - learning_rate * (sign(b1 m + (1 - b1) g) + weight_decay * w)``.

    The momentum is updated after the step, ``m <- b2 m + (1 - b2) g``. Each coordinate moves by the learning rate in
    every step, so Lion needs a smaller learning rate than Adam, and a weight decay that is larger by the same factor.

    Args:
        learning_rate: step size, >= 0, in parameter units; a number (may be traced), a schedule, or a prefix tree of
            these with, for example, one entry for each layer.
        b1: weight of the momentum in the direction, in [0, 1), dimensionless; may be traced or scheduled.
        b2: decay rate of the momentum, in [0, 1), dimensionless; may be traced or scheduled.
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
        >>> params = jnp.array([1.0, -2.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.lion(learning_rate=0.5, weight_decay=0.0)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates
        Array([-0.5,  0.5], dtype=float32)

    References:
        Chen, X., et al. (2023). Symbolic discovery of optimization algorithms. NeurIPS. Algorithm 2.
    """
    return optax.chain(
        scale_by_lion(b1, b2, mu_dtype=mu_dtype),
        add_decay(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
