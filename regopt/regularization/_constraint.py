"""A constraint: the optimizer's step and then a projection onto the set."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import at_count, check_schedulable
from regopt._core.transformation import transformation
from regopt._core.types import NO_PROJECTION, Number, Penalty, ScheduledNumber, Tree
from regopt.regularization._coupled import check_coupling
from regopt.regularization._metric import count_true, moved, only_trained, read


class ConstraintState(NamedTuple):
    """State of ``regularize(..., how="constraint")``: the state of the wrapped optimizer, and a report."""

    inner: Tree
    count: Number  # shape (), int32: updates so far
    active: Number  # shape (), int32: updates after which the projection moved a parameter

    ends_step = True  # see _metric.py


def constrained(
    optimizer: optax.GradientTransformation, project: Callable[[Tree, jax.Array], Tree]
) -> optax.GradientTransformationExtraArgs:
    """The optimizer's step followed by the projection; see ``regularize``."""
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params):
        inner = optimizer.init(params)
        count = jnp.zeros((), jnp.int32)
        found = read(optimizer, params, inner, "constraint", compares=True)
        check_coupling(found, lambda params: project(params, count), params)
        return ConstraintState(inner, count, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("a projection needs the parameters: call update(grads, state, params)")
        found = read(optimizer, params, state.inner, "constraint")
        updates, inner = optimizer.update(updates, state.inner, params, **extra_args)
        stepped = trees.lift_wide(jnp.add, params, updates)
        targets = only_trained(found.trained, project(stepped, state.count), stepped)
        pairs = zip(jax.tree.leaves(stepped), jax.tree.leaves(targets), strict=True)
        active = jnp.asarray(sum(count_true(a != b) for a, b in pairs if a is not b), jnp.int32) > 0
        # an inactive constraint changes nothing; the dependency on it also spares XLA a copy of the parameters
        updates, inner = trees.where(
            active, moved(params, updates, inner, stepped, targets, rides=found.rides), (updates, inner)
        )
        count = optax.safe_increment(state.count)
        return updates, ConstraintState(inner, count, jnp.where(active, state.active + 1, state.active))

    return transformation(init, update, ConstraintState)


def projection(
    penalty: Penalty | None, constraint: Callable[[Tree], Tree] | None, radius: ScheduledNumber | None
) -> Callable[[Tree, jax.Array], Tree]:
    """The projection at a count: that of ``constraint``, or that of the penalty onto its ball of this radius."""
    if constraint is not None and penalty is not None:
        raise ValueError('how="constraint" takes a penalty with a radius, or a projection as constraint, not both')
    if constraint is not None and radius is None:
        return lambda params, _: constraint(params)
    if constraint is not None or radius is None:
        raise ValueError(
            'how="constraint" needs either a radius, beside the penalty, or a projection as constraint, such as '
            'projections.projection_non_negative; penalties that are sets, such as box, take how="proximal"'
        )
    check_schedulable("radius", radius, "[0, inf)")
    if penalty is None or not penalty.has_projection:
        raise ValueError(NO_PROJECTION)
    return lambda params, count: penalty.now(count).project(params, at_count(radius, count))
