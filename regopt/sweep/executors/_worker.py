"""What a worker of an executor does: it holds shards of the lanes of a sweep and trains them on its own device.

A shard is to a worker what a device is to a sweep in one process: a buffer with places for lanes, and calls with
``chunk`` slots. What a worker computes depends on nothing but its job and the operations on a shard, so the same
operations give the same bits on any worker with the same kind of device.
"""

import mmap
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.io import environment
from regopt._core.types import Tree
from regopt.data import Splits
from regopt.sweep.engine._compile import Mapped, bytes_of
from regopt.sweep.engine._config import SweepConfig
from regopt.sweep.engine._group import Group, Held, as_number
from regopt.sweep.engine._memory import resting_room
from regopt.sweep.engine._prepare import prepare, recipes, share_data
from regopt.sweep.engine._program import lane_shapes
from regopt.sweep.engine._recipe import Constants, Recipe


class KeyArray(NamedTuple):
    """An array of random keys on its way to another process."""

    implementation: str
    data: np.ndarray


class MappedFile:
    """A memory-mapped array on its way to another process, which must see the same file.

    Args:
        array: the whole of what is mapped.
    """

    def __init__(self, array: np.memmap):
        self._file, self._offset = str(array.filename), array.offset
        self._shape, self._dtype = array.shape, array.dtype

    def read(self) -> np.memmap:
        """The array, of which only what is used is read."""
        return np.memmap(self._file, self._dtype, "r", self._offset, self._shape)


class Job(NamedTuple):
    """What a worker needs in order to build the programs of a sweep, besides its data."""

    token: str  # a worker keeps what it has built for a token
    arguments: Mapping[str, Any]  # of ``SweepConfig``
    shards: int  # of the sweep
    workers: int  # that hold them at the start
    capacities: tuple[int, ...] | None  # places of a shard in each group; None for as many as are needed or fit
    choices: Mapping[str, Any] | None  # chunks and mappings as another worker has chosen them; None to choose


class Facts(NamedTuple):
    """What a worker tells about a compiled group."""

    capacity: int  # places of a shard
    chunk: int
    mapping: Mapped
    metrics: list[str]
    digests: dict[str, str]
    temporary_bytes: int
    trace_seconds: float
    compile_seconds: float


class Prepared(NamedTuple):
    """What a worker tells once its programs are compiled."""

    environment: dict[str, Any]  # versions, kind of device and options, as ``regopt._core.io.environment`` has them
    groups: list[Facts]


class Start(NamedTuple):
    """Operation: initialise lanes at places of a shard."""

    lanes: np.ndarray  # positions in the group
    places: np.ndarray


class Train(NamedTuple):
    """Operation: train one segment of lanes in one call; gives their metrics and marks."""

    lanes: np.ndarray
    slots: np.ndarray  # of the call, < chunk
    first_step: int


class Write(NamedTuple):
    """Operation: put states and constants of lanes at places of a shard."""

    lanes: np.ndarray
    places: np.ndarray
    entries: Tree  # a pair of Lane and Constants, each leaf [lanes, ...]


class Read(NamedTuple):
    """Operation: give states and constants, a pair of Lane and Constants with leaves [lanes, ...]."""

    lanes: np.ndarray


Operation: TypeAlias = Start | Train | Write | Read


class Lease(NamedTuple):
    """Operations on one shard of one group, in their order."""

    group: int
    shard: int
    operations: tuple[Operation, ...]


class Trained(NamedTuple):
    """What a call of a segment gives, lane by lane."""

    lanes: np.ndarray
    slots: np.ndarray
    outcome: Any  # the pair of metrics and marks, each leaf [lanes]


class Failure(NamedTuple):
    """An error of the task or of an argument, which another worker would meet as well."""

    error: Exception


class Worker:
    """The programs of a sweep and the shards that this process holds.

    Args:
        job: what to build.
        data: the examples of the sweep.
    """

    def __init__(self, job: Job, data: Splits):
        self._job = job
        self._data = jax.tree.map(lambda leaf: leaf.read() if isinstance(leaf, MappedFile) else leaf, data)
        self._groups: dict[int, list[Group]] = {}
        self._one_at_a_time = threading.Lock()
        self._config: SweepConfig
        self._capacities: tuple[int, ...]
        self._shared: Any = None

    def prepare(self) -> Prepared | Failure:
        """Compile the programs of all groups, so that later leases only run them."""
        try:
            groups = self._shard(0)
        except Exception as error:
            return Failure(error.with_traceback(None))
        facts = [
            Facts(
                group.capacity,
                group.chunk,
                group.mapping,
                list(group.metrics),
                dict(group.digests),
                group.temporary_bytes,
                group.trace_seconds,
                group.compile_seconds,
            )
            for group in groups
        ]
        return Prepared(environment(groups[0].used), facts)

    def run(self, lease: Lease) -> list[Any] | Failure:
        """Run the operations of a lease; gives what each of them gives."""
        try:
            with self._one_at_a_time:
                group = self._shard(lease.shard)[lease.group]
                return [_apply(group, operation) for operation in lease.operations]
        except Exception as error:
            return Failure(error.with_traceback(None))

    def _shard(self, shard: int) -> list[Group]:
        """The groups of a shard, which share their programs with those of the other shards."""
        if self._shared is None:
            key = decoded(self._job.arguments["key"])
            arguments = {**self._job.arguments, "key": key, "devices": jax.local_devices()[:1]}
            if self._job.choices is not None:
                arguments |= {"mapping": "measured", "chunk": None}  # as they were measured elsewhere
            self._config = SweepConfig(data=self._data, **arguments)
            self._shared = share_data(self._config)
            self._capacities = self._job.capacities or self._fitting()
        if shard not in self._groups:
            runner = prepare(self._config, self._shared, stored=self._job.choices, capacities=self._capacities)
            for group in runner.groups:
                group.clear()
                streams = len(group.indices) > self._job.shards * group.capacity
                group.held.places.packed = self._config.scheduler is not None or streams
            self._groups[shard] = runner.groups
        return self._groups[shard]

    def _fitting(self) -> tuple[int, ...]:
        """The places of a shard in each group, as many as are needed, or as a worker's memory has room for."""
        config, job = self._config, self._job
        room = resting_room(list(config.devices or ())) * job.workers / job.shards
        found = []
        for recipe, indices in recipes(config, config.settings):
            held = len(indices) if config.slots is None else min(config.slots, len(indices))
            needed = -(-held // job.shards)
            if config.slots is None:
                share = len(indices) / len(config.settings)
                needed = max(min(needed, int(share * room / self._lane_bytes(recipe, indices))), 1)
            found.append(needed)
        return tuple(found)

    def _lane_bytes(self, recipe: Recipe, indices: np.ndarray) -> int:
        numbers = {name: as_number(column[indices[:1]]) for name, column in self._config.settings.numbers.items()}
        given = Constants(numbers, jnp.zeros(1, jnp.int32))
        return bytes_of(lane_shapes(recipe, self._shared.keys, given)) + bytes_of(given)


def _apply(group: Group, operation: Operation) -> Any:
    """One operation on the lanes of a shard."""
    places = group.held.places
    match operation:
        case Start(lanes, at):
            _place(group, lanes, at)
            group.start(lanes)
            return None
        case Train(lanes, slots, first_step):
            reports = list(group.train(lanes, first_step, lambda: False, slots))
            return [Trained(*report) for report in reports]
        case Write(lanes, at, entries):
            _place(group, lanes, at)
            group.held = _written(group, at, decoded(entries))
            return None
        case Read(lanes):
            return encoded(_read(group, places.place[lanes]))


def _place(group: Group, lanes: np.ndarray, at: np.ndarray) -> None:
    """Take lanes to be at these places of the shard, and no others."""
    places = group.held.places
    places.place[np.isin(places.place, at)] = -1
    places.device[lanes], places.place[lanes] = 0, at


def _written(group: Group, at: np.ndarray, entries: Tree) -> Held:
    """What the group holds with entries put at some places, ``chunk`` at a time so that one program is enough."""
    held = group.held
    buffer, constants = held.buffer, held.constants
    for ids, some in _in_chunks(group, at, entries):
        buffer, constants = _put((buffer, constants), ids, some)
    return Held(buffer, constants, held.places)


def _read(group: Group, at: np.ndarray) -> Tree:
    held = group.held
    parts = []
    for ids, _ in _in_chunks(group, at, None):
        parts.append(_taken((held.buffer, held.constants), ids))
    leaves = [jax.tree.leaves(part) for part in parts]
    structure = jax.tree.structure(parts[0])
    joined = [_joined(column)[: len(at)] for column in zip(*leaves, strict=True)]
    return structure.unflatten(joined)


def _joined(parts: Sequence[jax.Array]) -> Any:
    if is_key(parts[0]):
        return jnp.concatenate(parts)
    return np.concatenate([np.asarray(part) for part in parts])


def _in_chunks(group: Group, at: np.ndarray, entries: Tree) -> Iterator[tuple[np.ndarray, Tree]]:
    """The places in pieces of one length, the last with padding that is dropped, and the entries for each piece."""
    for begin in range(0, len(at), group.chunk):
        ids = np.full(group.chunk, group.capacity, np.int32)
        some = slice(begin, begin + group.chunk)
        ids[: len(at[some])] = at[some]
        rows = np.resize(np.arange(begin, min(begin + group.chunk, len(at))), group.chunk)
        yield ids, jax.tree.map(lambda x, rows=rows: x[rows], entries)


@jax.jit
def _taken(whole: Tree, ids: jax.Array) -> Tree:
    return jax.tree.map(lambda x: x.at[ids].get(mode="clip"), whole)


def _put_entries(whole: Tree, ids: jax.Array, entries: Tree) -> Tree:
    return jax.tree.map(lambda all, some: all.at[ids].set(some, mode="drop"), whole, entries)


_put = jax.jit(_put_entries, donate_argnums=0)


def portable(data: Splits) -> Splits:
    """The data with NumPy arrays and ``MappedFile`` in place of arrays; what streams otherwise is sent as it is."""

    def send(leaf: Any) -> Any:
        if isinstance(leaf, np.memmap) and isinstance(leaf.base, mmap.mmap) and leaf.flags.c_contiguous:
            return MappedFile(leaf)
        return np.asarray(leaf) if isinstance(leaf, jax.Array | np.ndarray) else leaf

    return jax.tree.map(send, data)


def encoded(tree: Tree) -> Tree:
    """The tree with NumPy arrays and ``KeyArray`` in place of arrays on devices."""

    def encode(x: Any) -> Any:
        if isinstance(x, jax.Array) and is_key(x):
            return KeyArray(str(jax.random.key_impl(x)), np.asarray(jax.random.key_data(x)))
        return np.asarray(x) if isinstance(x, jax.Array) else x

    return jax.tree.map(encode, tree)


def decoded(tree: Tree) -> Tree:
    """The inverse of ``encoded``, but for NumPy arrays, which stay."""

    def decode(x: Any) -> Any:
        if isinstance(x, KeyArray):
            return jax.random.wrap_key_data(jnp.asarray(x.data), impl=x.implementation)
        return x

    return jax.tree.map(decode, tree, is_leaf=lambda x: isinstance(x, KeyArray))


def is_key(x: Any) -> bool:
    """Whether an array, or a shape of one, holds random keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
