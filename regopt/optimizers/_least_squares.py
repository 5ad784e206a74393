"""Methods for sums of squares, ``|r(w)|^2 / 2``: the Hessian without the residuals' own curvature is J'J.

Their update takes ``residual_fn``, from which they have the gradient J'r too. For another convex loss on a model's
outputs see ``curvature.gauss_newton_product``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core.numerics import check_range, like, safe_divide
from regopt._core.types import Number, NumberOrSchedule
from regopt.optimizers._flat import Link, on_vector
from regopt.optimizers._newton import NewtonState, solve_symmetric
from regopt.optimizers._sgd import scale_by_learning_rate


def gauss_newton(
    learning_rate: NumberOrSchedule = 1.0, regularization: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """The Gauss-Newton method, ``w <- w - learning_rate * (J'J + regularization I)^-1 J'r``.

    Call ``update(grads, state, params, residual_fn=...)``, where ``residual_fn(params)`` is r, of any shape; it sees
    parameters in at least float32, and ``grads`` are not used. Where J has not full rank to rounding the step is the
    shortest one.

    Args:
        learning_rate: step size, >= 0, dimensionless, 1 for the full step; may be traced, a schedule, or a prefix
            tree of these.
        regularization: a constant damping, >= 0, in units of squared residual per squared parameter; may be traced.

    Returns:
        The optimizer; its state holds the smallest eigenvalue of J'J.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Nocedal & Wright (2006), equation 10.23.
    """
    check_range("regularization", regularization, "[0, inf)")

    def update(gradient, state, x, *, residual_fn, **extra_args):
        del gradient, state, extra_args
        residual, jacobian = residual_fn(x), jax.jacobian(residual_fn)(x)
        square, slope = jacobian.T @ jacobian, jacobian.T @ residual
        step, smallest = solve_symmetric(square, slope, like(regularization, x), False)
        return step, NewtonState(smallest)

    link = Link(lambda x: NewtonState(jnp.zeros((), x.dtype)), update)
    return optax.chain(on_vector(link, function="residual_fn", wide=True), scale_by_learning_rate(learning_rate))


class LevenbergMarquardtState(NamedTuple):
    """State of ``levenberg_marquardt``; numbers of shape (), at least float32."""

    count: Number  # shape (), int32: updates so far
    damping: jax.Array  # mu of the next step, absolute; 0 before the first
    growth: jax.Array  # nu, the factor of mu at the next rejection
    gain_ratio: jax.Array  # decrease over the model's decrease, of the last step; 0 where nothing was left to gain


def levenberg_marquardt(damping: Number = 1e-3) -> optax.GradientTransformationExtraArgs:
    """The Levenberg-Marquardt method, ``h = -(J'J + mu I)^-1 J'r``, with Nielsen's rule for mu.

    With ``F = |r|^2 / 2`` and the gain ratio ``rho = (F(w) - F(w + h)) / (h'(mu h - J'r) / 2)``: where rho > 0 the
    step is taken and ``mu <- mu max(1/3, 1 - (2 rho - 1)^3), nu <- 2``; else the update is 0 and ``mu <- nu mu,
    nu <- 2 nu``. So F never increases. At the start ``mu = damping * max(diag(J'J))``.

    Call ``update(grads, state, params, residual_fn=...)`` as for ``gauss_newton``; a call is one trial step.

    Args:
        damping: at the start, relative to the largest diagonal entry of J'J, > 0, dimensionless: 1e-6 near a
            solution, up to 1 far from it; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete damping is not positive.

    References: Madsen, Nielsen & Tingleff (2004), Algorithm 3.16 with equations 2.18, 2.21, 3.13 and 3.14; Nielsen
    (1999), Damping parameter in Marquardt's method.
    """
    check_range("damping", damping, "(0, inf)")

    def init(x):
        zero = jnp.zeros((), x.dtype)
        return LevenbergMarquardtState(jnp.zeros((), jnp.int32), zero, zero + 2, zero)

    def update(gradient, state, x, *, residual_fn, **extra_args):
        del gradient, extra_args
        residual, jacobian = residual_fn(x), jax.jacobian(residual_fn)(x)
        square, slope = jacobian.T @ jacobian, jacobian.T @ residual
        largest = jnp.max(jnp.diagonal(square))
        mu = jnp.where(state.count == 0, like(damping, x) * largest, state.damping)
        # within what rounding can tell: else mu may end at 0, from where it cannot grow, or at infinity
        eps = jnp.finfo(x.dtype).eps
        mu = jnp.clip(mu, eps * largest, largest / eps)
        step = -solve_symmetric(square, slope, mu, False)[0]
        ratio = _gain_ratio(residual, residual_fn(x + step), step, slope, mu)
        accepted, gain = ratio > 0, jnp.clip(2 * ratio - 1, -1, 1)
        after = mu * jnp.where(accepted, jnp.maximum(1 / 3, 1 - gain**3), state.growth)
        growth = jnp.where(accepted, 2, jnp.minimum(2 * state.growth, 1 / eps))
        state = LevenbergMarquardtState(optax.safe_increment(state.count), after, growth, ratio)
        return jnp.where(accepted, step, 0), state

    return on_vector(Link(init, update), function="residual_fn")


def _gain_ratio(residual: jax.Array, trial: jax.Array, step: jax.Array, slope: jax.Array, mu: jax.Array) -> jax.Array:
    """What F lost over what its model lost, equation 2.18; not above 0 where the trial is not finite."""
    decrease = (residual - trial) @ (residual + trial) / 2  # not F - F, which loses the digits near a solution
    predicted = step @ (mu * step - slope) / 2
    return jnp.where(jnp.isfinite(decrease), safe_divide(decrease, predicted), -1)
