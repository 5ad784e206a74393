"""A group of settings whose lanes are held by the workers of an executor.

The coordinator records the places of the lanes, their numbers and the calls. It sends the workers the operations that a
group in one process runs on its devices.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.engine._devices import bytes_of
from regopt.sweep.engine._entries import rows_of, with_rows, zeros
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._placement import NONE, Places, Sizes
from regopt.sweep.engine._program import lane_shapes
from regopt.sweep.engine._recipe import Constants, Held, Lane, Recipe, Shared
from regopt.sweep.engine._turns import Report
from regopt.sweep.executors._leases import Task
from regopt.sweep.executors._messages import (
    NEVER,
    Facts,
    Read,
    Start,
    Train,
    Write,
    concatenated,
    decoded,
    encoded,
)
from regopt.sweep.executors._shards import Shards
from regopt.sweep.space._settings import rows_by


class ShardedGroup(Group):
    """A group with one shard of its lanes in place of each device.

    Args:
        recipe: the recipe by which the lanes train.
        numbers: the traced columns, each ``[settings]``.
        indices: which settings of the sweep the lanes are, ``[lanes]``.
        shared: what all lanes read.
        number: the number of this group in the sweep.
        facts: the report of a worker on the compiled programs.
        shards: the shards that hold the lanes.
        packed: whether calls are filled with the lanes that still train.
        frozen: gives the parameters that are not trained; None where all are.
    """

    is_ready = True

    def __init__(
        self,
        recipe: Recipe,
        numbers: Mapping[str, np.ndarray],
        indices: np.ndarray,
        shared: Shared,
        number: int,
        facts: Facts,
        shards: Shards,
        *,
        packed: bool,
        frozen: Callable[[], Tree] | None = None,
    ):
        self.recipe, self.indices, self._packed = recipe, indices, packed
        self._numbers = {name: column[indices] for name, column in numbers.items()}
        self.numbers = dict(self._numbers)
        self._shards, self._number, self._frozen = shards, number, frozen
        self.devices, self.capacity = shards.count, facts.capacity
        self._shapes = lane_shapes(recipe, shared.keys, self._given(np.zeros(1, int)))
        self.lane_form = self._shapes[0]
        self.lane_bytes = bytes_of(self._shapes)
        self.chunk, self.mapping, self.metrics = facts.chunk, facts.mapping, facts.metrics
        self.price = facts.price
        self.digests, self.temporary_bytes = facts.digests, facts.temporary_bytes
        self.trace_seconds, self.compile_seconds = facts.trace_seconds, facts.compile_seconds
        self._training = False
        self._sizes, every = Sizes(self.chunk, 1), Sizes(self.chunk, self.devices)  # of a shard, and of the sweep
        # by shard and size of a call: from the seats of the shard to those of the sweep
        self._shifts = every.firsts + np.arange(self.devices)[:, None] * every.chunks - self._sizes.firsts
        self.clear()

    @property
    def in_flight(self) -> bool:  # type: ignore[override]
        """See ``Group``."""
        return self._training or self._shards.failed

    def clear(self) -> None:
        """See ``Group``."""
        self.numbers = dict(self._numbers)
        self._training = False
        self._ended = np.full(len(self.indices), NEVER)  # the segment in which each lane has stopped or diverged
        places = Places(len(self.indices), self.devices, self.capacity, self.chunk, packed=self._packed)
        self.held = Held(None, None, places)
        self._shards.forget(self._number)

    def late_seconds(self) -> tuple[float, float]:
        """See ``Group``; what the workers compile later is not counted."""
        return 0.0, 0.0

    def start(self, lanes: np.ndarray) -> None:
        """See ``Group``."""
        places = self.held.places
        for _ in self._shards.run(
            Task(self._number, shard, Start(its, places.place[its])) for shard, its in self._by_shard(lanes)
        ):
            pass

    def advance(
        self, lanes: np.ndarray, segments: np.ndarray, until: int, halt: Callable[[], bool], seats: np.ndarray
    ) -> Iterator[tuple[int, str, int, Report]]:
        """See ``Group``; each shard goes from segment to segment without waiting for the others."""
        self._training = True
        tasks = self._rounds if self._shards.keeps_lanes else self._calls
        held = cache(lambda: dict(self._by_shard(np.flatnonzero(self.held.places.place >= 0))))  # constant in this call

        def refresh(shard: int) -> Task:
            return Task(self._number, shard, Read(held().get(shard, NONE)))

        for task, answer in self._shards.run(tasks(lanes, segments, until, seats), halt, refresh):
            if isinstance(task.operation, Read):
                self._settle(task, answer)
                continue
            for segment, owners, used, room, outcome, kind in answer:
                self._ended[owners[outcome[1].ends]] = segment
                yield segment, kind, room, (owners, self._of_all(task.shard, used), outcome)
        self._training = False

    def take_over(self, lanes: np.ndarray, parents: np.ndarray, numbers: Mapping[str, np.ndarray]) -> None:
        """See ``Group``."""
        self.numbers.update({name: np.array(column) for name, column in numbers.items()})
        self._ended[lanes] = NEVER
        wanted = np.unique(parents)
        buffer, _ = self._read(wanted)
        rows = np.searchsorted(wanted, parents)
        constants = jax.tree.map(np.asarray, self._given(lanes))
        entries = rows_of(buffer, rows), constants
        self._write(lanes, entries)

    def collect(self) -> tuple[Tree, Tree]:
        """See ``Group``: every lane is read, and a shard that is lost later is restored from what was read."""
        if self.held.buffer is not None:
            return self.held.buffer, self.held.constants
        whole = jax.tree.map(lambda shape: zeros(shape, self.size), self._shapes)
        places = self.held.places
        tasks = [
            Task(self._number, shard, Read(its)) for shard, its in self._by_shard(np.flatnonzero(places.place >= 0))
        ]
        for task, entries in self._shards.run(tasks):
            self._settle(task, entries)
            whole = with_rows(whole, self._at(places, task.operation.lanes), decoded(entries))
        return whole

    def hold(self, buffer: Tree, constants: Tree, places: Places) -> None:
        """See ``Group``."""
        self.held = Held(None, None, places)
        self._shards.forget(self._number)
        self._ended[:] = NEVER
        lanes = np.flatnonzero(places.place >= 0)
        self._write(lanes, rows_of((buffer, constants), self._at(places, lanes)))

    def settle(self) -> None:
        """See ``Group``: the lanes are read for the last time, so that the workers may end."""
        self.held = Held(*self.collect(), self.held.places)
        self._shards.forget(self._number)

    def lane(self, held: Held, lane: int) -> Lane:
        """See ``Group``."""
        if held.buffer is None:
            if held.places is not self.held.places:
                raise ValueError(
                    "the states of this result are on no worker, because the sweep has trained again since: take them "
                    "from the newest result"
                )
            if self._shards.closed:
                self.settle()
                self._shards.close()
            held = self.held
        if held.buffer is not None:
            return jax.tree.map(lambda x: x[int(self._at(held.places, np.array([lane]))[0])], held.buffer)
        return jax.tree.map(lambda x: x[0], self._read(np.array([lane]))[0])

    def output(self, held: Held, inputs: Tree) -> jax.ShapeDtypeStruct:
        """See ``Group``."""
        del held
        return jax.eval_shape(self._predict_lane, self.frozen, inputs, self._shapes[1], self._shapes[0])

    def predict(self, held: Held, lanes: np.ndarray, inputs: Tree) -> Iterator[Report]:
        """See ``Group``; this computes in the coordinator, on its own default device."""
        predict = jax.jit(jax.vmap(self._predict_lane, in_axes=(None, None, 0, 0)))
        for begin in range(0, len(lanes), self.chunk):
            some = lanes[begin : begin + self.chunk]
            buffer, constants = rows_of(
                (held.buffer, held.constants), self._at(held.places, np.resize(some, self.chunk))
            )
            yield some, np.arange(len(some)), np.asarray(predict(self.frozen, inputs, constants, buffer))[: len(some)]

    def on_each(self, tree: Tree) -> Tree:
        """See ``Group``."""
        return jax.tree.map(jnp.asarray, tree)

    @property
    def frozen(self) -> Tree:
        """See ``Group``."""
        return None if self._frozen is None else self._frozen()

    def _predict_lane(self, frozen: Tree, inputs: Tree, constants: Constants, lane: Lane) -> jax.Array:
        assert self.recipe.task.predict is not None
        with self.recipe.holding(frozen), self.recipe.multiplying():
            return self.recipe.task.predict(self.recipe.kept(lane), inputs, self.recipe.setting(constants))

    def _rounds(self, lanes: np.ndarray, segments: np.ndarray, until: int, seats: np.ndarray) -> Iterator[Task]:
        """For each shard one task with all calls of its lanes."""
        row_of = np.full(len(self.indices), -1)
        row_of[lanes] = np.arange(len(lanes))
        for shard, its in self._by_shard(lanes):
            done, own = segments[row_of[its]], seats[row_of[its]]
            most = self.held.places.count_calls(own)
            each = its, done, self._of_shard(shard, own)
            its, done, own = (array.astype(np.int32) for array in each)  # sent with every lease, so kept small
            calls = Train(its, done, own, most, 0, 0)
            yield Task(self._number, shard, calls._replace(end=(until - int(done.min())) * most))

    def _calls(self, lanes: np.ndarray, segments: np.ndarray, until: int, seats: np.ndarray) -> Iterator[Task]:
        """For each shard the calls of one segment of the lanes that have trained least, one task for each call."""
        del until
        behind = segments == segments.min()
        lanes, segments, seats = lanes[behind], segments[behind], seats[behind]
        for call in self.held.places.calls(lanes, seats):
            chunk = len(call.owners) // self.devices
            for shard, owners in enumerate(call.owners.reshape(self.devices, chunk)):
                used = np.flatnonzero(owners >= 0)
                if len(used):
                    done, its = segments[: len(used)], self._sizes.first_of(chunk) + used  # all are equal
                    yield Task(self._number, shard, Train(owners[used], done, its, 1, 0, 1))

    def _of_all(self, shard: int, seats: np.ndarray) -> np.ndarray:
        """The seats of one shard as seats of the sweep."""
        return seats + self._shifts[shard][self._sizes.of(seats)]

    def _of_shard(self, shard: int, seats: np.ndarray) -> np.ndarray:
        """The inverse of ``_of_all``."""
        return seats - self._shifts[shard][self.held.places.sizes.of(seats)]

    def _settle(self, task: Task, entries: Tree) -> None:
        """Set the entries, those of all lanes of a shard, from which the shard is restored if it is lost."""
        its = task.operation.lanes
        base = Write(its, self.held.places.place[its], entries, self._ended[its])
        self._shards.settle(self._number, task.shard, base)

    def _by_shard(self, lanes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        devices = self.held.places.device[lanes]
        for its in rows_by(devices):
            yield int(devices[its[0]]), lanes[its]

    def _read(self, lanes: np.ndarray) -> Tree:
        """States and constants of lanes, wherever they are, in the order asked for."""
        parts = list(self._shards.run(Task(self._number, shard, Read(its)) for shard, its in self._by_shard(lanes)))
        order = np.argsort(np.concatenate([task.operation.lanes for task, _ in parts]), kind="stable")
        back = np.empty_like(order)
        back[np.argsort(lanes, kind="stable")] = order
        columns = zip(*(jax.tree.leaves(decoded(entries)) for _, entries in parts), strict=True)
        joined = [concatenated(column)[back] for column in columns]
        return jax.tree.structure(self._shapes).unflatten(joined)

    def _write(self, lanes: np.ndarray, entries: Tree) -> None:
        places = self.held.places
        row_of = np.full(len(self.indices), -1)
        row_of[lanes] = np.arange(len(lanes))
        tasks = [
            Task(self._number, shard, Write(its, places.place[its], encoded(rows_of(entries, row_of[its]))))
            for shard, its in self._by_shard(lanes)
        ]
        for _ in self._shards.run(tasks):
            pass
