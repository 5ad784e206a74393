"""The arithmetic of a compiled segment, as XLA counts it, and the operations in it that are slow."""

import jax
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.engine._form import Abstract, Form
from regopt.sweep.engine._recipe import Recipe


def counted_flops(form: Form, segment: jax.stages.Compiled, chunk: int) -> float:
    """The FLOP of one segment of a lane; NaN where they are not counted.

    XLA counts the body of a loop once, so the other steps are added.

    Args:
        form: what the program is compiled for.
        segment: the program of a call.
        chunk: lanes of a device in it, or of the devices that share a lane.
    """
    recipe, frozen = form.recipe, _shapes(form.shared).frozen
    lane, own = _shapes(form.lane)

    def train(state, batch, key, own, frozen):
        with recipe.holding(frozen):
            return recipe.task.step(state, batch, key, recipe.setting(own))

    batch = _batch(recipe, _shapes(form.shared).data.train, _shapes(form.block))
    lowered = jax.jit(train).lower(lane.state, batch, jax.random.key(0), own, frozen)
    call, one_step = (
        float((count or {}).get("flops", np.nan)) for count in (segment.cost_analysis(), lowered.cost_analysis())
    )
    return call * form.layout.parts / chunk + (recipe.eval_every - 1) * one_step


def convolves(segment: jax.stages.Compiled) -> bool:
    """Whether a program has convolutions that XLA computes by its own operation."""
    return " convolution(" in (segment.as_text() or "")


def _shapes(form: Abstract) -> Tree:
    return form.structure.unflatten(form.leaves)


def _batch(recipe: Recipe, train: Tree, block: Tree) -> Tree:
    if block is not None:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), block)
    size = recipe.batch_size
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size or len(x), *x.shape[1:]), x.dtype), train)
