"""The worker of an executor, which holds shards of the lanes of a sweep and trains them on its own device.

A shard is to a worker what a device is to a sweep in one process: a buffer with places for lanes, and calls with
``chunk`` seats. What a worker computes depends on nothing but its job and the operations on a shard, so the same
operations give the same bits on any worker with the same kind of device.
"""

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import jax
import numpy as np

from regopt._core.io import JsonObject, environment
from regopt._core.types import Tree
from regopt.data import Splits
from regopt.sweep.engine._config import SweepConfig
from regopt.sweep.engine._devices import bytes_of
from regopt.sweep.engine._entries import on_host, rows_of
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._memory import resting_room
from regopt.sweep.engine._prepare import prepare, recipes, share_data
from regopt.sweep.engine._program import lane_shapes
from regopt.sweep.engine._recipe import Held, Recipe, Shared, constants_of
from regopt.sweep.executors._messages import (
    CACHE,
    NEVER,
    Facts,
    Failure,
    Job,
    Lease,
    Left,
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
    failure,
    pieces,
)

GRACE_SECONDS = 60.0


class Worker:
    """The programs of a sweep and the shards that this process holds.

    Args:
        job: the order to build programs.
        data: the examples of the sweep.
    """

    def __init__(self, job: Job, data: Splits):
        self._job = job
        if getattr(jax.config, CACHE[0]) is None:  # a worker in place of a lost one then compiles nothing anew
            for name, value in job.cache:
                jax.config.update(name, value)
        self._data = jax.tree.map(lambda leaf: leaf.read() if isinstance(leaf, MappedFile) else leaf, data)
        self._groups: dict[int, list[Group]] = {}
        self._ended: dict[int, list[np.ndarray]] = {}  # by shard: when lanes ended, by group and lane; see ``pieces``
        self._leaving = False
        self._failed: Failure | None = None  # of the device, which may have lost the lanes
        self._outdated: set[int] = set()  # shards whose lanes here are not those of the sweep
        self._one_at_a_time = threading.Lock()
        self._config: SweepConfig
        self._capacities: tuple[int, ...]
        self._shared: Shared | None = None

    def prepare(self) -> Prepared | Failure:
        """Compile the programs of all groups, so that later leases only run them."""
        try:
            return self.report(0)
        except Exception as error:
            return failure(error)

    def report(self, shard: int) -> Prepared:
        """The report on the programs, which are compiled for this shard unless they are known."""
        with self._one_at_a_time:
            groups = self._shard(shard)
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
        return Prepared(self.environment(), facts)

    def environment(self) -> JsonObject:
        """What the bits of this worker depend on."""
        return environment(jax.local_devices()[:1])

    def run(self, lease: Lease) -> list[Tree] | Failure | Left:
        """Run the operations of a lease, and return the answer of each."""
        try:
            with self._one_at_a_time:
                if self._failed is not None:
                    return self._failed
                groups = self._shard(lease.shard)
                if self._leaving:
                    return self._left(lease)
                group, ended = groups[lease.group], self._ended[lease.shard][lease.group]
                kind = self.environment()["device"]["kind"]
                return [_apply(group, ended, operation, kind) for operation in lease.operations]
        except jax.errors.JaxRuntimeError as error:
            self._failed = failure(error)
            return self._failed
        except Exception as error:
            return failure(error)

    def leave(self) -> None:
        """Finish the running lease; leases that follow are answered with the lanes, which no longer train."""
        self._leaving = True

    def _left(self, lease: Lease) -> Left:
        if any(isinstance(operation, Start | Write) for operation in lease.operations):
            self._outdated.add(lease.shard)
        bases = {}
        for number, (group, ended) in enumerate(zip(self._groups[lease.shard], self._ended[lease.shard], strict=True)):
            lanes = np.flatnonzero(group.held.places.place >= 0)
            if len(lanes) and lease.shard not in self._outdated:
                at = group.held.places.place[lanes]
                bases[number] = Write(lanes, at, encoded(_read(group, at)), ended[lanes])
        return Left(bases)

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
                group.hears_signals = False
            self._groups[shard] = runner.groups
            self._ended[shard] = [np.full(len(group.indices), NEVER) for group in runner.groups]
        return self._groups[shard]

    def _fitting(self) -> tuple[int, ...]:
        """The places of a shard in each group, as many as are needed or as a worker's memory has room for."""
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
        first = constants_of(self._config.settings.numbers, indices[:1])
        return bytes_of(lane_shapes(recipe, self._shared.keys, first))


class ActingWorker(Worker):
    """A worker that has a process of its own, and leaves when SIGTERM asks the process to end.

    It finishes the running lease, and answers those that follow with its lanes. The process ends at once at a second
    signal, and ``GRACE_SECONDS`` after the first one if it has not ended before.
    """

    def __init__(self, job: Job, data: Splits):
        super().__init__(job, data)
        signal.signal(signal.SIGTERM, self._asked_to_end)

    def _asked_to_end(self, number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        end = threading.Timer(GRACE_SECONDS, os._exit, (128 + number,))
        end.daemon = True
        end.start()
        self.leave()


def _apply(group: Group, ended: np.ndarray, operation: Operation, kind: str) -> Tree:
    """One operation on the lanes of a shard on a kind of device; ``ended`` is kept up to date."""
    places = group.held.places
    match operation:
        case Start(lanes, at):
            _place(group, lanes, at)
            ended[lanes] = NEVER
            group.start(lanes)
            return None
        case Train():
            return list(_trained(group, ended, operation, kind))
        case Write(lanes, at, entries, before):
            _place(group, lanes, at)
            ended[lanes] = NEVER if before is None else before
            group.held = _written(group, at, decoded(entries))
            return None
        case Read(lanes):
            return encoded(_read(group, places.place[lanes]))


def _trained(group: Group, ended: np.ndarray, train: Train, kind: str) -> Iterator[Trained]:
    if train.ended is not None:  # as the table says, whatever another kind of device makes of it
        lanes, segments = train.ended
        ended[lanes] = segments
    for segment, lanes, seats in pieces(train, group.held.places, ended):
        calls = list(group.advance(lanes, np.full(len(lanes), segment), segment + 1, lambda: False, seats))
        room, reports = sum(call[2] for call in calls), [call[3] for call in calls]
        owners, used, (metrics, marks) = jax.tree.map(lambda *leaves: np.concatenate(leaves), *reports)
        if train.ended is None:
            ended[owners[marks.ends]] = segment
        yield Trained(segment, owners, used, room, (metrics, marks), kind)


def _place(group: Group, lanes: np.ndarray, at: np.ndarray) -> None:
    """Record that these places of the shard have these lanes and no others."""
    places = group.held.places
    places.place[np.isin(places.place, at)] = -1
    places.device[lanes], places.place[lanes] = 0, at


def _written(group: Group, at: np.ndarray, entries: Tree) -> Held:
    """The arrays of the group with entries put at some places, ``chunk`` at a time so that one program is enough."""
    held = group.held
    buffer, constants = held.buffer, held.constants
    for ids, some in _in_chunks(group, at, entries):
        buffer, constants = _put((buffer, constants), ids, some)
    return Held(buffer, constants, held.places)


def _read(group: Group, at: np.ndarray) -> Tree:
    held = group.held
    if group.used[0].platform == "cpu":  # whose arrays NumPy reads where they are
        return rows_of(jax.tree.map(on_host, (held.buffer, held.constants)), at)
    parts = []
    for ids, _ in _in_chunks(group, at if len(at) else np.array([group.capacity]), None):
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
