"""What a worker of an executor does: it holds shards of the lanes of a sweep and trains them on its own device.

A shard is to a worker what a device is to a sweep in one process: a buffer with places for lanes, and calls with
``chunk`` slots. What a worker computes depends on nothing but its job and the operations on a shard, so the same
operations give the same bits on any worker with the same kind of device.
"""

import threading
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.io import environment
from regopt._core.types import Tree
from regopt.data import Splits
from regopt.sweep.engine._compile import bytes_of
from regopt.sweep.engine._config import SweepConfig
from regopt.sweep.engine._group import Group, Held
from regopt.sweep.engine._memory import resting_room
from regopt.sweep.engine._prepare import prepare, recipes, share_data
from regopt.sweep.engine._program import lane_shapes
from regopt.sweep.engine._recipe import Constants, Recipe, Shared, as_number
from regopt.sweep.executors._messages import (
    Facts,
    Failure,
    Job,
    Lease,
    MappedFile,
    Operation,
    Prepared,
    Read,
    Start,
    Train,
    Trained,
    Write,
    concatenated,
    decoded,
    encoded,
)


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
        self._shared: Shared | None = None

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
                group.price,
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

    def run(self, lease: Lease) -> list[Tree] | Failure:
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
        assert self._shared is not None
        numbers = {name: as_number(column[indices[:1]]) for name, column in self._config.settings.numbers.items()}
        given = Constants(numbers, jnp.zeros(1, jnp.int32))
        return bytes_of(lane_shapes(recipe, self._shared.keys, given)) + bytes_of(given)


def _apply(group: Group, operation: Operation) -> Tree:
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
    joined = [concatenated(column)[: len(at)] for column in zip(*leaves, strict=True)]
    return structure.unflatten(joined)


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
