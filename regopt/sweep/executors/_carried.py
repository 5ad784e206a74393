"""The shards of a sweep on workers that keep nothing between leases."""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.messages import one_line
from regopt._core.types import Tree
from regopt.sweep.engine._entries import is_key
from regopt.sweep.executors._leases import Task
from regopt.sweep.executors._messages import Operation, Read, Start, Train, Write, decoded, encoded
from regopt.sweep.executors._pool import LostError, NoWorkersError, Pool
from regopt.sweep.executors._shards import AHEAD, Refresh, Shards

_LOG = logging.getLogger(__name__)


class CarriedShards(Shards):
    """The shards of a sweep on workers that keep nothing: the coordinator holds the lanes, each lease carries some."""

    def __init__(self, pool: Pool, count: int, every: float = 60.0):
        super().__init__(pool, count, every)
        self._silent: set[tuple[object, ...]] = set()  # leases without an answer in time, since the last answer of any
        self._entries: dict[int, dict[int, tuple[int, Tree]]] = defaultdict(dict)  # by group and lane: place and entry

    def forget(self, group: int) -> None:
        """See ``Shards``."""
        self._entries.pop(group, None)

    def settle(self, group: int, shard: int, base: Write) -> None:
        """See ``Shards``; does nothing, because the coordinator holds the lanes."""

    def run(
        self, tasks: Iterable[Task], halt: Callable[[], bool] = lambda: False, refresh: Refresh | None = None
    ) -> Iterator[tuple[Task, Tree]]:
        """See ``Shards``."""
        remote = []
        for task in tasks:
            match task.operation:
                case Read(lanes):
                    yield task, encoded(self._stacked(task.group, lanes))
                case Write(lanes, places, entries, _):
                    self._keep(task.group, lanes, places, decoded(entries))
                    yield task, None
                case _:
                    remote.append(task)
        yield from super().run(remote, halt, refresh)

    def _operations(self, task: Task) -> tuple[Operation, ...]:
        match task.operation:
            case Train(lanes):
                held = self._entries[task.group]
                places = np.array([held[int(lane)][0] for lane in lanes])
                return Write(lanes, places, encoded(self._stacked(task.group, lanes))), task.operation, Read(lanes)
            case operation:
                return operation, Read(operation.lanes)

    def _has_room(self, shard: int) -> bool:
        return len(self._leases.of(shard)) < AHEAD

    def _balance(self, refresh: Refresh, worth: float = 0.0) -> None:
        """See ``Shards``; does nothing, because any worker takes any lease."""

    def _awaited(self) -> Collection[Hashable]:
        return self._leases.handles()

    def _accept(self, task: Task, answers: list[Tree]) -> Tree:
        self._silent.clear()
        lanes, held = task.operation.lanes, self._entries[task.group]
        if isinstance(task.operation, Start):
            places = task.operation.places
        else:
            places = np.array([held[int(lane)][0] for lane in lanes])
        self._keep(task.group, lanes, places, decoded(answers[-1]))
        return answers[-2]

    def _keep(self, group: int, lanes: np.ndarray, places: np.ndarray, entries: Tree) -> None:
        for row, (lane, place) in enumerate(zip(lanes.tolist(), places.tolist(), strict=True)):
            self._entries[group][lane] = place, jax.tree.map(lambda x, row=row: x[row], entries)

    def _stacked(self, group: int, lanes: np.ndarray) -> Tree:
        entries = [self._entries[group][int(lane)][1] for lane in lanes]
        return jax.tree.map(lambda *rows: (jnp if is_key(rows[0]) else np).stack(rows), *entries)

    def _lose(self, handle: Hashable, error: LostError) -> None:
        lost = self._leases.end(handle)
        assert lost.task is not None
        _LOG.warning("a worker did not answer: %s; another one repeats its calls", one_line(str(error)))
        self._count_loss(lost, error)
        self._waiting[lost.shard].appendleft(lost.task)

    def _look_for_silence(self) -> bool:
        patience = self._pool.lost_after
        late = self._leases.late(self._pool.clock(), patience)
        late = [handle for handle in late if self._pool.wait([handle], 0.0) is None]
        if late and self._pool.wait(self._leases.handles(), 0.0) is None:
            names = {self._leases[handle].name for handle in late}
            if names & self._silent:  # given out again meanwhile
                raise NoWorkersError(
                    f"the executor has answered nothing in 2 x lost_after = {2 * patience:g} s, so it has lost its "
                    "workers: start others, and make the same call again"
                )
            self._silent |= names
        for handle in late:
            self._lose(handle, LostError(f"no answer in lost_after = {patience:g} s"))
        return bool(late)
