"""A proximal step: the optimizer's step followed by the penalty's prox, in the metric of that step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import at_count
from regopt._core.types import NO_PROX, Number, NumberOrSchedule, Penalty, Tree
from regopt.regularization._metric import check_metric, check_moves, count_true, moved, steps_of


class ProximalState(NamedTuple):
    """State of ``regularize(..., how="proximal")``: the state of the wrapped optimizer, and a report."""

    inner: Tree
    count: Number  # shape (), int32: updates so far
    zeros: Number  # shape (), int32: penalised parameters that are exactly 0 after the last step


def proximal(
    optimizer: optax.GradientTransformation, penalty: Penalty, learning_rate: NumberOrSchedule
) -> optax.GradientTransformationExtraArgs:
    """The optimizer's step followed by the penalty's prox in the metric of that step; see ``regularize``."""
    optimizer = optax.with_extra_args_support(optimizer)
    if not penalty.has_prox:
        raise ValueError(NO_PROX)

    def init(params):
        inner = optimizer.init(params)
        check_moves(inner, "proximal")
        check_metric(inner)
        return ProximalState(inner, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("a proximal step needs the parameters: call update(grads, state, params)")
        updates, inner = optimizer.update(updates, state.inner, params, **extra_args)
        steps = steps_of(at_count(learning_rate, state.count), params, inner)
        stepped = trees.lift_wide(jnp.add, params, updates)
        updates, inner = moved(params, updates, inner, stepped, penalty.prox(stepped, steps))
        zeros = _zeros(params, updates, penalty)
        return updates, ProximalState(inner, optax.safe_increment(state.count), zeros)

    return optax.GradientTransformationExtraArgs(init, update)


def _zeros(params: Tree, updates: Tree, penalty: Penalty) -> jax.Array:
    """The number of penalised parameters that are exactly 0 after the updates."""
    after = optax.apply_updates(params, updates)
    masks = jax.tree.leaves(penalty.mask(params))
    counts = [jnp.where(on, count_true(w == 0), 0) for w, on in zip(jax.tree.leaves(after), masks, strict=True)]
    return jnp.asarray(sum(counts), jnp.int32)
