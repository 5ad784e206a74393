"""The solution that a solver returns, with its certificate."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from regopt._core.numerics import as_float, widen
from regopt._core.types import Number, Penalty, Tree

State = TypeVar("State")


class Solution(NamedTuple):
    """A solution of ``min_w loss(w) + penalty(w)`` with its certificate; every field but ``params`` has shape ().

    The residual is the norm of a subgradient of the objective; of its generalised gradient in "coordinate_descent" and
    for a ``LinearModel`` with a known gap in "proximal_gradient". It is the length of the last step of
    "proximal_newton", the gap in ``mirror_descent``, and NaN from "working_set".
    """

    params: Tree  # structure and shapes of the start, at least float32
    objective: jax.Array  # loss plus penalty at ``params``
    gap: jax.Array  # an upper bound on the objective minus its minimum; infinite where none is known
    residual: jax.Array  # how far ``params`` are from a stationary point, in a norm that depends on the solver
    converged: jax.Array  # bool: whether the certificate is within the tolerance
    steps: jax.Array  # int32: iterations


def duality_gap(params: Tree, value: jax.Array, grad: Tree, penalty: Penalty, lower_bound: Number) -> jax.Array:
    """An upper bound on ``objective(params) - min objective``, from one gradient of a convex loss.

    By convexity ``loss(u) >= loss(w) + <g, u - w>``. Every minimiser u has ``penalty(u) <= objective(w) - b``, where b
    is a lower bound of the loss. So the objective at u is at least ``loss(w) - <g, w>`` plus the minimum of
    ``<g, u> + penalty(u)`` over this set. This is the duality gap of the problem that is restricted to the set.

    Args:
        params: the point w.
        value: the loss at the point, shape ().
        grad: its gradient g there, a tree like ``params``.
        penalty: the penalty, with ``linear_minimum``.
        lower_bound: a number that the loss is never below.

    Returns:
        The bound, >= 0 up to rounding, shape ().

    References:
        Duenner, C., Forte, S., Takac, M., & Jaggi, M. (2016). Primal-dual rates and certificates. ICML. For the
        restriction to a level set.
    """
    own = penalty.value(params)
    level = jnp.maximum(own + value - as_float(lower_bound), own)
    return own + inner(grad, params) - penalty.linear_minimum(grad, level)


def inner(a: Tree, b: Tree) -> jax.Array:
    """The inner product of two trees, in at least float32, shape ()."""
    return jnp.asarray(optax.tree.vdot(*(jax.tree.map(lambda x: widen(x)[0], tree) for tree in (a, b))))


def step_between(after: Tree, before: Tree) -> Tree:
    """``after - before``, leaf by leaf."""
    return jax.tree.map(jnp.subtract, after, before)


def length(tree: Tree) -> jax.Array:
    """The Euclidean norm of a tree, shape ()."""
    return jnp.sqrt(inner(tree, tree))


def apply_if(condition: jax.Array, function: Callable[[State], State], state: State) -> State:
    """``function(state)`` if the condition holds, else the state.

    It is a loop of at most one step, so that lanes compute nothing where the condition holds for none of them, while
    ``cond`` computes both branches for all lanes.
    """

    def step(carry: tuple[jax.Array, State]) -> tuple[jax.Array, State]:
        return ~carry[0], function(carry[1])

    return jax.lax.while_loop(lambda carry: carry[0], step, (condition, state))[1]
