"""Newton's method without the matrix: conjugate gradients solve the linear system approximately."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core.checks import check_count
from regopt._core.numerics import as_float, check_number, like, safe_divide, safe_norm, safe_sqrt
from regopt._core.scheduled import takes_schedules
from regopt._core.types import ScheduledNumber
from regopt.curvature import hessian_product
from regopt.optimizers._flat import Link, descending, on_vector
from regopt.optimizers._linesearch import LineSearch, line_search


class NewtonCGState(NamedTuple):
    """State of ``newton_cg``; the state of the line search follows it."""

    products: jax.Array  # shape (), int32: Hessian-vector products in the last update
    negative_curvature: jax.Array  # shape (), bool: the last update met a direction of negative curvature


@takes_schedules()
def newton_cg(
    max_iterations: ScheduledNumber = 100, forcing: ScheduledNumber = 0.5, *, linesearch: LineSearch = "zoom"
) -> optax.GradientTransformationExtraArgs:
    """Truncated Newton: ``H d = -g`` solved to ``|H d + g| <= min(forcing, sqrt|g|) |g|`` by conjugate gradients.

    The inner iteration also ends at a direction whose curvature is not positive to rounding. It then returns the
    solution so far, or ``-g`` if that direction is the first, so d always descends. The outer convergence is
    superlinear.

    Call ``update(grads, state, params, value_fn=...)``, as for ``newton``.

    Args:
        max_iterations: largest number of Hessian-vector products in an update, >= 1; may be traced or scheduled.
        forcing: largest residual of the linear system relative to the gradient, in [0, 1), dimensionless; may be
            traced or scheduled.
        linesearch: ``"zoom"`` (strong Wolfe conditions with ``c2 = 0.9``), ``"backtracking"``,
            ``"exact_quadratic"``, or a line search of optax; static.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete number lies outside its range, or ``linesearch`` is unknown.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> def loss(w):
        ...     return jnp.sum(jnp.array([1.0, 10.0]) * (w - 1.0) ** 2) / 2
        >>> params = jnp.zeros(2)
        >>> optimizer = regopt.newton_cg(forcing=0.0)
        >>> updates, state = optimizer.update(jax.grad(loss)(params), optimizer.init(params), params, value_fn=loss)
        >>> updates.round(4)
        Array([1., 1.], dtype=float32)

    References:
        Nocedal, J., & Wright, S. J. (2006). Numerical Optimization (2nd ed.). Springer. Algorithm 7.1.

        Dembo, R. S., & Steihaug, T. (1983). Truncated-Newton algorithms for large-scale unconstrained optimization.
        Mathematical Programming, 26, 190-212.
    """
    check_count("max_iterations", max_iterations, "[1, inf)")
    check_number("forcing", forcing, "[0, 1)")

    def init(x):
        del x
        return NewtonCGState(jnp.zeros((), jnp.int32), jnp.zeros((), bool))

    def update(gradient, state, x, *, value_fn, **extra_args):
        del state, extra_args
        size = safe_norm(gradient)
        tolerance = jnp.minimum(like(forcing, x), safe_sqrt(size)) * size
        solved = _solve(hessian_product(value_fn, x), gradient, tolerance, as_float(max_iterations))
        direction = descending(solved.solution, gradient)
        return direction, NewtonCGState(solved.count, solved.negative)

    return on_vector(Link(init, update, NewtonCGState), line_search(linesearch))


class _Inner(NamedTuple):
    """State of the inner iteration."""

    count: jax.Array
    solution: jax.Array  # z; 0 if the first direction has negative curvature, after which the step goes along -g
    residual: jax.Array  # H z + g
    direction: jax.Array
    negative: jax.Array


def _solve(
    product: Callable[[jax.Array], jax.Array], gradient: jax.Array, tolerance: jax.Array, max_iterations: jax.Array
) -> _Inner:
    def going(at):
        below = at.count.astype(max_iterations.dtype) < max_iterations
        return below & (safe_norm(at.residual) > tolerance) & ~at.negative

    def iterate(at):
        bent = product(at.direction)
        curvature = at.direction @ bent
        negative = curvature <= jnp.finfo(gradient.dtype).eps * safe_norm(at.direction) * safe_norm(bent)
        step = safe_divide(at.residual @ at.residual, jnp.where(negative, 0, curvature))
        residual = at.residual + step * bent
        beta = safe_divide(residual @ residual, at.residual @ at.residual)
        solution = at.solution + step * at.direction
        return _Inner(at.count + 1, solution, residual, beta * at.direction - residual, negative)

    start = _Inner(jnp.zeros((), jnp.int32), jnp.zeros_like(gradient), gradient, -gradient, jnp.zeros((), bool))
    return jax.lax.while_loop(going, iterate, start)
