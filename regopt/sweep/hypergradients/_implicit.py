"""The gradient of a validation metric at a minimum of the training objective, by the implicit function theorem.

It does not need the run that led to the minimum, only memory for a few copies of the parameters. It is not for runs
that stop early and so do not end at a minimum; ``_through_run.py`` is for those.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from regopt._core import trees
from regopt._core.checks import check_choice
from regopt._core.metrics import mode_of
from regopt._core.numerics import check_range, direction_and_norm, safe_divide
from regopt._core.training_data import check_steps
from regopt._core.types import Number, Tree
from regopt.curvature import hessian_product
from regopt.sweep.hypergradients._through_run import as_numbers, sign_of


class ImplicitHypergradient(NamedTuple):
    """A metric at a minimum, its gradient, and two numbers that tell how accurate the gradient is."""

    value: jax.Array  # shape (), float
    gradient: Tree  # structure, shapes and float dtypes of h
    residual: jax.Array  # shape (), float: |H v - g| / |g| of the linear system, without damping; 0 is solved
    stationarity: jax.Array  # shape (), float: norm of the objective's gradient at params; 0 at a minimum
    adjoint: Tree  # v, like the parameters
    sign: jax.Array | float = 1.0  # shape (), float: 1 where a smaller metric is better, -1 where a larger one is


def implicit_hypergradient(
    objective: Callable[[Tree, Tree], jax.Array],
    validation: Callable[[Tree, Tree], jax.Array],
    params: Tree,
    h: Tree,
    *,
    solver: Literal["cg", "neumann"] = "cg",
    iterations: int = 100,
    tolerance: Number = 1e-6,
    step: Number | None = None,
    damping: Number = 0.0,
) -> ImplicitHypergradient:
    """``d validation(w(h), h) / dh`` where ``w(h)`` minimises ``objective(., h)``, at ``params = w(h)``.

    ``d V / dh = V_h - F_hw v`` with ``F_ww v = V_w``: the direct term, and the one through the minimum. ``F_ww`` is
    used in products alone. The formula takes ``params`` for the minimum and ``v`` for the solution, so check that
    ``residual`` and ``stationarity`` are small.

    A pure function, which may be jitted and mapped over ``params`` and ``h``.

    Args:
        objective: ``F(params, h) -> scalar``, what training minimises, penalty included; twice differentiable.
        validation: ``V(params, h) -> scalar``; a smaller value is better, unless ``losses.metric`` declares otherwise.
        params: a minimum of the objective.
        h: the numbers to differentiate for, any tree of real numbers and arrays.
        solver: "cg", conjugate gradients, for a positive definite Hessian; or "neumann", the sum
            ``step * sum_j (I - step * F_ww)**j V_w`` over j < iterations. A short sum is a regularised solution.
        iterations: the largest number of products with the Hessian, >= 1; static.
        tolerance: conjugate gradients end when the residual is below it, relative to ``|V_w|``; >= 0, may be traced.
        step: step of the Neumann series, in (0, 2 / largest eigenvalue of the Hessian); may be traced.
        damping: added to the diagonal of the Hessian, >= 0; may be traced. It biases the result; ``residual`` shows it.

    Returns:
        The metric, its gradient, and how well the system was solved.

    Raises:
        ValueError: an argument is out of range, ``h`` is empty or holds something that is no real number, or the
            Neumann series has no ``step``.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import sweep
        >>> def objective(w, h):  # its minimum is w = 3 / (1 + h)
        ...     return (w - 3) ** 2 / 2 + h * w**2 / 2
        >>> found = sweep.implicit_hypergradient(objective, lambda w, h: w**2, jnp.array(1.5), 1.0)
        >>> found.gradient  # of (3 / (1 + h))**2
        Array(-2.25, dtype=float32)

    References:
        Larsen, J., Hansen, L. K., Svarer, C., & Ohlsson, M. (1996). Design and regularization of neural networks: The
        optimal use of a validation set. IEEE Workshop on Neural Networks for Signal Processing, 62-71.

        Pedregosa, F. (2016). Hyperparameter optimization with approximate gradient. ICML. Algorithm 1, for conjugate
        gradients.

        Lorraine, J., Vicol, P., & Duvenaud, D. (2020). Optimizing millions of hyperparameters by implicit
        differentiation. AISTATS. Algorithms 2 and 3, for the Neumann series.
    """
    check_choice("solver", solver, ("cg", "neumann"))
    if solver == "neumann" and step is None:
        raise ValueError('solver="neumann" needs step, a number below 2 / (largest eigenvalue of the Hessian)')
    check_steps(1, 1, iterations=iterations)
    check_range("tolerance", tolerance, "[0, inf)")
    check_range("damping", damping, "[0, inf)")
    check_range("step", 1.0 if step is None else step, "(0, inf)")
    params, h = jax.tree.map(jnp.asarray, params), as_numbers(h)
    value, (by_params, direct) = jax.value_and_grad(validation, argnums=(0, 1))(params, h)
    product = hessian_product(lambda params: objective(params, h), params)

    def damped(v):
        return trees.lift(lambda hv, v, damping: hv + damping * v, product(v), v, numbers=(damping,))

    if solver == "cg":
        adjoint = cg(damped, by_params, tol=cast(float, tolerance), maxiter=iterations)[0]
    else:
        adjoint = _neumann(damped, by_params, iterations, step)
    slope, pull_back = jax.vjp(lambda h: jax.grad(objective)(params, h), h)
    gradient = jax.tree.map(jnp.subtract, direct, pull_back(adjoint)[0])
    left = jax.tree.map(jnp.subtract, product(adjoint), by_params)
    residual, sign = safe_divide(_norm(left), _norm(by_params)), sign_of(mode_of(validation), value)
    return ImplicitHypergradient(value, gradient, residual, _norm(slope), adjoint, sign)


def _neumann(product: Callable[[Tree], Tree], vector: Tree, terms: int, step: Number | None) -> Tree:
    """The first terms of the series, by the recursion ``v <- v + step * (vector - A v)`` from 0."""
    assert step is not None

    def add(_, v):
        return trees.lift(lambda v, g, av, step: v + step * (g - av), v, vector, product(v), numbers=(step,))

    return jax.lax.fori_loop(0, terms, add, jax.tree.map(jnp.zeros_like, vector))


def _norm(vector: Tree) -> jax.Array:
    return direction_and_norm(jax.tree.leaves(vector))[1]
