"""Anderson acceleration: a fixed-point iteration extrapolated from its last few points."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from regopt._core import trees
from regopt._core.numerics import as_float, check_number, check_whole
from regopt._core.types import Number, Tree
from regopt.solvers._implicit import implicit_root
from regopt.solvers._solution import step_between

_RIDGE = 1e-10  # the least share of its trace that is added to the matrix of the least-squares problem
_WORSE = 2.0  # the factor by which a residual may grow before the memory is emptied


class FixedPoint(NamedTuple):
    """A fixed point; every field but ``params`` has shape ()."""

    params: Tree  # structure and shapes of the start, at least float32
    residual: jax.Array  # Euclidean norm of ``function(params) - params``
    converged: jax.Array  # bool: whether the residual is within the tolerance
    steps: jax.Array  # int32: calls of the function


class _State(NamedTuple):
    x: jax.Array  # [n]
    residual: jax.Array  # [n]: f(x) - x
    moves: jax.Array  # [memory, n]: differences of successive points, the last one at ``kept - 1``
    turns: jax.Array  # [memory, n]: differences of successive residuals
    kept: jax.Array  # shape (), int32: how many rows count
    steps: jax.Array  # shape (), int32


def anderson(
    function: Callable[[Tree], Tree],
    start: Tree,
    *,
    memory: int = 5,
    tolerance: Number = 1e-6,
    max_steps: int = 1000,
) -> FixedPoint:
    """The fixed point ``x = function(x)`` of a contraction, by Anderson acceleration.

    The next point is ``x + r - (X + R) c`` with ``r = function(x) - x`` and ``c = argmin |r - R c|``, where the columns
    of X and R are the last differences of points and of residuals. Where the residual has more than doubled, the memory
    is emptied. The function is pure: jit it, vmap it, and differentiate it in whatever ``function`` closes over; the
    derivative comes from the equation.

    Args:
        function: a function from a tree like the start to another one; what it closes over may be traced.
        start: a tree of floating-point arrays.
        memory: the number of differences that are kept, >= 1; static.
        tolerance: the norm of the residual at which the iteration ends, >= 0; may be traced.
        max_steps: the largest number of calls of the function, >= 1; static.

    Returns:
        The fixed point. ``converged`` is False where the steps did not suffice; nothing is raised.

    Raises:
        ValueError: a number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import anderson
        >>> anderson(jnp.cos, jnp.array(1.0)).params.round(4)
        Array(0.7391, dtype=float32)

    References:
        Walker, H. F., & Ni, P. (2011). Anderson acceleration for fixed-point iterations. SIAM Journal on Numerical
        Analysis, 49(4), 1715-1735. Equation (2.1).
    """
    check_whole("memory", memory, "[1, inf)")
    check_number("tolerance", tolerance, "[0, inf)")
    check_whole("max_steps", max_steps, "[1, inf)")

    def solve(start: Tree) -> tuple[Tree, FixedPoint]:
        flat, unflatten = ravel_pytree(start)
        found = _iterate(lambda x: ravel_pytree(function(unflatten(x)))[0], flat, memory, tolerance, max_steps)
        residual = jnp.linalg.norm(found.residual)
        params = unflatten(found.x)
        return params, FixedPoint(params, residual, residual <= as_float(tolerance), found.steps)

    params, found = implicit_root(lambda x: step_between(x, function(x)), solve, trees.copy_wide(start))
    return found._replace(params=params)


def _iterate(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, memory: int, tolerance: Number, max_steps: int
) -> _State:
    def unfinished(now: _State) -> jax.Array:
        size = jnp.linalg.norm(now.residual)
        return (size > as_float(tolerance)) & (now.steps < max_steps) & jnp.isfinite(size)

    def step(now: _State) -> _State:
        known = jnp.arange(memory, dtype=jnp.int32) < now.kept
        turns = jnp.where(known[:, None], now.turns, 0)
        gram = turns @ turns.T
        limits = jnp.finfo(x.dtype)
        ridge = max(_RIDGE, 10 * memory * float(limits.eps)) * jnp.trace(gram) + limits.tiny
        weights = jnp.linalg.solve(gram + ridge * jnp.eye(memory, dtype=x.dtype), turns @ now.residual)
        weights = jnp.where(jnp.all(jnp.isfinite(weights)), weights, 0)  # else a plain step
        moves = jnp.where(known[:, None], now.moves, 0)
        after = now.x + now.residual - weights @ (moves + turns)
        residual = function(after) - after
        worse = jnp.linalg.norm(residual) > _WORSE * jnp.linalg.norm(now.residual)
        full = now.kept >= memory
        moved = jnp.where(full, jnp.roll(now.moves, -1, 0), now.moves)
        turned = jnp.where(full, jnp.roll(now.turns, -1, 0), now.turns)
        place = jnp.minimum(now.kept, memory - 1)
        return _State(
            after,
            residual,
            moved.at[place].set(after - now.x),
            turned.at[place].set(residual - now.residual),
            jnp.where(worse, 0, jnp.minimum(now.kept + 1, memory)),
            now.steps + 1,
        )

    rows = jnp.zeros((memory, x.size), x.dtype)
    zero, one = jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32)
    return jax.lax.while_loop(unfinished, step, _State(x, function(x) - x, rows, rows, zero, one))
