"""The request to compile for a device that this machine lacks, and the answer; both travel between processes.

A request holds shapes in place of arrays, so that it is small whatever the data are.
"""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec

from regopt._core.keys import split_key
from regopt._core.types import Device, Tree
from regopt.sweep.accelerators._cost import Cost, cost_of
from regopt.sweep.accelerators._targets import Target
from regopt.sweep.engine._compile import Programs, compile_programs
from regopt.sweep.engine._config import SweepConfig
from regopt.sweep.engine._devices import bytes_of
from regopt.sweep.engine._layout import arranged, sizes_of
from regopt.sweep.engine._memory import memory_limit, resting_room
from regopt.sweep.engine._prepare import recipes
from regopt.sweep.engine._program import entry_of, lane_shapes
from regopt.sweep.engine._recipe import Constants, Form, Mapped, Recipe, Rest, Shared, constants_of, form_of
from regopt.sweep.engine._work import products

OPTION = "jax_default_matmul_precision"
# values that let a device round the operands
FAST = (None, "default", "fastest", "bfloat16", "tensorfloat32")


class Request(NamedTuple):
    """A group of settings to compile the programs of."""

    recipe: Recipe
    settings: int
    share: float  # the fraction of the sweep's settings that are in this group
    shared: Shared  # with shapes in place of arrays
    block: Tree  # shapes of the batches of a segment, where the data stream
    constants: Constants  # shapes of one setting, with a leading axis
    slots: int | None
    chunk: int | None
    mapping: Mapped | None
    mesh: dict[str, int] | None  # sizes by axis
    partition: dict[str, PartitionSpec] | None
    rest: Rest


class Answer(NamedTuple):
    """The memory and the cost that the compiled programs of a group show."""

    held: int
    chunk: int
    mapping: Mapped
    fits: int  # lanes that could train at the same time on all devices
    lane_bytes: int
    device_bytes: int  # of these, the bytes on one device
    temporary_bytes: int
    compile_seconds: float
    cost: Cost


def requests(config: SweepConfig) -> list[Request]:
    """The groups of a sweep, with shapes in place of arrays."""
    settings, frozen = config.settings, getattr(config.task, "frozen", None)
    block = None
    if config.stream is not None:
        first = config.stream.sample()
        block = jax.tree.map(lambda x: jax.ShapeDtypeStruct((config.eval_every, *x.shape[1:]), x.dtype), first)
    assert config.key is not None
    resamples = None if config.resamples is None else np.asarray(config.resamples)
    shared = _shapes(Shared(config.resting, split_key(config.key), resamples, config.held_out))
    found = []
    for recipe, indices in recipes(config, settings):
        given, own = constants_of(settings.numbers, indices[:1]), shared
        if frozen is not None:
            first = {name: number[0] for name, number in given.numbers.items()}
            own = shared._replace(frozen=jax.eval_shape(partial(frozen.values, recipe.static_values | first)))
        mapping = None if config.mapping == "measured" else config.mapping
        share = len(indices) / len(settings)
        sizes = len(indices), share
        mesh = None if config.mesh is None else sizes_of(config.mesh)
        partition = None if config.partition is None else dict(config.partition)
        how = config.slots, config.chunk, mapping, mesh, partition, config.rest
        found.append(Request(recipe, *sizes, own, block, _shapes(given), *how))
    return found


def compiled(request: Request, devices: tuple[Device, ...]) -> tuple[Form, Programs]:
    """The programs of a group, compiled for devices."""
    form = form_of(
        request.recipe,
        arranged(devices, request.mesh, request.partition),
        request.shared,
        request.block,
        lane_shapes(request.recipe, request.shared.keys, request.constants),
        settings=request.settings,
        slots=request.slots,
        mapping=request.mapping,
        chunk=request.chunk,
        share=request.share,
        rest=request.rest,
    )
    return form, compile_programs(form)


def answer(request: Request, target: Target, devices: tuple[Device, ...]) -> Answer:
    """Compile the programs of a group and read them.

    Args:
        request: the group to compile.
        target: the description of the devices.
        devices: the devices to compile for.

    Returns:
        The memory and the cost of its programs.
    """
    form, programs = compiled(request, devices)
    temporary, rows = programs.temporary_bytes, form.layout.rows
    in_turn = programs.mapping == "map"
    cost = cost_of(
        programs.segment,
        _step_flops(request, 1 if in_turn else programs.chunk) / form.layout.parts,
        request.recipe.eval_every,
        target.speed,
        _operands(target, request.recipe.default_matmul_precision),
        inner=in_turn,
    )
    shared = form.layout.bytes_on_device(form.shared.leaves, form.shared.specs)
    room = _room(devices) - shared - (temporary if in_turn else 0)
    fits = int(room / (form.lane_bytes + (0 if in_turn else temporary / programs.chunk)))
    return Answer(
        min(form.capacity * rows, request.settings),
        programs.chunk,
        programs.mapping,
        max(fits, 0) * rows,
        bytes_of(form.lane.leaves),
        form.lane_bytes,
        temporary,
        programs.trace_seconds + programs.compile_seconds,
        cost,
    )


def _step_flops(request: Request, lanes: int) -> float:
    """FLOP of the matrix products of one step of ``lanes`` lanes that train on the same batch."""
    recipe = request.recipe
    lane, constants = lane_shapes(recipe, request.shared.keys, request.constants)
    batch = request.block if request.block is not None else request.shared.data.train
    size = recipe.batch_size
    if request.block is not None:
        batch = entry_of(batch)
    elif size is not None:
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), batch)

    def train(state, constants, batch, key, frozen):
        with recipe.holding(frozen):
            return jax.vmap(lambda state, own: recipe.task.step(state, batch, key, recipe.setting(own)))(
                state, constants
            )

    many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((lanes, *x.shape), x.dtype), (lane.state, constants))
    return products(jax.make_jaxpr(train)(*many, batch, jax.random.key(0), request.shared.frozen).jaxpr).flops


def _operands(target: Target, asked: str | None) -> str:
    """The precision of the operands of matrix products: the one asked for, or that of JAX's configuration."""
    chosen = getattr(jax.config, OPTION) if asked is None else asked
    if chosen in FAST:
        return "bfloat16" if target.platform == "tpu" else "tensorfloat32"
    return "float32"


def _room(devices: tuple[Device, ...]) -> float:
    """Bytes of a device for lanes and their training."""
    if devices[0].platform == "cpu":
        return 2 * 0.8 * resting_room(list(devices)) / len(devices)
    return 0.8 * memory_limit(devices[0])


def _shapes(tree: Tree) -> Tree:
    """The shapes and dtypes that the arrays of a tree have in JAX."""

    def shape(x) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(np.shape(x), jax.dtypes.canonicalize_dtype(x.dtype, allow_extended_dtype=True))

    return jax.tree.map(shape, tree)
