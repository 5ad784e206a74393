"""``minimize`` solves one regularised problem to a certificate; it chooses the solver and carries the derivatives."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.checks import check_choice, check_penalty
from regopt._core.numerics import as_float, check_number, check_whole
from regopt._core.types import NO_PROX, Number, Penalty, Tree
from regopt.penalties import l2
from regopt.solvers._accelerated import accelerated
from regopt.solvers._coordinate_descent import coordinate_descent
from regopt.solvers._families import squared_error
from regopt.solvers._gram import GramLoss
from regopt.solvers._implicit import implicit_root, with_slope_of
from regopt.solvers._linear_model import LinearModel
from regopt.solvers._proximal_gradient import Gap, proximal_gradient
from regopt.solvers._proximal_newton import proximal_newton
from regopt.solvers._quasi_newton import proximal_lbfgs
from regopt.solvers._solution import Solution, duality_gap, step_between

SOLVERS = ("auto", "coordinate_descent", "lbfgs", "proximal_gradient", "proximal_newton")
NEWTON_UP_TO = 64  # coefficients: up to here "auto" takes the proximal Newton method where there is a choice


@runtime_checkable
class CertifiedLoss(Protocol):
    """A convex loss that knows the duality gap of itself plus a penalty, as ``LinearModel`` does."""

    def __call__(self, params: Tree, *data: Tree) -> jax.Array:
        """The loss."""
        ...

    def duality_gap(self, penalty: Penalty, params: Tree, *data: Tree) -> jax.Array:
        """An upper bound on the objective at the parameters minus its minimum, shape ()."""
        ...


def minimize(
    loss: Callable[..., jax.Array],
    penalty: Penalty | None,
    start: Tree,
    *data: Tree,
    solver: str = "auto",
    lower_bound: Number | None = None,
    tolerance: Number = 1e-6,
    max_steps: int = 10_000,
) -> Solution:
    """Minimise ``loss(w, *data) + penalty(w)`` over w, and say how far from the minimum the result can be.

    The method is the proximal gradient method with acceleration, backtracking and restart (FISTA), or the proximal
    Newton method where the model has few coefficients: no learning rate is needed. It is one pure function: it can be
    jitted, vmapped over strengths, weights, data and starts, and differentiated in forward and reverse mode by the
    implicit function theorem, with respect to the data and to whatever ``loss`` and ``penalty`` close over. The result
    is computed in at least float32; a tolerance below about 1e-6 needs float64.

    For a loss that is **convex** and never below ``lower_bound``, the ``gap`` is a proven upper bound on the objective
    minus its minimum, if the penalty has a ``linear_minimum`` (norms, the elastic net, boxes) and penalises every leaf.
    A ``LinearModel``, or another loss with a method ``duality_gap(penalty, params, *data)``, brings a gap of its own,
    in which the intercept needs no penalty. The result has ``converged`` if
    ``gap <= tolerance * max(1, |objective|)``. Without a gap, for a nonconvex loss for example, ``gap`` is infinite and
    ``converged`` means ``residual <= tolerance``, where the residual is the norm of a subgradient of the objective: the
    result is a stationary point.

    Args:
        loss: a function of the parameters and ``data`` to a scalar, differentiable; convex if ``lower_bound`` is given.
        penalty: the penalty, with a prox; ``penalties.box`` and its like stand for constraints; None for none.
        start: the parameters from which the solver starts, a tree of floating-point arrays.
        *data: further arguments of the loss; may be traced.
        solver: "proximal_gradient"; "lbfgs", quasi-Newton steps for any loss and any penalty with a prox, among them
            the l1 norm and boxes; "proximal_newton" for a ``LinearModel`` of the families logistic, poisson and
            gamma; "coordinate_descent" for one of the family gaussian, with a penalty that is a sum over coefficients
            or over groups; or "auto", which takes Newton's method up to 64 coefficients; static.
        lower_bound: a number that the loss is never below, 0 for most; it declares that the loss is convex. None where
            the loss is not convex or no bound is known.
        tolerance: the certificate at which the solver ends, >= 0; may be traced.
        max_steps: the largest number of steps, >= 1; static. A solver that checks its certificate only after several
            steps may take up to 10 more.

    Returns:
        The solution with its certificate. ``converged`` is False where the steps did not suffice; nothing is raised.

    Raises:
        ValueError: the penalty has no prox; ``lower_bound`` is given, and the penalty has no ``linear_minimum`` or
            leaves parameters out, or the loss has a gap of its own; the solver does not fit the loss or the penalty; a
            number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l1
        >>> from regopt.solvers import minimize
        >>> def loss(w, x, y):
        ...     return jnp.sum((x @ w - y) ** 2) / 2
        >>> solution = minimize(loss, l1(0.5), jnp.zeros(2), jnp.eye(2), jnp.array([2.0, 0.25]), lower_bound=0)
        >>> solution.params.round(4), bool(solution.converged)
        (Array([1.5, 0. ], dtype=float32), True)

    References:
        Beck, A., & Teboulle, M. (2009). A fast iterative shrinkage-thresholding algorithm for linear inverse problems.
        SIAM Journal on Imaging Sciences, 2(1), 183-202. The algorithm with backtracking, equations (4.1) to (4.3).

        Blondel, M., Berthet, Q., Cuturi, M., Frostig, R., Hoyer, S., Llinares-Lopez, F., Pedregosa, F., & Vert, J.-P.
        (2022). Efficient and modular implicit differentiation. NeurIPS. Section 2.2.
    """
    check_number("tolerance", tolerance, "[0, inf)")
    check_whole("max_steps", max_steps, "[1, inf)")
    penalty = _with_prox(penalty)
    if isinstance(loss, LinearModel):
        loss.check_params(start)
        data = loss.in_dtype_of(start, *data)
    gap_at = _gap(loss, penalty, start, data, lower_bound)
    method = _method(solver, loss, penalty, start, gap_at)

    def smooth(params):
        return as_float(loss(params, *data))

    def equation(params):
        moved = trees.lift(jnp.subtract, params, jax.grad(smooth)(params))
        residual = step_between(params, penalty.prox(moved, 1.0))
        if isinstance(loss, GramLoss) and "intercept" in params:  # it has no slope, so any one is a root
            own = params["intercept"]
            residual = {**residual, "intercept": own - jax.lax.stop_gradient(own)}
        return residual

    solver_from = _solver(method, loss, penalty, data, smooth, gap_at, tolerance, max_steps)

    def solve(start):
        solution = solver_from(start)
        return solution.params, solution

    params, solution = implicit_root(equation, solve, trees.copy_wide(start))

    def objective():
        return smooth(params) + as_float(penalty.value(params))

    if method == "coordinate_descent":  # whose objective has the rounding of its Gram matrix
        return solution._replace(params=params, objective=objective())
    return solution._replace(params=params, objective=with_slope_of(objective, as_float(solution.objective)))


def _with_prox(penalty: Penalty | None) -> Penalty:
    """The penalty, which must have a prox; one that is always 0 in place of None."""
    if penalty is None:
        return l2(0.0, mask=None)
    check_penalty("penalty", penalty)
    if not penalty.has_prox:
        raise ValueError(NO_PROX)
    return penalty


def _method(solver: str, loss: Callable[..., jax.Array], penalty: Penalty, start: Tree, gap_at: Gap | None) -> str:
    """The solver to use, where "auto" is resolved; one that does not fit this loss is refused."""
    check_choice("solver", solver, SOLVERS)
    newton = isinstance(loss, LinearModel) and loss.family.second_order and gap_at is not None
    if newton and isinstance(loss, LinearModel) and loss.intercept:  # its quadratic models are at the best intercept
        newton = not penalty.mask(start)["intercept"]
    if solver == "proximal_newton" and not newton:
        raise ValueError(
            'solver "proximal_newton" is for a LinearModel of the families logistic, poisson and gamma, with a penalty '
            'that has a linear_minimum and leaves the intercept out: take solver="proximal_gradient"'
        )
    least_squares = isinstance(loss, GramLoss) or (isinstance(loss, LinearModel) and loss.family.loss is squared_error)
    if solver == "coordinate_descent" and not least_squares:
        raise ValueError(
            'solver "coordinate_descent" is for a LinearModel of the family gaussian: take solver="proximal_gradient"'
        )
    if solver != "auto":
        return solver
    few = sum(leaf.size for leaf in jax.tree.leaves(start)) <= NEWTON_UP_TO
    return "proximal_newton" if newton and few else "proximal_gradient"


def _solver(
    method: str,
    loss: Callable[..., jax.Array],
    penalty: Penalty,
    data: tuple[Tree, ...],
    smooth: Callable[[Tree], jax.Array],
    gap_at: Gap | None,
    tolerance: Number,
    max_steps: int,
) -> Callable[[Tree], Solution]:
    """The solver of a method, from the start to the solution; ``smooth`` is the loss of the parameters alone."""

    def target(objective):
        return as_float(tolerance) * jnp.maximum(jnp.abs(objective), 1)

    def coordinates(start):
        assert isinstance(loss, GramLoss | LinearModel)
        gram = loss if isinstance(loss, GramLoss) else loss.shared(*data)
        solution = coordinate_descent(
            gram, penalty, start, target=target, tolerance=as_float(tolerance), max_steps=max_steps
        )
        return solution._replace(params=gram.with_intercept(solution.params))

    def gradients(start):
        if isinstance(loss, LinearModel) and gap_at is not None:
            free = loss.intercept and not penalty.mask(start)["intercept"]
            profiled = free and loss.family.loss is squared_error
            problem = loss.problem(*data, profiled=profiled)
            solution = accelerated(problem, penalty, start, target=target, max_steps=max_steps)
            return solution._replace(params=loss.with_intercept(solution.params, *data)) if profiled else solution
        if isinstance(loss, GramLoss) and gap_at is not None:
            return loss.minimum(penalty, start, target=target, max_steps=max_steps)
        return proximal_gradient(smooth, penalty, start, gap_at=gap_at, tolerance=tolerance, max_steps=max_steps)

    def solve(start):
        if method == "coordinate_descent":
            return coordinates(start)
        if method == "proximal_newton":
            assert isinstance(loss, LinearModel)
            return proximal_newton(loss.weighted(*data), penalty, start, target=target, max_steps=max_steps)
        if method == "lbfgs":
            return proximal_lbfgs(smooth, penalty, start, gap_at=gap_at, tolerance=tolerance, max_steps=max_steps)
        return gradients(start)

    return solve


def _gap(
    loss: Callable[..., jax.Array], penalty: Penalty, start: Tree, data: tuple[Tree, ...], lower_bound: Number | None
) -> Gap | None:
    """The duality gap that is known for this loss and penalty; None where there is none."""
    if isinstance(loss, GramLoss) and penalty.has_linear_minimum:  # >= 0, and its intercept has no gradient
        return lambda params, value, grad: duality_gap(params, value, grad, penalty, 0.0)
    if isinstance(loss, CertifiedLoss):
        if lower_bound is not None:
            raise ValueError("this loss has a duality gap of its own: leave lower_bound out")
        if not penalty.has_linear_minimum:
            return None
        return lambda params, *_: loss.duality_gap(penalty, params, *data)
    if lower_bound is None:
        return None
    if not penalty.has_linear_minimum:
        raise ValueError(
            "no duality gap is known for this penalty, so lower_bound is not used: leave it out, and the solver stops "
            "by its residual, or take a penalty with has_linear_minimum"
        )
    if not all(jax.tree.leaves(penalty.mask(start))):
        raise ValueError(
            "a duality gap needs a penalty on every leaf: give the penalty mask=None, or leave lower_bound out, and "
            "the solver stops by its residual"
        )
    return lambda params, value, grad: duality_gap(params, value, grad, penalty, lower_bound)
