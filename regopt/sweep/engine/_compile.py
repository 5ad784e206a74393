"""The programs of a group: compiled once, at the chunk asked for or at one that fits."""

import dataclasses
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from regopt._core.types import Device, Tree
from regopt.sweep.checkpoint import environment
from regopt.sweep.engine._memory import fit_chunk
from regopt.sweep.engine._program import (
    LANES,
    Constants,
    Each,
    Lane,
    Recipe,
    Shared,
    build_predict,
    build_segment,
    build_start,
    decomposes_batches,
    one_by_one,
)


class Programs(NamedTuple):
    """What a group runs."""

    chunk: int
    segment: Any
    start: Any
    predict: Any
    digests: dict[str, str]  # SHA-256 of segment and start, before XLA compiled them


_COMPILED: OrderedDict[tuple[Any, ...], Programs] = OrderedDict()


@dataclasses.dataclass
class Compiler:
    """Makes a group's programs, or finds them where they were made before.

    Args:
        recipe: how its lanes train.
        devices: what they run on.
        shared: what all lanes read.
        shapes: of a lane and of its constants.
        capacity: lanes that lie on a device.
        share: of the sweep's settings, those of this group.
    """

    recipe: Recipe
    devices: list[Device]
    shared: Shared
    shapes: tuple[Lane, Constants]
    capacity: int
    share: float
    trace_seconds: float = 0.0
    compile_seconds: float = 0.0

    def programs(self, chunk: int | None) -> Programs:
        """Those for so many lanes at once, None for as many as fit; made but once, unless 32 others have been since."""
        name = self._name(chunk)
        try:
            hash(name)
        except TypeError:  # a static value or a patience that has no hash
            return self._compile(chunk)
        if name not in _COMPILED:
            _COMPILED[name] = self._compile(chunk)
        _COMPILED.move_to_end(name)
        while len(_COMPILED) > 32:
            _COMPILED.popitem(last=False)
        return _COMPILED[name]

    def _name(self, chunk: int | None) -> tuple[Any, ...]:
        """Two groups of one name have the same programs."""
        static = tuple((name, type(value), value) for name, value in sorted(self.recipe.static.items()))
        recipe = dataclasses.replace(self.recipe, static=static)  # type: ignore  # True is another value than 1
        leaves, form = jax.tree.flatten((self.shared, self.shapes))
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in map(_as_array, leaves))
        options = tuple(environment(self.devices)["options"].items())
        return recipe, tuple(self.devices), self.capacity, chunk, self.share, form, shapes, options

    def _compile(self, chunk: int | None) -> Programs:
        """Compile the programs, at the chunk asked for or at one that fits cache and memory."""
        spread, same = spread_over(self.devices), once_on(self.devices)

        def many(size):
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape), x.dtype, sharding=spread), self.shapes)

        buffer, constants = many(len(self.devices) * self.capacity)

        def ids(lanes):
            return jax.ShapeDtypeStruct((len(self.devices) * lanes,), jnp.int32, sharding=spread)

        def compile_at(lanes: int):
            step = jax.ShapeDtypeStruct((), jnp.int32, sharding=same)
            made[lanes] = self._timed(build_segment, buffer, constants, ids(lanes), step, self.shared)
            return made[lanes][0]

        made: dict[int, Any] = {}
        lane_bytes = bytes_of(self.shapes)
        if chunk is None:
            chunk, program = fit_chunk(compile_at, self.capacity, lane_bytes, self.devices[0], self._taken(lane_bytes))
        else:
            chunk = min(chunk, self.capacity)
            program = compile_at(chunk)
        given = many(len(self.devices) * chunk)[1]
        _, of_segment, each = made[chunk]
        start, of_start, _ = self._timed(build_start, buffer, constants, ids(chunk), given, self.shared.keys)
        predict = build_predict(self.recipe, mesh_of(self.devices), each)
        return Programs(chunk, program, start, predict, {"segment": of_segment, "start": of_start})

    def _taken(self, lane_bytes: int) -> float:
        """Bytes of a device for what lies beside this group's lanes: the data, and other groups as large as this."""
        return bytes_of(self.shared) + self.capacity * lane_bytes * (1 / self.share - 1)

    def _timed(self, build: Callable[..., Any], *arguments: Any) -> tuple[Any, str, Each]:
        """Compile ahead of time, adding to the seconds that tracing and XLA have taken.

        Returns:
            The program, the SHA-256 of what was compiled, and how its lanes run.
        """
        began, mesh = time.perf_counter(), mesh_of(self.devices)
        each: Each = jax.vmap
        lowered = build(self.recipe, mesh).lower(*arguments)
        text = lowered.as_text()
        if decomposes_batches(text):
            each = one_by_one
            lowered = build(self.recipe, mesh, each).lower(*arguments)
            text = lowered.as_text()
        traced = time.perf_counter()
        compiled = lowered.compile()
        self.trace_seconds += traced - began
        self.compile_seconds += time.perf_counter() - traced
        return compiled, hashlib.sha256(text.encode()).hexdigest(), each


def mesh_of(devices: list[Device]) -> Mesh:
    """The devices in a row."""
    return Mesh(np.array(devices), (LANES,))


def spread_over(devices: list[Device]) -> NamedSharding:
    """The first axis over the devices."""
    return NamedSharding(mesh_of(devices), PartitionSpec(LANES))


def once_on(devices: list[Device]) -> NamedSharding:
    """The whole on each device."""
    return NamedSharding(mesh_of(devices), PartitionSpec())


def bytes_of(tree: Tree) -> int:
    """Bytes of all arrays of a tree, or of their shapes."""
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in map(_as_array, jax.tree.leaves(tree)))


def _as_array(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
