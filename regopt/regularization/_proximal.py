"""A proximal step: the optimizer's step followed by the penalty's prox, in the metric of that step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.messages import one_line
from regopt._core.transformation import transformation
from regopt._core.types import NO_PROX, Number, Penalty, Tree
from regopt.regularization import _metric as metric
from regopt.regularization._reading import starts


class ProximalState(NamedTuple):
    """State of ``regularize(..., how="proximal")``: the state of the wrapped optimizer, and a report."""

    inner: Tree
    count: Number  # shape (), int32: updates so far
    zeros: Number  # shape (), int32: penalised parameters that are exactly 0 after the last step
    responses: list[jax.Array]  # what the optimizer's averages of gradients would be of ones; shape () where uniform

    ends_step = True  # see _metric.py


def proximal(optimizer: optax.GradientTransformation, penalty: Penalty) -> optax.GradientTransformationExtraArgs:
    """The optimizer's step followed by the penalty's prox in the metric of that step; see ``regularize``."""
    optimizer = optax.with_extra_args_support(optimizer)
    if not penalty.has_prox:
        raise ValueError(NO_PROX)

    def init(params):
        inner = optimizer.init(params)
        found = metric.read(optimizer, params, inner, "proximal")
        steps = [  # on a mesh with the sharding of the leaf
            jnp.float32(1) if value.uniform else jnp.ones_like(w, jnp.float32)
            for value, w in zip(found.updates, jax.tree.leaves(params), strict=True)
        ]
        first = penalty.now(jnp.zeros((), jnp.int32))
        try:
            jax.eval_shape(first.prox, params, jax.tree.unflatten(jax.tree.structure(params), steps))  # may refuse them
        except TypeError as error:
            raise ValueError(
                f"the prox of the penalty fails with a step for each leaf, {one_line(str(error))}: "
                "jax.tree.map(rule, params, jax.tree.broadcast(step, params)) takes one step and a tree"
            ) from error
        return ProximalState(inner, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), starts(found, inner))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("a proximal step needs the parameters: call update(grads, state, params)")
        taken = metric.step(optimizer, updates, state.inner, params, state.responses, extra_args, state.count)
        stepped = trees.lift_wide(jnp.add, params, taken.updates)
        targets = metric.only_trained(taken.trained, penalty.now(state.count).prox(stepped, taken.steps), stepped)
        updates, inner = metric.moved(params, taken.updates, taken.state, stepped, targets, rides=taken.rides)
        zeros = _zeros(params, updates, penalty)
        return updates, ProximalState(inner, optax.safe_increment(state.count), zeros, taken.responses)

    return transformation(init, update, ProximalState)


def _zeros(params: Tree, updates: Tree, penalty: Penalty) -> jax.Array:
    """The number of penalised parameters that are exactly 0 after the updates."""
    after = optax.apply_updates(params, updates)
    masks = jax.tree.leaves(penalty.mask(params))
    counts = [jnp.where(on, metric.count_true(w == 0), 0) for w, on in zip(jax.tree.leaves(after), masks, strict=True)]
    return jnp.asarray(sum(counts), jnp.int32)
