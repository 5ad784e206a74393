"""A step, and then what the penalty or the constraint makes of it: proximal steps and projections.

The wrappers behind ``regularize(..., how="proximal")`` and ``how="constraint"``. Not for penalties in the gradient.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt import tree
from regopt.numerics import at_count, sum_leading
from regopt.transforms.evaluation import displaced, proximal_steps
from regopt.transforms.plateau import ReduceOnPlateauState
from regopt.transforms.signs import ScaleByLionState
from regopt.types import Number, NumberOrSchedule, NumberTree, Penalty, Tree


class ProximalState(NamedTuple):
    """State of ``regularize(..., how="proximal")``: the wrapped optimizer's, and a report."""

    inner: Any
    count: Number  # shape (), int32: updates so far
    zeros: Number  # shape (), int32: penalised parameters that are exactly 0 after the last step


class ConstraintState(NamedTuple):
    """State of ``regularize(..., how="constraint")``: the wrapped optimizer's, and a report."""

    inner: Any
    count: Number  # shape (), int32: updates so far
    active: Number  # shape (), int32: updates after which the projection moved a parameter


def check_moves(state: Any, how: str) -> None:
    """Refuse an optimizer whose model is made of points of its own, which a step behind its own does not move."""
    if found := _first(lambda node: hasattr(node, "own_points") or _of_optax(node, "ScheduleFreeState"), state):
        raise ValueError(
            f'how="{how}" does not reach the points that {found} keeps: use how="gradient", or its own weight_decay'
        )


def _check_metric(state: Any) -> None:
    """Refuse an optimizer that scales the gradient and does not tell how: the prox would solve another problem."""
    if found := _first(_untold, state):
        raise ValueError(
            f'how="proximal" has to know what the optimizer multiplies the gradient by, and {found} does not tell: '
            "take regopt's own adam, rmsprop, heavy_ball and so on, and chain what scales updates behind the whole"
        )


def _untold(node: Any) -> bool:
    """Of optax, with a scale or a velocity; a sign of the gradient, which has no scale; or a plateau's own scale."""
    name = type(node).__name__
    scales = name.startswith("ScaleBy") and name != "ScaleByScheduleState"
    scales |= name in ("FactoredState", "ReduceLROnPlateauState", "TraceState")
    return isinstance(node, ReduceOnPlateauState | ScaleByLionState) or (scales and _of_optax(node, name))


def _of_optax(node: Any, name: str) -> bool:
    return type(node).__module__.partition(".")[0] == "optax" and type(node).__name__ == name


def _first(wanted: Callable[[Any], bool], state: Any) -> str | None:
    """The name of the first such part of an optimizer's state, at any depth."""
    nodes = jax.tree.leaves(state, is_leaf=wanted)
    return next((type(node).__name__.removesuffix("State") for node in nodes if wanted(node)), None)


def proximal(
    optimizer: optax.GradientTransformation, penalty: Penalty, learning_rate: NumberOrSchedule
) -> optax.GradientTransformationExtraArgs:
    """The optimizer's step and then the penalty's prox, in the metric of that step; see ``regularize``."""
    optimizer = optax.with_extra_args_support(optimizer)
    prox = penalty.prox
    if prox is None:
        raise ValueError('the penalty has no prox: use how="gradient", which takes any penalty, or how="decoupled"')

    def init(params):
        inner = optimizer.init(params)
        check_moves(inner, "proximal")
        _check_metric(inner)
        return ProximalState(inner, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("a proximal step needs the parameters: call update(grads, state, params)")
        updates, inner = optimizer.update(updates, state.inner, params, **extra_args)
        steps = _steps(at_count(learning_rate, state.count), params, inner)
        stepped = tree.lift_wide(jnp.add, params, updates)
        updates, inner = _moved(params, updates, inner, stepped, prox(stepped, steps))
        zeros = _zeros(params, updates, penalty)
        return updates, ProximalState(inner, optax.safe_increment(state.count), zeros)

    return optax.GradientTransformationExtraArgs(init, update)


def constrained(
    optimizer: optax.GradientTransformation, project: Callable[[Tree], Tree]
) -> optax.GradientTransformationExtraArgs:
    """The optimizer's step and then the projection; see ``regularize``."""
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params):
        inner = optimizer.init(params)
        check_moves(inner, "constraint")
        return ConstraintState(inner, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("a projection needs the parameters: call update(grads, state, params)")
        updates, inner = optimizer.update(updates, state.inner, params, **extra_args)
        stepped = tree.lift_wide(jnp.add, params, updates)
        targets = project(stepped)
        pairs = zip(jax.tree.leaves(stepped), jax.tree.leaves(targets), strict=True)
        active = jnp.asarray(sum(_count(a != b) for a, b in pairs if a is not b), jnp.int32) > 0
        # while it is inactive the optimizer is itself; and XLA, as the step waits, need not copy the parameters
        updates, inner = tree.where(active, _moved(params, updates, inner, stepped, targets), (updates, inner))
        count = optax.safe_increment(state.count)
        return updates, ConstraintState(inner, count, jnp.where(active, state.active + 1, state.active))

    return optax.GradientTransformationExtraArgs(init, update)


def _steps(rate: NumberTree, params: Tree, state: Any) -> NumberTree:
    """The rate where all coordinates have one scale, else a step for each coordinate."""
    rates = tree.by_leaf(rate, params)
    steps = proximal_steps(rates, state)
    return rate if steps is rates else steps


def _moved(params: Tree, updates: Tree, state: Any, stepped: Tree, targets: Tree) -> tuple[Tree, Any]:
    """The updates that end at the targets instead of where they stepped to, and the optimizer's state after them.

    A parameter that ends at 0 does so exactly, a leaf that is not moved keeps its update.
    """

    def update(u, w, before, after):  # of one leaf; what no penalty touches comes back as it went in
        return u if after is before else tree.lift(lambda _, w, after: after - w, u, w, after)

    after = jax.tree.map(update, updates, params, stepped, targets)
    return after, displaced(state, tree.lift_wide(jnp.subtract, after, updates))


def _zeros(params: Tree, updates: Tree, penalty: Penalty) -> jax.Array:
    """How many penalised parameters the updates make exactly 0."""
    after = optax.apply_updates(params, updates)
    masks = jax.tree.leaves(penalty.mask(params))
    counts = [jnp.where(on, _count(w == 0), 0) for w, on in zip(jax.tree.leaves(after), masks, strict=True)]
    return jnp.asarray(sum(counts), jnp.int32)


def _count(condition: jax.Array) -> jax.Array:
    """How many entries are true; int32 of shape ()."""
    # columns in floats, exact to 2**24 rows: XLA is slowest to sum integers
    columns = sum_leading(jnp.atleast_1d(condition).astype(jnp.float32), 1)
    return jnp.sum(columns.astype(jnp.int32), dtype=jnp.int32)
