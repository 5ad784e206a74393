"""What the programs of a group are compiled for: shapes, and how they lie on the devices."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from regopt._core.types import PyTreeDef, Tree
from regopt.sweep.engine._devices import LANES, bytes_of
from regopt.sweep.engine._layout import WHOLE, Layout
from regopt.sweep.engine._memory import host_room, lanes_at_rest, least_padded, resting_room
from regopt.sweep.engine._recipe import Constants, Lane, Recipe, Shared, parameters_of

Mapped: TypeAlias = Literal["vmap", "map"]
Rest: TypeAlias = Literal["device", "host"]


class Abstract(NamedTuple):
    """The shapes and dtypes of a tree of arrays, and how each lies on the devices, hashable."""

    structure: PyTreeDef
    leaves: tuple[jax.ShapeDtypeStruct, ...]
    specs: tuple[PartitionSpec, ...]  # without the axis of the lanes

    def tree(self, mesh: Mesh, *lanes: int) -> Tree:
        """The tree of shapes on the devices, with a leading axis of ``lanes`` entries if a number is given."""
        axes = (LANES,) * len(lanes)
        return self.structure.unflatten(
            jax.ShapeDtypeStruct(
                (*lanes, *leaf.shape), leaf.dtype, sharding=NamedSharding(mesh, PartitionSpec(*axes, *spec))
            )
            for leaf, spec in zip(self.leaves, self.specs, strict=True)
        )

    def shardings(self, mesh: Mesh, *lanes: int) -> Tree:
        """The shardings of that tree."""
        return jax.tree.map(lambda x: x.sharding, self.tree(mesh, *lanes))


def abstract(tree: Tree, specs: Sequence[PartitionSpec] | None = None) -> Abstract:
    """The shapes of a tree of arrays, or of shapes, which lie whole on each device where there are no specs."""
    leaves, structure = jax.tree.flatten(tree)
    forms = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    return Abstract(structure, forms, (WHOLE,) * len(leaves) if specs is None else tuple(specs))


@dataclasses.dataclass(frozen=True)
class Form:
    """What a group's programs are compiled for: equal forms have the same programs.

    Attributes:
        recipe: how the lanes train.
        layout: of the lanes on the devices.
        shared: shapes of what all lanes read.
        block: shapes of the batches of a segment, where the data stream; no leaves elsewhere.
        lane: shapes of a lane and of its constants.
        capacity: lanes that lie on a device.
        chunk: lanes of a device in one call; None measures what fits.
        mapping: how they run: "vmap" all at once, "map" one after the other; None chooses by the program.
        share: of the sweep's settings, those of this group: so much of the memory is for it. 1 with a chunk.
        rest: where the lanes lie that do not train.
        batch: shapes of the first validation batch, where they stream; None elsewhere.
        most: lanes of a call, where a scheduler lets few of them train to the end and the chunk is None.
    """

    recipe: Recipe
    layout: Layout
    shared: Abstract
    block: Abstract
    lane: Abstract
    capacity: int
    chunk: int | None
    mapping: Mapped | None
    share: float
    rest: Rest = "device"
    batch: Abstract | None = None
    most: int | None = None

    def entries(self, chunk: int) -> int:
        """The number of lanes in the buffer of a program that trains ``chunk`` lanes, on each row of devices."""
        return self.capacity if self.rest == "device" else chunk

    @property
    def lane_bytes(self) -> int:
        """The bytes that a lane at rest takes on each of the devices that it lies on."""
        return self.layout.bytes_on_device(self.lane.leaves, self.lane.specs)

    @property
    def parts(self) -> Tree:
        """The specs of a lane; None where it lies on one device."""
        return self.lane.structure.unflatten(self.lane.specs)[0] if self.layout.parts > 1 else None


def form_of(
    recipe: Recipe,
    layout: Layout,
    shared: Shared,
    block: Tree,
    lane: tuple[Lane, Constants],
    settings: int,
    slots: int | None,
    chunk: int | None,
    mapping: Mapped | None,
    share: float,
    rest: Rest = "device",
    batch: Tree = None,
    going: tuple[float, ...] = (),
) -> Form:
    """What the programs of a group are compiled for.

    Args:
        recipe: how the lanes train.
        layout: of the lanes.
        shared: what all of them read, or its shapes.
        block: the batches of a segment, where the data stream, or their shapes.
        lane: shapes of a lane and of its constants.
        settings: number of lanes.
        slots: lanes that lie on the devices at the same time; None for all, or as many as fit.
        chunk: lanes of a device in one call; None measures what fits.
        mapping: how they run; None chooses by the program.
        share: of the sweep's settings, those of this group: so much of the memory is for it.
        rest: where the lanes lie that do not train.
        batch: the first validation batch, where they stream, or its shapes.
        going: of the lanes, the share that trains each segment, where a scheduler tells.

    Returns:
        The form.
    """
    lane_specs, frozen_specs = layout.specs(lane[0], parameters_of(lane[0]), shared.frozen)
    shared_specs = [*[WHOLE] * len(jax.tree.leaves(shared._replace(frozen=None))), *frozen_specs]
    form = abstract(lane, [*lane_specs, *[WHOLE] * len(jax.tree.leaves(lane[1]))])
    on_device = layout.bytes_on_device(form.leaves, form.specs)
    lane_bytes, room = bytes_of(lane), host_room()
    if rest == "device":
        lane_bytes, room = on_device * layout.parts, resting_room(list(layout.devices))
    capacity = lanes_at_rest(settings, slots, lane_bytes, share * room, layout.rows)
    forms = abstract(shared, shared_specs), abstract(block), form
    first = None if batch is None else abstract(batch)
    most = None if chunk is not None else least_padded(capacity, on_device, layout.devices[0], going)
    share = share if chunk is None else 1.0  # only the search for a chunk asks for it
    return Form(recipe, layout, *forms, capacity, chunk, mapping, share, rest, first, most)
