"""What defines the training of a group: the trees of arrays of its lanes, its recipe, and the form of its programs.

The recipe says how each lane trains. The form adds the shapes and where they lie on the devices, and is all that the
programs are compiled from.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from regopt._core.keys import Keys
from regopt._core.numerics import as_float
from regopt._core.types import Mode, Number, PyTreeDef, Setting, Stopping, Task, Tree
from regopt.data import Splits
from regopt.sweep.engine._devices import LANES, bytes_of
from regopt.sweep.engine._layout import WHOLE, Layout
from regopt.sweep.engine._memory import host_room, lanes_at_rest, least_padded, resting_room
from regopt.sweep.engine._placement import Places
from regopt.training import early_stopping

Mapped: TypeAlias = Literal["vmap", "map"]
Rest: TypeAlias = Literal["device", "host"]


class Lane(NamedTuple):
    """Everything that a setting in training has; the buffer holds lanes with a leading axis."""

    state: Tree  # the task's own
    stopping: Tree  # early-stopping state, () without early stopping
    infinite: jax.Array  # shape (), int32: entries of the first state that were not finite, as a mask of -inf has


class Shared(NamedTuple):
    """The arrays that all lanes read, once on each device, whatever the number of groups."""

    data: Splits
    keys: Keys
    resamples: jax.typing.ArrayLike | None  # [replicas, examples], int32: rows of data.train; None trains on all of it
    held_out: jax.typing.ArrayLike | None = None  # [folds, examples], int32: the rows that each fold is evaluated on
    frozen: Tree = None  # parameters that are not trained, the same for all settings of a group


class Constants(NamedTuple):
    """The constants of a lane, which training never changes."""

    numbers: dict[str, jax.Array]  # the traced part of the setting
    index: jax.Array  # shape (), int32: which setting of the sweep this is


class Held(NamedTuple):
    """The arrays on the devices, and the places of the lanes in them."""

    buffer: Tree  # a Lane, each leaf [entries, ...]
    constants: Tree  # a Constants, each leaf [entries, ...]
    places: Places


class StaticValue(NamedTuple):
    """A static value of a group, with its type: True, 1 and 1.0 are equal and make different programs."""

    name: str
    kind: type
    value: object


def static_values(values: Setting) -> tuple[StaticValue, ...]:
    """The static part of a setting as a recipe has it, in the order of the names."""
    return tuple(StaticValue(name, type(value), value) for name, value in sorted(values.items()))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The recipe by which one group of settings trains; hashable where its static values and functions are."""

    task: Task
    static: tuple["StaticValue", ...]
    eval_every: int
    batch_size: int | None
    patience: Callable[[Setting], Number] | None
    monitor: str
    mode: Mode
    noise: Literal["shared", "per lane"]
    eval_batch_size: int | None = None
    default_matmul_precision: str | None = None
    apart: bool = False  # whether programs of their own evaluate after a segment, because validation data stream

    def multiplying(self) -> contextlib.AbstractContextManager[object]:
        """Trace matrix products in the precision that was asked for."""
        precision = self.default_matmul_precision
        return contextlib.nullcontext() if precision is None else jax.default_matmul_precision(precision)

    def holding(self, frozen: Tree) -> contextlib.AbstractContextManager[None]:
        """Give the task its frozen parameters while it is traced."""
        holder = getattr(self.task, "frozen", None)
        return contextlib.nullcontext() if holder is None else holder.bound(frozen)

    @property
    def static_values(self) -> Setting:
        """The static part of the setting, by name."""
        return {name: value for name, _, value in self.static}

    def setting(self, constants: Constants) -> Setting:
        """The dict that the task sees: traced numbers and static values."""
        return {**constants.numbers, **self.static_values}

    def kept(self, lane: Lane) -> Tree:
        """The state that the sweep returns: the best one with early stopping, else the last."""
        return lane.state if self.patience is None else lane.stopping.best_params

    def stopping(self, h: Setting) -> Stopping | None:
        """The setting's early stopping, counting in training steps; None where there is none."""
        if self.patience is None:
            return None
        patience = self.patience(h)
        if jnp.shape(patience):
            raise ValueError(f"patience must be one number for each setting, got shape {jnp.shape(patience)}")
        return early_stopping(patience, self.eval_every, mode=self.mode)


@dataclasses.dataclass(frozen=True)
class _Constant:
    """A patience that is the same for every setting; equal to another one of the same value and type."""

    value: Number
    kind: type

    def __call__(self, h: Setting) -> Number:
        del h
        return self.value


def of_setting(patience: Number | Callable[[Setting], Number] | None) -> Callable[[Setting], Number] | None:
    """The patience as a function of the setting; None stays None."""
    if patience is None or callable(patience):
        return patience
    return _Constant(patience, type(patience))


def parameters_of(lane: Lane) -> Tree:
    """The parameters of a lane: ``state.params``, or a state without such a field."""
    return getattr(lane.state, "params", lane.state)


def as_number(column: np.ndarray) -> jax.Array:
    """A column of numbers in the dtype that lanes have: int32 or the default float dtype."""
    is_integer = np.issubdtype(column.dtype, np.integer)
    return jnp.asarray(column, jnp.int32) if is_integer else as_float(column)


def constants_of(numbers: Mapping[str, np.ndarray], rows: np.ndarray) -> Constants:
    """The constants of the settings in these rows of the columns, each with a leading axis."""
    return Constants({name: as_number(column[rows]) for name, column in numbers.items()}, jnp.asarray(rows, jnp.int32))


class Abstract(NamedTuple):
    """The shapes and dtypes of a tree of arrays, and how each lies on the devices, hashable."""

    structure: PyTreeDef
    leaves: tuple[jax.ShapeDtypeStruct, ...]
    specs: tuple[PartitionSpec, ...]  # without the axis of the lanes

    @property
    def shapes(self) -> Tree:
        """The tree of shapes and dtypes alone."""
        return self.structure.unflatten(self.leaves)

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
    """The shapes of a tree of arrays, or of shapes, each whole on each device if there are no specs."""
    leaves, structure = jax.tree.flatten(tree)
    forms = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    return Abstract(structure, forms, (WHOLE,) * len(leaves) if specs is None else tuple(specs))


@dataclasses.dataclass(frozen=True)
class Form:
    """What a group's programs are compiled for: equal forms have the same programs.

    Attributes:
        recipe: how the lanes train.
        layout: the layout of the lanes on the devices.
        shared: shapes of what all lanes read.
        block: shapes of the batches of a segment, where the data stream; no leaves elsewhere.
        lane: shapes of a lane and of its constants.
        capacity: lanes that lie on a device.
        chunk: lanes of a device in one call; None measures what fits.
        mapping: how they run: "vmap" all at once, "map" one after the other; None chooses by the program.
        share: the group's share of the settings, and so of the memory; 1 where the chunk is given.
        rest: where the lanes lie that do not train.
        batch: shapes of the first validation batch, where they stream; None elsewhere.
        most: the largest number of lanes of a call, where a scheduler prunes most of them and the chunk is None.
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
    *,
    settings: int,
    slots: int | None,
    mapping: Mapped | None,
    chunk: int | None,
    share: float,
    rest: Rest = "device",
    batch: Tree = None,
    going: tuple[float, ...] = (),
) -> Form:
    """What the programs of a group are compiled for.

    Args:
        recipe: how the lanes train.
        layout: the layout of the lanes.
        shared: what all of them read, or its shapes.
        block: the batches of a segment, where the data stream, or their shapes.
        lane: shapes of a lane and of its constants.
        settings: number of lanes.
        slots: lanes that lie on the devices at the same time; None for all, or as many as fit.
        mapping: how they run; None chooses by the program.
        chunk: lanes of a device in one call; None measures what fits.
        share: the group's share of the settings, and so of the memory.
        rest: where the lanes lie that do not train.
        batch: the first validation batch, where they stream, or its shapes.
        going: the share of the lanes that trains each segment; empty where the scheduler does not tell.

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
