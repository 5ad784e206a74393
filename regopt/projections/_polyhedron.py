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
from regopt._core.types import Tree

Rows: TypeAlias = tuple[jax.Array, jax.Array]  # a matrix ``[m, n]`` and the right-hand sides ``[m]``

_ROUNDINGS = 100  # by how many roundings of its terms a row may fail
_STEPS = 20  # per row, plus as many: far more than are ever needed


class _Reduced(NamedTuple):
    """The inequalities on the affine set, with rows of length 1."""

    rows: jax.Array  # [m, n], 0 where a row is constant on the affine set
    excess: jax.Array  # [m]: of the point of the affine set from which the search starts
    slack: jax.Array  # [m]: the excess that rounding explains


class _State(NamedTuple):
    multipliers: jax.Array  # [m], >= 0
    active: jax.Array  # [m], bool: the rows that hold with equality
    empty: jax.Array  # shape (), bool: whether a row cannot be satisfied
    steps: jax.Array  # shape (), int32
    entering: jax.Array  # shape (), int32: the row that is being satisfied, -1 for none


def projection_polyhedron(params: Tree, *, equalities: Rows | None = None, inequalities: Rows | None = None) -> Tree:
    """The nearest point with ``A w = b`` and ``G w <= h``.

    Here w is the concatenation of the leaves of the tree. The rows that hold with equality at the nearest point are
    found one by one; each takes a linear system of the size of the inequalities. The derivative, with respect to the
    tree and to all four arrays, is that of the projection onto the face that these rows span.

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
        >>> projection_polyhedron(jnp.array([0.9, 0.5, -1.0]), equalities=total, inequalities=signs).round(4)
        Array([0.7, 0.3, 0. ], dtype=float32)

    References:
        Goldfarb, D., & Idnani, A. (1983). A numerically stable dual method for solving strictly convex quadratic
        programs. Mathematical Programming, 27, 1-33. Section 3.
    """
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
    on_plane = w
    for _ in range(2):  # the second pass removes the rounding error of the first
        on_plane = on_plane - inverse @ (a @ on_plane - b)
    met = jnp.all(jnp.abs(a @ on_plane - b) <= _rounding(a, on_plane, b))
    if not len(g):
        return on_plane, met

    reduced = _reduce(on_plane, a, inverse, g, h)
    active, found = _active_rows(jax.tree.map(jax.lax.stop_gradient, reduced))
    gram = reduced.rows @ reduced.rows.T
    after = on_plane
    for _ in range(2):
        excess = reduced.excess + reduced.rows @ (after - on_plane)
        after = after - reduced.rows.T @ _solve(gram, active, excess)
    kept = jnp.all(g @ after - h <= _rounding(g, after, h) + _rounding(g, on_plane, h))
    return after, met & found & kept


def _rounding(matrix: jax.Array, point: jax.Array, offset: jax.Array) -> jax.Array:
    """The error of ``matrix @ point - offset`` that rounding explains, ``[m]``."""
    eps = _ROUNDINGS * jnp.finfo(point.dtype).eps
    return eps * (jnp.abs(matrix) @ jnp.abs(point) + jnp.abs(offset) + jnp.linalg.norm(matrix, axis=1))


def _reduce(on_plane: jax.Array, a: jax.Array, inverse: jax.Array, g: jax.Array, h: jax.Array) -> _Reduced:
    """The inequalities for moves along the affine set."""
    rows = g - (g @ inverse) @ a
    square = jnp.sum(rows * rows, 1)
    constant = square <= (_ROUNDINGS * jnp.finfo(g.dtype).eps) ** 2 * jnp.sum(g * g, 1)
    lengths = jnp.sqrt(jnp.where(constant, 1, square))
    excess = jnp.where(constant, -1, (g @ on_plane - h) / lengths)
    rows = jnp.where(constant[:, None], 0, rows / lengths[:, None])
    return _Reduced(rows, excess, _rounding(g, on_plane, h) / lengths)


def _active_rows(reduced: _Reduced) -> tuple[jax.Array, jax.Array]:
    """The rows that hold with equality at the projection, and whether there is one.

    The move from the start is ``-rows' multipliers``. The row with the largest excess enters: its multiplier grows, and
    those of the active rows follow, until it is satisfied. A row whose multiplier becomes 0 on the way leaves.
    """
    gram = reduced.rows @ reduced.rows.T
    count, limits = len(gram), jnp.finfo(gram.dtype)
    flat = (10 * _ROUNDINGS * limits.eps) ** 2  # squared length of what the active rows leave of one that they span

    def excess_of(state: _State) -> jax.Array:
        return reduced.excess - gram @ state.multipliers

    def violated(state: _State) -> jax.Array:
        slack = reduced.slack + _ROUNDINGS * limits.eps * jnp.max(state.multipliers)
        return jnp.where(state.active, -jnp.inf, excess_of(state) - slack)

    def unfinished(state: _State) -> jax.Array:
        more = (state.entering >= 0) | jnp.any(violated(state) > 0)
        return more & ~state.empty & (state.steps < _STEPS * (count + 1))

    def step(state: _State) -> _State:
        row = jnp.where(state.entering >= 0, state.entering, jnp.argmax(violated(state)).astype(jnp.int32))
        share = _solve(gram, state.active, gram[row])
        rest = reduced.rows[row] - share @ reduced.rows
        more = _solve(gram, state.active, reduced.rows @ rest)  # removes the rounding error of the first solution
        share, rest = share + more, rest - more @ reduced.rows
        square = rest @ rest
        reach = jnp.where(square > flat, excess_of(state)[row] / jnp.where(square > flat, square, 1), jnp.inf)
        falls = state.active & (share > 0)
        limits_of_rows = jnp.where(falls, state.multipliers / jnp.where(falls, share, 1), jnp.inf)
        leaving = jnp.argmin(limits_of_rows).astype(jnp.int32)
        length = jnp.maximum(jnp.minimum(reach, limits_of_rows[leaving]), 0)
        empty = ~jnp.isfinite(length)
        moved = state.multipliers - length * share
        moved = jnp.where(state.active, jnp.maximum(moved, 0), 0)
        moved = moved.at[row].set(state.multipliers[row] + length)
        satisfied = reach <= limits_of_rows[leaving]
        active = jnp.where(satisfied, state.active.at[row].set(True), state.active.at[leaving].set(False))
        moved = jnp.where(active | (jnp.arange(count, dtype=jnp.int32) == row), moved, 0)
        after = _State(moved, active, empty, state.steps + 1, jnp.where(satisfied, -1, row))
        return jax.tree.map(lambda a, b: jnp.where(empty, a, b), state._replace(empty=empty), after)

    none = jnp.zeros(count, bool)
    start = _State(
        jnp.zeros(count, gram.dtype), none, jnp.array(False), jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32)
    )
    last = jax.lax.while_loop(unfinished, step, start)
    return last.active, ~last.empty & (last.entering < 0) & ~jnp.any(violated(last) > 0)


def _solve(gram: jax.Array, active: jax.Array, target: jax.Array) -> jax.Array:
    """The solution of the system of the active rows, 0 for the others, ``[m]``."""
    both = active[:, None] & active[None]
    matrix = jnp.where(both, gram, jnp.eye(len(gram), dtype=gram.dtype))
    return jax.scipy.linalg.solve(matrix, jnp.where(active, target, 0), assume_a="pos")
