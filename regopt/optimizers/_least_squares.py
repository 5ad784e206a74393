"""Methods for sums of squares, ``|r(w)|^2 / 2``, which approximate the Hessian by J'J.

Their ``update`` takes ``residual_fn`` and computes the gradient J'r from it as well. For other convex losses of a
model's outputs see ``curvature.gauss_newton_product``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core.numerics import at_count, check_number, check_schedulable, like, safe_divide
from regopt._core.scheduled import takes_schedules
from regopt._core.types import Number, NumberOrSchedule, ScheduledNumber
from regopt.optimizers._flat import Link, on_vector
from regopt.optimizers._newton import NewtonState, solve_symmetric
from regopt.optimizers._sgd import scale_by_learning_rate


@takes_schedules("learning_rate")
def gauss_newton(
    learning_rate: NumberOrSchedule = 1.0, regularization: ScheduledNumber = 0.0
) -> optax.GradientTransformationExtraArgs:
    """The Gauss-Newton method, ``w <- w - learning_rate * (J'J + regularization I)^-1 J'r``.

    Call ``update(grads, state, params, residual_fn=...)``, where ``residual_fn(params)`` is r, of any shape. The
    function receives parameters in at least float32; ``grads`` are not used. Where J does not have full rank, to
    rounding, the step is the solution of minimal norm.

    Args:
        learning_rate: factor of the step, >= 0, dimensionless, 1 for the full step; a number (may be traced), a
            schedule, or a prefix tree of these.
        regularization: constant damping, >= 0, in units of squared residual per squared parameter; may be traced or
            scheduled.

    Returns:
        The optimizer; its state holds the smallest eigenvalue of J'J.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> def residual(w):
        ...     return jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]) @ w - jnp.array([1.0, 3.0, 5.0])
        >>> params = jnp.zeros(2)
        >>> optimizer = regopt.gauss_newton()
        >>> updates, state = optimizer.update(params, optimizer.init(params), params, residual_fn=residual)
        >>> updates.round(3)  # a linear model is fitted in one step
        Array([1., 2.], dtype=float32)

    References:
        Nocedal, J., & Wright, S. J. (2006). Numerical Optimization (2nd ed.). Springer. Equation 10.23.
    """
    check_number("regularization", regularization, "[0, inf)")

    def update(gradient, state, x, *, residual_fn, **extra_args):
        del gradient, state, extra_args
        residual, jacobian = residual_fn(x), jax.jacobian(residual_fn)(x)
        square, slope = jacobian.T @ jacobian, jacobian.T @ residual
        step, smallest = solve_symmetric(square, slope, like(regularization, x), False)
        return step, NewtonState(smallest)

    link = Link(lambda x: NewtonState(jnp.zeros((), x.dtype)), update, NewtonState)
    return optax.chain(on_vector(link, function="residual_fn", wide=True), scale_by_learning_rate(learning_rate))


class LevenbergMarquardtState(NamedTuple):
    """State of ``levenberg_marquardt``; its numbers have shape () and are at least float32."""

    count: Number  # shape (), int32: updates so far
    damping: jax.Array  # mu of the next step; 0 where the argument ``damping`` gives it, as before the first step
    growth: jax.Array  # nu, the factor of mu at the next rejection
    gain_ratio: jax.Array  # decrease of F over that of its model in the last step; 0 if neither decreased


def levenberg_marquardt(damping: ScheduledNumber = 1e-3) -> optax.GradientTransformationExtraArgs:
    """The Levenberg-Marquardt method, ``h = -(J'J + mu I)^-1 J'r``, with Nielsen's rule for mu.

    Let ``F = |r|^2 / 2`` and let the gain ratio be ``rho = (F(w) - F(w + h)) / (h'(mu h - J'r) / 2)``. Where rho > 0
    the step is taken, ``mu <- mu max(1/3, 1 - (2 rho - 1)^3)`` and ``nu <- 2``. Elsewhere the update is 0,
    ``mu <- nu mu`` and ``nu <- 2 nu``. So F never increases. At the start ``mu = damping * max(diag(J'J))``.

    A schedule takes the place of the rule for mu after a step that is taken: then ``mu = damping_t * max(diag(J'J))``
    with the damping at the number of calls. After a step that is not taken mu grows by the rule.

    Call ``update(grads, state, params, residual_fn=...)`` as for ``gauss_newton``; each call is one trial step.

    Args:
        damping: initial damping relative to the largest diagonal entry of J'J, > 0, dimensionless, from 1e-6 near a
            solution to 1 far from it; may be traced. A schedule gives the damping of every step.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete damping is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> def residual(w):
        ...     return jnp.array([10.0 * (w[1] - w[0] ** 2), 1.0 - w[0]])  # Rosenbrock's function
        >>> params = jnp.array([-1.2, 1.0])
        >>> optimizer = regopt.levenberg_marquardt()
        >>> state = optimizer.init(params)
        >>> for _ in range(30):
        ...     updates, state = optimizer.update(params, state, params, residual_fn=residual)
        ...     params = params + updates
        >>> params.round(3)
        Array([1., 1.], dtype=float32)

    References:
        Madsen, K., Nielsen, H. B., & Tingleff, O. (2004). Methods for non-linear least squares problems (2nd ed.).
        Technical University of Denmark. Algorithm 3.16 with equations 2.18, 2.21, 3.13 and 3.14.

        Nielsen, H. B. (1999). Damping parameter in Marquardt's method. Technical University of Denmark.
    """
    check_schedulable("damping", damping, "(0, inf)")
    scheduled = callable(damping)

    def init(x):
        zero = jnp.zeros((), x.dtype)
        return LevenbergMarquardtState(jnp.zeros((), jnp.int32), zero, zero + 2, zero)

    def update(gradient, state, x, *, residual_fn, **extra_args):
        del gradient, extra_args
        residual, jacobian = residual_fn(x), jax.jacobian(residual_fn)(x)
        square, slope = jacobian.T @ jacobian, jacobian.T @ residual
        largest = jnp.max(jnp.diagonal(square))
        mu = jnp.where(state.damping == 0, like(at_count(damping, state.count), x) * largest, state.damping)
        # outside of these bounds mu has no effect to rounding; without them it may reach 0, where it stays, or infinity
        eps = jnp.finfo(x.dtype).eps
        mu = jnp.clip(mu, eps * largest, largest / eps)
        step = -solve_symmetric(square, slope, mu, False)[0]
        ratio = _gain_ratio(residual, residual_fn(x + step), step, slope, mu)
        accepted, gain = ratio > 0, jnp.clip(2 * ratio - 1, -1, 1)
        factor = 0 if scheduled else jnp.maximum(1 / 3, 1 - gain**3)
        after = mu * jnp.where(accepted, factor, state.growth)
        growth = jnp.where(accepted, 2, jnp.minimum(2 * state.growth, 1 / eps))
        state = LevenbergMarquardtState(optax.safe_increment(state.count), after, growth, ratio)
        return jnp.where(accepted, step, 0), state

    return on_vector(Link(init, update, LevenbergMarquardtState), function="residual_fn")


def _gain_ratio(residual: jax.Array, trial: jax.Array, step: jax.Array, slope: jax.Array, mu: jax.Array) -> jax.Array:
    """The decrease of F over that of its model, equation 2.18; negative where the trial is not finite."""
    decrease = (residual - trial) @ (residual + trial) / 2  # F(w) - F(w + h) would lose digits to cancellation
    predicted = step @ (mu * step - slope) / 2
    return jnp.where(jnp.isfinite(decrease), safe_divide(decrease, predicted), -1)
