"""``minimize`` solves one regularised problem to a certificate; it chooses the solver and carries the derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import as_float, check_number, check_whole
from regopt._core.types import NO_PROX, Number, Penalty, Tree
from regopt.penalties import l2
from regopt.solvers._implicit import implicit_root
from regopt.solvers._proximal_gradient import proximal_gradient
from regopt.solvers._solution import Solution, step_between


def minimize(
    loss: Callable[..., jax.Array],
    penalty: Penalty | None,
    start: Tree,
    *data: Any,
    lower_bound: Number | None = None,
    tolerance: Number = 1e-6,
    max_steps: int = 10_000,
) -> Solution:
    """Minimise ``loss(w, *data) + penalty(w)`` over w, and say how far from the minimum the result can be.

    The method is the proximal gradient method with acceleration, backtracking and restart (FISTA): no learning rate is
    needed. It is one pure function: it can be jitted, vmapped over strengths, weights, data and starts, and
    differentiated in forward and reverse mode by the implicit function theorem, with respect to the data and to
    whatever ``loss`` and ``penalty`` close over. The result is computed in at least float32; a tolerance below about
    1e-6 needs float64.

    For a loss that is **convex** and never below ``lower_bound``, the ``gap`` is a proven upper bound on the objective
    minus its minimum, if the penalty has a ``linear_minimum`` (norms, the elastic net, boxes) and penalises every leaf.
    The result has ``converged`` if ``gap <= tolerance * max(1, |objective|)``. Without ``lower_bound``, for a nonconvex
    loss for example, no gap is known (it is infinite) and ``converged`` means ``residual <= tolerance``, where the
    residual is ``|w - prox(w - t g)| / t`` for the step size t: the result is a stationary point.

    Args:
        loss: a function of the parameters and ``data`` to a scalar, differentiable; convex if ``lower_bound`` is given.
        penalty: the penalty, with a prox; ``penalties.box`` and its like stand for constraints; None for none.
        start: the parameters from which the solver starts, a tree of floating-point arrays.
        *data: further arguments of the loss; may be traced.
        lower_bound: a number that the loss is never below, 0 for most; it declares that the loss is convex. None where
            the loss is not convex or no bound is known.
        tolerance: the certificate at which the solver ends, >= 0; may be traced.
        max_steps: the largest number of steps, >= 1, up to the next multiple of 10; static.

    Returns:
        The solution with its certificate. ``converged`` is False where the steps did not suffice; nothing is raised.

    Raises:
        ValueError: the penalty has no prox; a gap is asked for and the penalty has no ``linear_minimum`` or leaves
            parameters out; a number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l1
        >>> from regopt.solvers import minimize
        >>> def loss(w, x, y):
        ...     return jnp.sum((x @ w - y) ** 2) / 2
        >>> solution = minimize(loss, l1(0.5), jnp.zeros(2), jnp.eye(2), jnp.array([2.0, 0.25]), lower_bound=0)
        >>> solution.params, bool(solution.converged)
        (Array([1.5, 0. ], dtype=float32), True)

    References:
        Beck, A., & Teboulle, M. (2009). A fast iterative shrinkage-thresholding algorithm for linear inverse problems.
        SIAM Journal on Imaging Sciences, 2(1), 183-202. The algorithm with backtracking, equations (4.1) to (4.3).

        Blondel, M., et al. (2022). Efficient and modular implicit differentiation. NeurIPS. Section 2.2.
    """
    check_number("tolerance", tolerance, "[0, inf)")
    check_whole("max_steps", max_steps, "[1, inf)")
    penalty = l2(0.0, mask=None) if penalty is None else penalty
    if not penalty.has_prox:
        raise ValueError(NO_PROX)
    if lower_bound is not None:
        _check_certificate(penalty, start)

    def smooth(params):
        return as_float(loss(params, *data))

    def equation(params):
        moved = trees.lift(jnp.subtract, params, jax.grad(smooth)(params))
        return step_between(params, penalty.prox(moved, 1.0))

    def solve(start):
        solution = proximal_gradient(
            smooth, penalty, start, lower_bound=lower_bound, tolerance=tolerance, max_steps=max_steps
        )
        return solution.params, solution

    params, solution = implicit_root(equation, solve, trees.copy_wide(start))
    return solution._replace(params=params, objective=smooth(params) + penalty.value(params))


def _check_certificate(penalty: Penalty, start: Tree) -> None:
    if not penalty.has_linear_minimum:
        raise ValueError(
            "no duality gap is known for this penalty, so lower_bound has no use: leave it out, and the solver goes by "
            "its residual, or take a penalty with has_linear_minimum"
        )
    masks = jax.tree.leaves(penalty.mask(start))
    if not all(masks):
        raise ValueError(
            "a duality gap needs a penalty on every leaf: give mask=None or a small strength to the leaves left out, "
            "or leave lower_bound out, and the solver goes by its residual"
        )
