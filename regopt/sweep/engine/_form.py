"""The form of a group: what its programs are compiled for, and the shapes of their arguments."""

import dataclasses
from typing import Literal, NamedTuple, TypeAlias

import jax
from jax.sharding import NamedSharding

from regopt._core.types import Device, PyTreeDef, Tree
from regopt.sweep.engine._recipe import Recipe

Mapped: TypeAlias = Literal["vmap", "map"]


class Abstract(NamedTuple):
    """The shapes and dtypes of a tree of arrays, hashable."""

    structure: PyTreeDef
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    def tree(self, sharding: NamedSharding, *leading: int) -> Tree:
        """The tree of shapes on devices, with leading axes put before them."""
        return self.structure.unflatten(
            jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype, sharding=sharding) for leaf in self.leaves
        )


def abstract(tree: Tree) -> Abstract:
    """The shapes of a tree of arrays, or of shapes."""
    leaves, structure = jax.tree.flatten(tree)
    return Abstract(structure, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves))


@dataclasses.dataclass(frozen=True)
class Form:
    """The form that a group's programs are compiled for: equal forms have the same programs.

    Attributes:
        recipe: the recipe by which the lanes train.
        devices: what they run on.
        shared: shapes of what all lanes read.
        block: shapes of the batches of a segment, where the data stream; no leaves elsewhere.
        lane: shapes of a lane and of its constants.
        capacity: lanes that lie on a device.
        chunk: lanes of a device in one call; None measures what fits.
        mapping: how they run: "vmap" all at once, "map" one after the other; None chooses by the program.
        share: of the sweep's settings, those of this group: so much of the memory is for it.
        batch: shapes of the first validation batch, where they stream; None elsewhere.
    """

    recipe: Recipe
    devices: tuple[Device, ...]
    shared: Abstract
    block: Abstract
    lane: Abstract
    capacity: int
    chunk: int | None
    mapping: Mapped | None
    share: float
    batch: Abstract | None = None
