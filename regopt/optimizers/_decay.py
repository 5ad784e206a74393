"""Weight decay as a link of a chain, between the direction of an optimizer and its learning rate."""

import jax
import optax

from regopt._core import trees
from regopt._core.numerics import check_range
from regopt._core.paths import NOT_NAMED
from regopt._core.transformation import transformation
from regopt._core.types import Mask, NumberOrSchedule, Tree


def add_decay(weight_decay: NumberOrSchedule, mask: Mask) -> optax.GradientTransformationExtraArgs:
    """``d + weight_decay * w`` in the leaves that the mask chooses, and d elsewhere.

    Args:
        weight_decay: strength of the decay, >= 0; a number, or numbers by layer. With a mapping from path patterns,
            a leaf that no pattern matches does not decay.
        mask: the leaves that decay.

    Returns:
        The transformation; its ``update`` requires ``params``.

    Raises:
        ValueError: a concrete strength is negative or NaN. ``init`` and ``update`` raise it where the strength or the
            mask does not fit the parameters.
    """
    check_range("weight_decay", weight_decay, "[0, inf)")

    def strengths(params: Tree) -> dict[int, Tree]:
        """The strengths of the leaves that decay, by place."""
        given = jax.tree.leaves(trees.by_leaf(weight_decay, params, "weight_decay", default=NOT_NAMED))
        chosen = jax.tree.leaves(trees.resolve_mask(mask, params))
        found = {
            place: each
            for place, (each, on) in enumerate(zip(given, chosen, strict=True))
            if on and each is not NOT_NAMED
        }
        weights = jax.tree.leaves(params)
        for place, each in found.items():
            trees.check_fits("weight_decay", each, weights[place])
        return found

    def init(params):
        strengths(params)
        return optax.EmptyState()

    def update(updates, state, params=None, **extra_args):
        del extra_args
        if params is None:
            raise ValueError("weight decay needs the parameters: call update(grads, state, params)")
        found, weights = strengths(params), jax.tree.leaves(params)
        directions, structure = jax.tree.flatten(updates)
        decayed = trees.lift(
            lambda d, w, decay: d + decay * w,
            [directions[place] for place in found],
            [weights[place] for place in found],
            numbers=(list(found.values()),),
        )
        for place, d in zip(found, decayed, strict=True):
            directions[place] = d
        return structure.unflatten(directions), state

    return transformation(init, update, optax.EmptyState)
