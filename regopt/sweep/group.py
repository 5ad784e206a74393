"""Settings that share a program: their lanes in one buffer, its compiled segment, and the calls that train them.

Lane i lives on device ``i % devices`` for good, in slot ``(i // devices) % chunk`` of every call, so its bits do
not depend on who trains beside it.
"""

import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from regopt.numerics import as_float
from regopt.sweep.program import LANES, Constants, Recipe, Shared, build_predict, build_segment, build_start
from regopt.types import Device, Tree

Report = tuple[np.ndarray, Any]  # lanes, and what a call found of each


class Group:
    """The lanes of one group of settings on their devices.

    Args:
        recipe: how they train.
        numbers: the traced columns, each ``[lanes]``.
        indices: which settings of the sweep the lanes are, ``[lanes]``.
        shared: what all lanes read; ``on_each`` puts it on the devices.
        devices: what to run on.
        chunk: lanes that a device trains at once; None measures what fits.
    """

    def __init__(
        self,
        recipe: Recipe,
        numbers: dict[str, np.ndarray],
        indices: np.ndarray,
        shared: Shared,
        devices: list[Device],
        chunk: int | None,
    ):
        self.indices = indices
        self.devices = len(devices)
        self.capacity = -(-len(indices) // self.devices)  # lanes of a device
        mesh = Mesh(np.array(devices), (LANES,))
        self._spread, self._same = NamedSharding(mesh, PartitionSpec(LANES)), _same(devices)
        given = {name: _as_number(column[self._layout()]) for name, column in numbers.items()}
        constants = Constants(given, jnp.asarray(indices[self._layout()], jnp.int32))
        self._constants = jax.device_put(constants, self._spread)
        self._shared = shared
        self.recipe, self._mesh = recipe, mesh
        self.buffer: Any = None
        self.metrics: list[str] = []
        self._placed: dict[bytes, jax.Array] = {}
        self._predict: Any = build_predict(recipe, mesh)
        self.trace_seconds = self.compile_seconds = 0.0
        self._compile(chunk, devices[0])

    def start(self) -> None:
        """Put every lane before its first step."""
        self.buffer = self._start(self._shared.keys, self._constants)

    def train(self, lanes: np.ndarray, first_step: int, halt: Callable[[], bool]) -> Iterator[Report]:
        """One segment for each of the lanes, chunk by chunk; the next chunk runs while one is reported.

        Args:
            lanes: which lanes, as positions in ``indices``.
            first_step: steps that they have done.
            halt: asked before each chunk; once it says so none is begun, and those begun are still reported.

        Yields:
            For each chunk its lanes and the pair of their metrics and marks, as NumPy arrays ``[lanes]``.
        """
        step = jax.device_put(np.int32(first_step), self._same)
        yield from _one_behind((owners, self._call(ids, step)) for ids, owners in self._calls(lanes) if not halt())

    def output(self, buffer: Any, inputs: Tree) -> jax.ShapeDtypeStruct:
        """The shape and dtype of what ``predict`` gives for one lane."""
        lanes = jax.ShapeDtypeStruct((self.devices * self.chunk,), jnp.int32, sharding=self._spread)
        outputs = self._predict.eval_shape(buffer, self._constants, lanes, inputs)
        if not hasattr(outputs, "shape"):
            raise ValueError(f"task.predict must return one array, got {jax.tree.structure(outputs)}")
        return jax.ShapeDtypeStruct(outputs.shape[1:], outputs.dtype)

    def predict(self, buffer: Any, lanes: np.ndarray, inputs: Tree) -> Iterator[Report]:
        """The task's outputs for ``inputs`` at the kept states of the lanes in a buffer, chunk by chunk.

        Args:
            buffer: of this group, after some training.
            lanes: which lanes, as positions in ``indices``.
            inputs: what the task predicts on, as ``on_each`` puts it on the devices.

        Yields:
            For each chunk its lanes and their outputs, ``[lanes, ...]``, as NumPy arrays.
        """
        yield from _one_behind(
            (owners, self._predict(buffer, self._constants, self._on_devices(ids), inputs))
            for ids, owners in self._calls(lanes)
        )

    def lane(self, buffer: Any, index: int) -> Any:
        """The entry of setting ``index`` in a buffer, with NumPy leaves."""
        lane = int(np.flatnonzero(self.indices == index)[0])
        at = lane % self.devices * self.capacity + lane // self.devices
        return jax.tree.map(
            lambda x: x[at] if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x[at]), buffer
        )

    def _layout(self) -> np.ndarray:
        """For each place of the buffer, device by device, its lane; the tail is padded with the last."""
        lanes = np.arange(self.devices * self.capacity).reshape(self.capacity, self.devices).T.ravel()
        return np.minimum(lanes, len(self.indices) - 1)

    def _calls(self, lanes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The ids of each call, device by device, and whose they are (-1 for padding); a lane keeps its slot."""
        device, local = lanes % self.devices, lanes // self.devices
        place = device * self.chunk + local % self.chunk
        order = np.argsort(place, kind="stable")
        first = np.searchsorted(place[order], place[order])
        turn = np.empty_like(order)
        turn[order] = np.arange(len(order)) - first
        for number in range(turn.max(initial=-1) + 1):
            now = turn == number
            ids = np.full(self.devices * self.chunk, self.capacity, np.int32)
            owners = np.full(self.devices * self.chunk, -1)
            ids[place[now]], owners[place[now]] = local[now], lanes[now]
            yield ids, owners

    def _call(self, ids: np.ndarray, step: jax.Array):
        self.buffer, *outcome = self._segment(self.buffer, self._constants, self._on_devices(ids), step, self._shared)
        return tuple(outcome)

    def _on_devices(self, ids: np.ndarray) -> jax.Array:
        name = ids.tobytes()
        if name not in self._placed:  # the same lanes come back segment after segment
            if len(self._placed) == 1024:
                self._placed.clear()
            self._placed[name] = jax.device_put(ids, self._spread)
        return self._placed[name]

    def _compile(self, chunk: int | None, device: Device) -> None:
        """Compile both programs, at the chunk asked for or at one that fits cache and memory."""
        keys = self._shared.keys
        whole = jax.eval_shape(build_start(self.recipe, self._mesh, 1), keys, self._constants)
        segment: Any = build_segment(self.recipe, self._mesh)
        buffer = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._spread), whole)
        lane_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(whole)) / len(self._layout())

        def compile_at(lanes: int):
            ids = jax.ShapeDtypeStruct((self.devices * lanes,), jnp.int32, sharding=self._spread)
            step = jax.ShapeDtypeStruct((), jnp.int32, sharding=self._same)
            program = self._timed(segment, buffer, self._constants, ids, step, self._shared)
            self.metrics = list(program.out_info[1])
            return program

        if chunk is not None:
            self.chunk = min(chunk, self.capacity)
            self._segment = compile_at(self.chunk)
        else:
            self.chunk, self._segment = fit_chunk(compile_at, self.capacity, lane_bytes, device)
        start = build_start(self.recipe, self._mesh, self.chunk)
        self._start = self._timed(start, keys, self._constants)
        self.temporary_bytes = _temporary_bytes(self._segment)

    def _timed(self, program: Any, *arguments: Any) -> Any:
        """Compile ahead of time, adding to the seconds that tracing and XLA have taken."""
        began = time.perf_counter()
        lowered = program.lower(*arguments)
        traced = time.perf_counter()
        compiled = lowered.compile()
        self.trace_seconds += traced - began
        self.compile_seconds += time.perf_counter() - traced
        return compiled


def on_each(devices: list[Device], tree: Tree) -> Tree:
    """The arrays of a tree, once on each device."""
    return jax.device_put(tree, _same(devices))


def fit_chunk(compile_at: Callable[[int], Any], capacity: int, lane_bytes: float, device: Device) -> tuple[int, Any]:
    """The number of lanes to train at once, and the program compiled for it.

    On a CPU 16 lanes for a core (32 of small ones), down to 8 where their temporaries would not stay in its share
    of the cache; elsewhere all of them, or as many as fit in the device's memory.

    Args:
        compile_at: compiles the program for a number of lanes.
        capacity: lanes of a device.
        lane_bytes: size of a lane at rest.
        device: the first of the devices, which are alike.

    Returns:
        The chunk and its program.
    """
    on_cpu = device.platform == "cpu"
    guess = _evenly(capacity, (32 if lane_bytes < 32 * 1024 else 16) if on_cpu else capacity)
    program = compile_at(guess)
    lane_needs = max(_temporary_bytes(program) / guess, 1)
    fits = int(_room(device, capacity * lane_bytes) / lane_needs)
    chunk = _evenly(capacity, max(fits, 8 if on_cpu else 1))
    return (guess, program) if chunk >= guess else (chunk, compile_at(chunk))


def _evenly(capacity: int, at_most: int) -> int:
    """The smallest chunk that needs no more calls than ``at_most`` would: a short tail is not padded far."""
    calls = -(-capacity // min(at_most, capacity))
    return -(-capacity // calls)


def _room(device: Device, resting_bytes: float) -> float:
    """Bytes for temporaries: half of a core's share of the last cache, or 80 % of the memory left."""
    if device.platform == "cpu":
        return cache_bytes() / jax.local_device_count("cpu") / 2
    statistics = device.memory_stats() or {}
    limit = statistics.get("bytes_limit", 8 * 2**30)
    return 0.8 * (limit - statistics.get("bytes_in_use", 0) - resting_bytes)


def cache_bytes(default: int = 32 * 2**20) -> int:
    """Size of the CPU's last-level cache, where the system tells it."""
    for level in (3, 2):
        size = pathlib.Path(f"/sys/devices/system/cpu/cpu0/cache/index{level}/size")
        if size.exists():
            return int(size.read_text().strip().rstrip("K")) * 1024
    return default


def _temporary_bytes(program: Any) -> int:
    analysis = program.memory_analysis()
    return analysis.temp_size_in_bytes if analysis is not None else 0


def _as_number(column: np.ndarray) -> jax.Array:
    is_integer = np.issubdtype(column.dtype, np.integer)
    return jnp.asarray(column, jnp.int32) if is_integer else as_float(column)


def _same(devices: list[Device]) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (LANES,)), PartitionSpec())


def _one_behind(launched: Iterable[tuple[np.ndarray, Any]]) -> Iterator[Report]:
    """What was launched, read for the lanes that are no padding, while the next call runs."""
    waiting = None
    for call in launched:
        if waiting is not None:
            yield _read(*waiting)
        waiting = call
    if waiting is not None:
        yield _read(*waiting)


def _read(owners: np.ndarray, outcome: Any) -> Report:
    real = owners >= 0
    return owners[real], jax.tree.map(lambda x: x[real], jax.device_get(outcome))
