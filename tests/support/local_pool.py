"""Workers in this process that keep their lanes, and die when they are told to."""

import itertools
from collections.abc import Iterable
from pathlib import Path

from regopt.sweep.executors._messages import Failure
from regopt.sweep.executors._pool import LostError
from regopt.sweep.executors._worker import Worker


class LocalEngine:
    """An engine of some workers at a time; a dead worker is replaced.

    Args:
        workers: how many there are.
        shards: pieces of the lanes.
        deaths: numbers of leases, counted from the start of the sweep, whose worker dies before it answers.
        joins: numbers of leases at which one more worker joins.
        hangs: numbers of leases whose worker never answers again.
        breaks: number of the lease at which the coordinator itself fails.
        leaves: numbers of leases before which a worker is asked to end.
        fast: the worker that answers all it owes before any other one answers.
    """

    def __init__(
        self,
        workers: int = 2,
        shards: int = 2,
        deaths: Iterable[int] = (),
        joins: Iterable[int] = (),
        hangs: Iterable[int] = (),
        breaks: int | None = None,
        leaves: Iterable[int] = (),
        fast: str | None = None,
    ):
        self.wanted, self.shards = workers, shards
        self.deaths, self.joins, self.hangs = set(deaths), set(joins), set(hangs)
        self.breaks, self.died, self.hung, self.leaves = breaks, 0, 0, set(leaves)
        self.fast = fast
        self.left = self.repeated = 0  # workers that left, and leases that restored a shard
        self.leases_of: dict[str, int] = {}

    def pool(self, folder: Path | None) -> "LocalPool":
        """Its workers."""
        del folder
        return LocalPool(self)


class LocalPool:
    """The workers of a ``LocalEngine``."""

    keeps_lanes = True
    lost_after = 0.0

    def __init__(self, engine: LocalEngine):
        self._engine = engine
        self._workers: dict[str, Worker] = {}
        self._names, self._handles, self._count = itertools.count(), itertools.count(), itertools.count()
        self._hung: set[str] = set()
        self._owed: dict[int, tuple[str, object]] = {}
        self._now = 0.0

    def size(self):
        return self._engine.wanted

    def open(self, job, data):
        self._job, self._data = job, data
        prepared = self._workers[self._start()].prepare()
        if isinstance(prepared, Failure):
            raise prepared.error
        return prepared

    def join(self, job, like):
        self._job = job

    def workers(self):
        while len(self._workers) < self._engine.wanted:
            self._start()
        return list(self._workers)

    def submit(self, worker, lease):
        handle = next(self._handles)
        self._owed[handle] = worker, lease
        return handle

    def clock(self):
        return self._now

    def wait(self, handles, seconds):
        self._now += seconds / 10
        answering = [handle for handle in sorted(handles) if self._owed[handle][0] not in self._hung]
        fast = [handle for handle in answering if self._owed[handle][0] == self._engine.fast]
        return next(iter([*fast, *answering]), None)

    def result(self, handle):
        worker, lease = self._owed.pop(handle)
        number, engine = next(self._count), self._engine
        if number == engine.breaks:
            raise RuntimeError("the coordinator breaks")
        if number in engine.joins:
            engine.wanted += 1
        if number in engine.deaths:
            engine.died += 1
            self._workers.pop(worker, None)
        if number in engine.hangs:
            engine.hung += 1
            self._hung.add(worker)
        if worker not in self._workers:
            raise LostError("it died")
        if number in engine.leaves:
            engine.left += 1
            self._workers[worker].leave()
        engine.repeated += len(lease.operations) > 1
        engine.leases_of[worker] = engine.leases_of.get(worker, 0) + 1
        return self._workers[worker].run(lease)

    def drop(self, worker):
        self._workers.pop(worker, None)

    def close(self):
        self._workers.clear()

    def _start(self):
        name = str(next(self._names))
        self._workers[name] = Worker(self._job, self._data)
        return name
