"""The projection onto a polyhedron, by a dual active-set method: exact after finitely many linear systems.

For a box, a simplex, an affine set or a section of a box, the projections of their own are faster.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from regopt._core.messages import brief
from regopt._core.numerics import widen
from regopt._core.placing import on_whole_arrays
from regopt._core.transformation import check_real
from regopt._core.types import Tree

Rows: TypeAlias = tuple[jax.Array, jax.Array]  # a matrix ``[m, n]`` and the right-hand sides ``[m]``

_ROUNDINGS = 4  # a row that fails by more roundings of its terms becomes active
_DOUBTS = 100  # the set is empty where a row fails by more roundings of its terms at the end
_STEPS = 20  # per row, plus as many: far more than are ever needed
_REFINEMENTS = 3  # passes of a move: each removes the rounding error of the one before


class _Polyhedron(NamedTuple):
    """The set, and its inequalities on the affine set of its equalities."""

    start: jax.Array  # [n]: the point to project
    a: jax.Array
    b: jax.Array
    inverse: jax.Array  # of a, [n, equalities]
    g: jax.Array
    h: jax.Array
    rows: jax.Array  # [m, n]: of g, along the affine set and of length 1; 0 where a row is constant there
    lengths: jax.Array  # [m]: by which these rows are divided; 1 for a constant one
    loss: jax.Array  # [m], >= 1: how many roundings of these rows one of g becomes


class _Face(NamedTuple):
    """The active rows and their decomposition: the transpose of those in ``order`` is ``basis @ triangle``."""

    rows: jax.Array  # [m, n]: 0 for a row that is not active
    active: jax.Array  # [m], bool
    order: jax.Array  # [k], int32: the active rows come first
    basis: jax.Array  # [n, k]: orthonormal columns, 0 beyond the active rows
    triangle: jax.Array  # [k, k]: upper, the identity beyond the active rows


class _State(NamedTuple):
    point: jax.Array  # [n]
    multipliers: jax.Array  # [m], >= 0
    active: jax.Array  # [m], bool: the rows that hold with equality
    blocked: jax.Array  # [m], bool: the rows that the active ones determine
    steps: jax.Array  # shape (), int32
    entering: jax.Array  # shape (), int32: the row that is being satisfied, -1 for none


@on_whole_arrays
def projection_polyhedron(params: Tree, *, equalities: Rows | None = None, inequalities: Rows | None = None) -> Tree:
    """The nearest point with ``A w = b`` and ``G w <= h``.

    Here w is the concatenation of the leaves of the tree. The rows that hold with equality at the nearest point are
    found one by one; each takes an orthogonal decomposition. The derivative, with respect to the tree and to all
    four arrays, is that of the projection onto the face that these rows span.

    Tolerances are relative, so the set and the point may have any scale. An inequality holds with equality if the point
    without it fails it by more than 4 roundings of its terms ``G_ij w_j`` and ``h_i``. The set counts as empty if the
    result fails a row by more than 100 roundings of its terms and of those of the rows on which it depends.

    Args:
        params: the tree to project, with n entries in total.
        equalities: the pair of A ``[m, n]`` and b ``[m]``; rows may be linearly dependent; may be traced; None for
            none.
        inequalities: the pair of G ``[p, n]`` and h ``[p]``; may be traced; None for none.

    Returns:
        A tree with the shapes and dtypes of ``params``; NaN where the set is empty and its arrays are traced.

    Raises:
        ValueError: the shapes do not match, or no point satisfies concrete rows.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_polyhedron
        >>> total, signs = (jnp.ones((1, 3)), jnp.ones(1)), (-jnp.eye(3), jnp.zeros(3))
        >>> projection_polyhedron(jnp.array([0.75, 0.5, -1.0]), equalities=total, inequalities=signs).round(4)
        Array([0.625, 0.375, 0.   ], dtype=float32)

    References:
        Goldfarb, D., & Idnani, A. (1983). A numerically stable dual method for solving strictly convex quadratic
        programs. Mathematical Programming, 27, 1-33. Section 3.
    """
    check_real(params)
    flat, unravel = ravel_pytree(params)
    found, feasible = _project(*_arrays(flat, equalities, inequalities))
    traced = any(isinstance(array, Tracer) for pair in (equalities, inequalities) for array in pair or ())
    if isinstance(feasible, Tracer) and not traced:
        with jax.ensure_compile_time_eval():
            feasible = _project(*_arrays(jnp.zeros(flat.shape, flat.dtype), equalities, inequalities))[1]
    if not isinstance(feasible, Tracer) and not feasible:
        raise ValueError("no point satisfies the equalities and inequalities, up to rounding")
    return unravel(jnp.where(feasible, found, jnp.nan).astype(flat.dtype))


def _arrays(flat: jax.Array, equalities: Rows | None, inequalities: Rows | None) -> list[jax.Array]:
    """The point and the four arrays in one dtype, with no rows for None; those that do not fit are refused."""
    arrays = [flat]
    for name, pair in (("equalities", equalities), ("inequalities", inequalities)):
        pair = (jnp.zeros((0, flat.size)), jnp.zeros(0)) if pair is None else pair
        shapes = tuple(map(np.shape, pair)) if isinstance(pair, tuple | list) else brief(pair)
        if not isinstance(shapes, tuple) or len(shapes) != 2 or shapes != ((*shapes[1], flat.size), shapes[0][:1]):
            raise ValueError(f"{name} must be a pair of arrays [m, {flat.size}] and [m], got {shapes}")
        arrays += map(jnp.asarray, pair)
    return list(widen(*arrays))


@jax.jit
def _project(w: jax.Array, a: jax.Array, b: jax.Array, g: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The projection, and whether the set has a point."""
    inverse = jnp.linalg.pinv(a) if len(a) else jnp.zeros((w.size, 0), w.dtype)
    doubt = _DOUBTS * jnp.finfo(w.dtype).eps
    after = w
    for _ in range(_REFINEMENTS):
        after = after - inverse @ (a @ after - b)
    if not len(g):
        return after, _holds(jnp.abs(a @ after - b), doubt * _terms(a, after, b, w))

    known = _reduce(w, a, b, inverse, g, h)
    fixed = jax.tree.map(jax.lax.stop_gradient, known)
    face = _face(known.rows, _active_rows(fixed, jax.lax.stop_gradient(after)))
    for _ in range(_REFINEMENTS):
        after = _refined(after, known, face)
    errors, errors_of_a = _terms(g, after, h, w), _terms(a, after, b, w)
    inherited = jnp.where(face.active, errors / known.lengths, 0) @ jnp.abs(_shares(face, known.rows))
    slack = errors + inherited * known.lengths + jnp.abs(g @ inverse) @ errors_of_a
    feasible = (
        jnp.all(h > -jnp.inf)
        & _holds(g @ after - h, doubt * slack)
        & _holds(jnp.abs(a @ after - b), doubt * errors_of_a)
    )
    return after, feasible | ~jnp.all(jnp.isfinite(after))  # a point that is not finite tells nothing about the set


def _holds(excess: jax.Array, slack: jax.Array) -> jax.Array:
    return jnp.all(excess <= slack)


def _terms(matrix: jax.Array, point: jax.Array, offset: jax.Array, start: jax.Array) -> jax.Array:
    """The size of what ``matrix @ point - offset`` adds up, ``[m]``.

    The start counts with the few digits that the refinement of the point leaves of it.
    """
    left = _DOUBTS * jnp.finfo(point.dtype).eps
    return jnp.abs(matrix) @ (jnp.abs(point) + left * jnp.abs(start)) + jnp.abs(offset)


def _reduce(w: jax.Array, a: jax.Array, b: jax.Array, inverse: jax.Array, g: jax.Array, h: jax.Array) -> _Polyhedron:
    """The inequalities for moves along the affine set."""
    rows = g - (g @ inverse) @ a
    square, before = jnp.sum(rows * rows, 1), jnp.sum(g * g, 1)
    constant = square <= (_DOUBTS * jnp.finfo(g.dtype).eps) ** 2 * before
    lengths = jnp.sqrt(jnp.where(constant, 1, square))
    loss = jnp.sqrt(jnp.where(constant, 1, before)) / lengths
    return _Polyhedron(w, a, b, inverse, g, h, jnp.where(constant[:, None], 0, rows / lengths[:, None]), lengths, loss)


def _excess(point: jax.Array, known: _Polyhedron) -> jax.Array:
    """By how far the point fails each inequality, as a length along the affine set, ``[m]``."""
    return (known.g @ point - known.h) / known.lengths


def _active_rows(known: _Polyhedron, start: jax.Array) -> jax.Array:
    """The rows that hold with equality at the projection, ``[m]``.

    The row with the largest excess enters: its multiplier grows, and those of the active rows follow, until it is
    satisfied. A row whose multiplier becomes 0 on the way leaves. A row that the active ones determine, and for which
    none leaves, cannot be satisfied: it fails by rounding, or the set is empty.
    """
    count, eps = len(known.rows), jnp.finfo(start.dtype).eps

    def violated(state: _State, point: jax.Array) -> jax.Array:
        slack = _ROUNDINGS * eps * _terms(known.g, point, known.h, known.start) / known.lengths
        constant = ~jnp.any(known.rows != 0, axis=1)
        return jnp.where(state.active | state.blocked | constant, -jnp.inf, _excess(point, known) - slack)

    def unfinished(state: _State) -> jax.Array:
        more = (state.entering >= 0) | jnp.any(violated(state, state.point) > 0)
        return more & (state.steps < _STEPS * (count + 1))

    def step(state: _State) -> _State:
        face = _face(known.rows, state.active)
        point = _refined(state.point, known, face)
        row = jnp.where(state.entering >= 0, state.entering, jnp.argmax(violated(state, point)).astype(jnp.int32))
        share, rest = _split(face, known.rows[row])
        square = rest @ rest
        lost = jnp.max(jnp.where(state.active, known.loss, known.loss[row]))
        free = (square > (10 * eps * lost) ** 2) & (jnp.sum(state.active) < len(face.order))
        reach = jnp.where(free, jnp.maximum(_excess(point, known)[row], 0) / jnp.where(free, square, 1), jnp.inf)
        falls = state.active & (share > 10 * eps)
        limits = jnp.where(falls, state.multipliers / jnp.where(falls, share, 1), jnp.inf)
        leaving = jnp.argmin(limits).astype(jnp.int32)
        length = jnp.minimum(reach, limits[leaving])
        satisfied = reach <= limits[leaving]
        moved = jnp.where(state.active, jnp.maximum(state.multipliers - length * share, 0), 0)
        moved = moved.at[row].set(state.multipliers[row] + length)
        active = jnp.where(satisfied, state.active.at[row].set(True), state.active.at[leaving].set(False))
        moved = jnp.where(active | (jnp.arange(count, dtype=jnp.int32) == row), moved, 0)
        point_after = point - jnp.where(free, length * rest, 0)
        entering = jnp.where(satisfied, -1, row)
        after = _State(point_after, moved, active, jnp.zeros_like(active), state.steps + 1, entering)
        stuck = state._replace(
            point=point,
            multipliers=jnp.where(state.active, state.multipliers, 0),
            blocked=state.blocked.at[row].set(True),
            steps=state.steps + 1,
            entering=jnp.full_like(state.entering, -1),
        )
        return jax.tree.map(lambda a, b: jnp.where(jnp.isfinite(length), a, b), after, stuck)

    none, zero = jnp.zeros(count, bool), jnp.zeros((), jnp.int32)
    first = _State(start, jnp.zeros(count, start.dtype), none, none, zero, jnp.full_like(zero, -1))
    return jax.lax.while_loop(unfinished, step, first).active


def _face(rows: jax.Array, active: jax.Array) -> _Face:
    """The face on which the active rows, which are linearly independent, hold with equality."""
    size = min(rows.shape)
    order = jnp.argsort(~active, stable=True)[:size].astype(jnp.int32)
    used = active[order]
    basis, triangle = jnp.linalg.qr(jnp.where(used[None], jax.lax.stop_gradient(rows)[order].T, 0))
    triangle = jnp.where(used[:, None] & used[None], triangle, jnp.eye(size, dtype=rows.dtype))
    return _Face(jnp.where(active[:, None], rows, 0), active, order, jnp.where(used[None], basis, 0), triangle)


def _refined(point: jax.Array, known: _Polyhedron, face: _Face) -> jax.Array:
    """The projection of a point onto the equalities and the face; repeated, it removes its own rounding error."""
    point = point - known.inverse @ (known.a @ point - known.b)
    return point - _move_to(face, jnp.where(face.active, _excess(point, known), 0))


def _move_to(face: _Face, target: jax.Array) -> jax.Array:
    """The shortest x with ``rows @ x = target`` for the active rows, ``[n]``.

    The decomposition keeps the digits that the Gram matrix of nearly dependent rows loses. The system of x and the
    multipliers gives the derivatives, of any order.
    """
    size = face.rows.shape[1]

    def system(both: jax.Array) -> jax.Array:
        x, multipliers = both[:size], both[size:]
        return jnp.concatenate([x + multipliers @ face.rows, jnp.where(face.active, face.rows @ x, multipliers)])

    def solve(_: object, both: jax.Array) -> jax.Array:
        along, level = both[:size], both[size:]
        inside = along @ face.basis
        beyond = _solve(face.triangle, jnp.where(face.active, level, 0)[face.order], trans=1)
        multipliers = jnp.zeros_like(level).at[face.order].set(_solve(face.triangle, inside - beyond))
        x = along + face.basis @ (beyond - inside)
        return jnp.concatenate([x, jnp.where(face.active, multipliers, level)])

    both = jnp.concatenate([jnp.zeros(size, target.dtype), target])
    return jax.lax.custom_linear_solve(system, both, solve, symmetric=True)[:size]


def _split(face: _Face, row: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What the active rows give of a row, as their shares ``[m]``, and what they leave of it ``[n]``."""
    inside = row @ face.basis
    rest = row - face.basis @ inside
    more = rest @ face.basis  # removes the rounding error of the first difference
    share = jnp.zeros_like(row, shape=len(face.rows)).at[face.order].set(_solve(face.triangle, inside + more))
    return share, rest - face.basis @ more


def _shares(face: _Face, rows: jax.Array) -> jax.Array:
    """The shares of the active rows in each row, ``[m, m]``, with a column for each."""
    shares = _solve(face.triangle, face.basis.T @ rows.T)
    return jnp.zeros_like(rows, shape=(len(rows), len(rows))).at[face.order].set(shares)


def _solve(triangle: jax.Array, target: jax.Array, trans: int = 0) -> jax.Array:
    return jax.scipy.linalg.solve_triangular(triangle, target, trans=trans)
