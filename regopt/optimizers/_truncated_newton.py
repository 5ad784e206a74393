"""Newton's method without the matrix: the linear system solved by conjugate gradients, and not to the end."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core.numerics import as_float, check_range, like, safe_divide, safe_norm, safe_sqrt
from regopt._core.types import Number
from regopt.curvature import hessian_product
from regopt.optimizers._flat import Link, descending, on_vector
from regopt.optimizers._linesearch import LineSearch, line_search


class NewtonCGState(NamedTuple):
    """State of ``newton_cg``, in front of that of the line search."""

    products: jax.Array  # shape (), int32: Hessian-vector products in the last update
    negative_curvature: jax.Array  # shape (), bool: the last update met a direction of negative curvature


def newton_cg(
    max_iterations: Number = 100, forcing: Number = 0.5, *, linesearch: LineSearch = "zoom"
) -> optax.GradientTransformationExtraArgs:
    """Truncated Newton: ``H d = -g`` to ``|H d + g| <= min(forcing, sqrt|g|) |g|`` by conjugate gradients.

    The inner iteration also ends at a direction of curvature that is not positive to rounding, with what it has by
    then (``-g`` at the first), so that d always descends; the outer convergence is superlinear.

    Call ``update(grads, state, params, value_fn=...)``, as for ``newton``.

    Args:
        max_iterations: most Hessian-vector products in an update, >= 1; may be traced.
        forcing: largest residual of the system that is left, relative to the gradient, in [0, 1); may be traced.
        linesearch: "zoom" (strong Wolfe with ``c2 = 0.9``), "backtracking", "exact_quadratic", or an optax line
            search; static.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete number lies outside its range, or ``linesearch`` is unknown.

    References: Nocedal & Wright (2006), Algorithm 7.1; Dembo & Steihaug (1983).
    """
    check_range("max_iterations", max_iterations, "[1, inf)")
    check_range("forcing", forcing, "[0, 1)")

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

    return on_vector(Link(init, update), line_search(linesearch))


class _Inner(NamedTuple):
    """What the inner iteration carries."""

    count: jax.Array
    solution: jax.Array  # z; 0 where the first direction has negative curvature, and the step goes along -g
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
