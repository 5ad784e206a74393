"""A regularisation path: the solutions for a grid of strengths, descending, each started from the previous one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.messages import brief
from regopt._core.numerics import check_range, check_whole
from regopt._core.types import Number, Tree
from regopt.solvers._faces import starts_on_faces
from regopt.solvers._gram import GramLoss
from regopt.solvers._lasso_path import homotopy
from regopt.solvers._linear_model import LinearModel
from regopt.solvers._minimize import minimize
from regopt.solvers._solution import Solution
from regopt.solvers._wide import PenaltyOfStrength, is_lasso, norm_of, on_working_sets, takes_working_sets

HOMOTOPY_UP_TO = 64  # coefficients: up to here the lasso with a Gram matrix follows its exact path


def path(
    loss: Callable[..., jax.Array],
    penalty: PenaltyOfStrength,
    start: Tree,
    *data: Tree,
    strengths: jax.Array,
    solver: str = "auto",
    lower_bound: Number | None = None,
    tolerance: Number = 1e-6,
    max_steps: int = 10_000,
) -> Solution:
    """The solutions of ``min_w loss(w, *data) + penalty(strength)(w)`` for each strength, with their certificates.

    Each problem starts from the solution of the one before, so give the strengths in descending order; see
    ``strength_grid``. For a ``LinearModel`` of the family gaussian with the l1 norm or the elastic net, and no fewer
    examples than features, the starts may be computed from the Gram matrix instead. The function is pure: jit it, and
    vmap it over data, weights or ``l1_ratio``.

    Args:
        loss: as for ``minimize``.
        penalty: a function from a strength, shape (), to the penalty, for example ``penalties.l1``.
        start: the parameters from which the first problem starts.
        *data: further arguments of the loss; may be traced.
        strengths: the strengths, ``[n]``, >= 0; may be traced.
        solver: as for ``minimize``; or "working_set", for least squares with ``penalties.l1``, or a
            ``functools.partial`` of ``elastic_net`` or ``group_lasso``, outside ``jit``, ``vmap`` and ``grad``: each
            problem is solved on a few columns, and others join until the gap of all columns closes. There "auto" takes
            it for at least 256 features, if these form groups or are more than the examples; static.
        lower_bound: as for ``minimize``.
        tolerance: as for ``minimize``.
        max_steps: as for ``minimize``, for each strength; with "working_set", for each of its working sets; static.

    Returns:
        The solutions; each array has a leading axis ``[n]``.

    Raises:
        ValueError: a concrete strength is negative or NaN, ``penalty`` is not a function, or ``minimize`` refuses an
            argument.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l1
        >>> from regopt.solvers import path
        >>> def loss(w, y):
        ...     return jnp.sum((w - y) ** 2) / 2
        >>> path(loss, l1, jnp.zeros(1), jnp.array([3.0]), strengths=jnp.array([2.0, 1.0])).params.round(4)
        Array([[1.],
               [2.]], dtype=float32)

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22. Section 2.5, for the warm starts.
    """
    check_range("strengths", strengths, "[0, inf)")
    _check_of_strength(penalty)
    if takes_working_sets(solver, loss, penalty, start, data, strengths, tolerance):
        weights = None if len(data) < 3 or data[2] is None else data[2][None]
        lanes = on_working_sets(loss, penalty, start, data, weights, strengths, tolerance, max_steps)
        return jax.tree.map(lambda leaf: leaf[0], lanes)

    gram = loss if isinstance(loss, GramLoss) else None
    if isinstance(loss, LinearModel):
        data = loss.in_dtype_of(start, *data)
        gram = loss.shared(*data) if gram_pays(loss, penalty, start, data[0]) else None
    data = data if gram is None else ()
    starts, taken, before = None, jnp.zeros((), jnp.int32), 0
    norm = None if gram is None or solver != "auto" else norm_of(penalty, start)
    if gram is not None and is_lasso(penalty) and len(gram.products) <= HOMOTOPY_UP_TO:
        starts = _exact(gram, start, strengths)
    elif gram is not None and norm is not None and norm.size == 1:
        before = -(-max_steps // 2)
        coefficients, taken = starts_on_faces(gram, norm.l1_ratio, jnp.asarray(strengths), tolerance, before)
        starts = _with_coefficients(start, coefficients)

    def solve_from(start, strength):
        return minimize(
            loss if gram is None else gram,
            penalty(strength),
            start,
            *data,
            solver=solver,
            lower_bound=lower_bound,
            tolerance=tolerance,
            max_steps=max(max_steps - before, 1),
        )

    def solve(carry, strength):
        params, before, last, last_but_one = carry
        solution = solve_from(_ahead(params, before, strength, last, last_but_one), strength)
        return jax.lax.stop_gradient((solution.params, params, strength, last)), solution

    strengths = jnp.asarray(strengths)
    if starts is not None:
        solutions = jax.vmap(solve_from)(starts, strengths)
        solutions = solutions._replace(steps=solutions.steps + taken)
    else:
        first, infinite = trees.copy_wide(start), jnp.full_like(strengths[0], jnp.inf)
        solutions = jax.lax.scan(solve, (first, first, infinite, infinite), strengths)[1]
    return solutions if gram is None else solutions._replace(params=jax.vmap(gram.with_intercept)(solutions.params))


def _check_of_strength(penalty: object) -> None:
    if not callable(penalty):
        raise ValueError(f"penalty must be a function of the strength, as penalties.l1 is, got {brief(penalty)}")


def _exact(gram: GramLoss, start: Tree, strengths: jax.Array) -> Tree:
    """The solutions of the lasso from its piecewise linear path, to be checked by their gaps."""
    found = jax.lax.stop_gradient(homotopy(gram.gram, gram.products, 3 * len(gram.products) + 8))
    return _with_coefficients(start, jax.vmap(found.at)(jax.lax.stop_gradient(strengths)))


def _with_coefficients(start: Tree, coefficients: jax.Array) -> Tree:
    """Zeros like the start for each strength, with these coefficients, ``[strengths, features]``."""
    many = jax.tree.map(lambda w: jnp.zeros((len(coefficients), *w.shape), w.dtype), trees.copy_wide(start))
    return {**many, "coefficients": coefficients.reshape(many["coefficients"].shape)}


def _ahead(params: Tree, before: Tree, strength: jax.Array, last: jax.Array, last_but_one: jax.Array) -> Tree:
    """The next start: the solution, extrapolated along the path in all entries that keep their sign."""
    known = jnp.isfinite(last_but_one) & (last < last_but_one)
    ratio = jnp.where(known, (strength - last) / jnp.where(known, last - last_but_one, 1), 0)

    def move(w, w_before, ratio):
        ahead = w + ratio * (w - w_before)
        return jnp.where(jnp.sign(ahead) == jnp.sign(w), ahead, w)

    return trees.lift(move, params, before, numbers=(ratio,))


def gram_pays(loss: Callable[..., jax.Array], penalty: PenaltyOfStrength, start: Tree, x: jax.Array) -> bool:
    """Whether a least-squares loss is to be computed from its Gram matrix: the intercept must have no penalty."""
    if not isinstance(loss, LinearModel) or not loss.shares_gram(x):
        return False
    return not penalty(jnp.ones(())).mask(start).get("intercept", False)


def strength_grid(
    loss: Callable[..., jax.Array],
    penalty: PenaltyOfStrength,
    start: Tree,
    *data: Tree,
    size: int = 100,
    ratio: Number = 1e-3,
) -> jax.Array:
    """Strengths equally spaced in log, from the smallest at which all penalised parameters are 0 to ``ratio`` times it.

    Leaves that the penalty leaves out, such as an intercept, are fitted first, with the penalised ones at 0.

    Args:
        loss: as for ``minimize``.
        penalty: a function from a strength, shape (), to a penalty with a ``strength_max``.
        start: a tree like the parameters.
        *data: further arguments of the loss; may be traced.
        size: the number of strengths, >= 2; static.
        ratio: the last strength divided by the first one, in (0, 1); may be traced.

    Returns:
        The strengths, ``[size]``, descending.

    Raises:
        ValueError: a number lies outside its range, or the penalty has no ``strength_max``.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l1
        >>> from regopt.solvers import strength_grid
        >>> def loss(w, y):
        ...     return jnp.sum((w - y) ** 2) / 2
        >>> strength_grid(loss, l1, jnp.zeros(2), jnp.array([3.0, -4.0]), size=3, ratio=0.25)
        Array([4., 2., 1.], dtype=float32)

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22. Section 2.5.
    """
    check_whole("size", size, "[2, inf)")
    check_range("ratio", ratio, "(0, 1)")
    _check_of_strength(penalty)
    if isinstance(loss, LinearModel):
        loss.check_params(start)
        data = loss.in_dtype_of(start, *data)
    unit = penalty(jnp.ones(()))
    masks = jax.tree.leaves(unit.mask(start))
    leaves, structure = jax.tree.flatten(jax.tree.map(jnp.zeros_like, start))

    def with_free(free):
        ours = iter(free)
        return structure.unflatten([leaf if on else next(ours) for leaf, on in zip(leaves, masks, strict=True)])

    free = [leaf for leaf, on in zip(leaves, masks, strict=True) if not on]
    if free:
        eps = jnp.finfo(free[0].dtype).eps
        free = minimize(lambda free: loss(with_free(free), *data), None, free, tolerance=eps**0.75).params
    largest = unit.strength_max(jax.grad(loss)(with_free(free), *data))
    return largest * ratio ** jnp.linspace(0, 1, size, dtype=largest.dtype)
