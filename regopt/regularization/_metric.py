"""How an optimizer declares its step: the metric of its proximal step, and the optimizers that have none.

Shared by proximal steps, projections and decoupled decay, which all move the parameters after the optimizer's own step.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import sum_leading
from regopt._core.protocols import displaced, proximal_steps
from regopt._core.types import NumberTree, Tree

State = TypeVar("State")


def check_moves(state: Tree, how: str) -> None:
    """Refuse an optimizer whose model consists of its own points, which a move of the parameters does not reach."""
    if found := _first(lambda node: hasattr(node, "own_points") or _of_optax(node, "ScheduleFreeState"), state):
        raise ValueError(
            f'how="{how}" does not reach the points that {found} keeps: use how="gradient", or its own weight_decay'
        )


def check_metric(state: Tree) -> None:
    """Refuse an optimizer that scales the gradient without declaring how: its prox would solve another problem."""
    if found := _first(_untold, state):
        raise ValueError(
            f'how="proximal" has to know what the optimizer multiplies the gradient by, and {found} does not tell: '
            "take regopt's own adam, rmsprop, heavy_ball and so on, and chain what scales updates behind the whole"
        )


def _untold(node: object) -> bool:
    """Whether a state scales the gradient without declaring how: optax's scales and velocities, signs, plateaus."""
    name = type(node).__name__
    scales = name.startswith("ScaleBy") and name != "ScaleByScheduleState"
    scales |= name in ("FactoredState", "ReduceLROnPlateauState", "TraceState")
    return getattr(node, "hides_metric", False) or (scales and _of_optax(node, name))


def _of_optax(node: object, name: str) -> bool:
    return type(node).__module__.partition(".")[0] == "optax" and type(node).__name__ == name


def _first(wanted: Callable[[object], bool], state: Tree) -> str | None:
    """The name of the first part of an optimizer's state that is ``wanted``, at any depth."""
    nodes = jax.tree.leaves(state, is_leaf=wanted)
    return next((type(node).__name__.removesuffix("State") for node in nodes if wanted(node)), None)


def steps_of(rate: NumberTree, params: Tree, state: Tree) -> NumberTree:
    """The rate where all coordinates have one scale, else one step for each coordinate."""
    rates = trees.by_leaf(rate, params, "learning_rate")
    steps = proximal_steps(rates, state)
    return rate if steps is rates else steps


def moved(params: Tree, updates: Tree, state: State, stepped: Tree, targets: Tree) -> tuple[Tree, State]:
    """The updates that end at ``targets`` instead of ``stepped``, and the optimizer's state after them.

    A parameter whose target is 0 becomes exactly 0. A leaf that is not moved keeps its update.
    """

    def update(u, w, before, after):  # a leaf that no penalty touches is the same object as before
        return u if after is before else trees.lift(lambda _, w, after: after - w, u, w, after)

    after = jax.tree.map(update, updates, params, stepped, targets)
    return after, displaced(state, trees.lift_wide(jnp.subtract, after, updates))


def count_true(condition: jax.Array) -> jax.Array:
    """The number of true entries; int32 of shape ()."""
    # columns are summed in floats, exact up to 2**24 rows, because XLA sums integers slowly
    columns = sum_leading(jnp.atleast_1d(condition).astype(jnp.float32), 1)
    return jnp.sum(columns.astype(jnp.int32), dtype=jnp.int32)
