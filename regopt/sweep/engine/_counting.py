"""The arithmetic of a compiled segment, as XLA counts it."""

import jax
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.engine._recipe import Constants, Lane, Recipe, Shared


def counted_flops(
    recipe: Recipe, lane: Lane, own: Constants, shared: Shared, feed: Tree, segment: jax.stages.Compiled, chunk: float
) -> float:
    """The FLOP of one segment of a lane; NaN where they are not counted.

    XLA counts the body of a loop once, so the other steps are added.

    Args:
        recipe: the recipe by which the lane trains.
        lane: the form of the lane.
        own: the form of its constants.
        shared: what all lanes read.
        feed: the form of a block of batches, where the data stream, else None.
        segment: the program of a call.
        chunk: lanes of a device in it, a fraction where a lane is divided.
    """

    def train(state, batch, key, own, frozen):
        with recipe.holding(frozen):
            return recipe.task.step(state, batch, key, recipe.setting(own))

    batch = _batch(recipe, shared, feed)
    lowered = jax.jit(train).lower(lane.state, batch, jax.random.key(0), own, shared.frozen)
    call, one_step = (
        float((count or {}).get("flops", np.nan)) for count in (segment.cost_analysis(), lowered.cost_analysis())
    )
    return call / chunk + (recipe.eval_every - 1) * one_step


def _batch(recipe: Recipe, shared: Shared, feed: Tree) -> Tree:
    if feed is not None:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), feed)
    size = recipe.batch_size
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size or len(x), *x.shape[1:]), x.dtype), shared.data.train)
