"""Workers in this process that keep their lanes, and die when they are told to."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax.numpy as jnp

from regopt.sweep.executors._messages import Failure, Lease, Train
from regopt.sweep.executors._pool import LostError
from regopt.sweep.executors._worker import Worker


class LocalEngine:
    """An engine of some workers at a time; a dead worker is replaced.

    Args:
        workers: how many there are.
        shards: pieces of the lanes.
        deaths: numbers of leases, counted from the start of the sweep, whose worker dies before it answers.
        joins: numbers of leases at which one more worker joins.
        hangs: numbers of leases after which their worker never answers again; of a queue, those never answered.
        breaks: number of the lease at which the coordinator itself fails.
        leaves: numbers of leases before which a worker is asked to end.
        fast: the worker that answers all it owes before any other one answers.
        lost_after: seconds of its clock, of which an answer takes 0.1, after which a silent worker is given up.
        at_once: workers that die at each death; none of several is replaced.
        poison: the number of a call of the first shard that kills any worker that runs it.
        slow: waits without an answer, of 0.1 seconds, before each answer.
        keeps_lanes: whether workers keep their lanes; else there is one, a queue that runs leases in their order.
        failures: numbers of leases at which the device of their worker has no memory left, and never again.
        kinds: what the workers say that their devices are, one after the other; by default what they are.
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
        lost_after: float = 5.0,
        at_once: int = 1,
        poison: int | None = None,
        slow: int = 0,
        keeps_lanes: bool = True,
        failures: Iterable[int] = (),
        kinds: Sequence[str] = (),
    ):
        self.wanted, self.shards = workers, shards
        self.deaths, self.joins, self.hangs = set(deaths), set(joins), set(hangs)
        self.breaks, self.died, self.hung, self.leaves = breaks, 0, 0, set(leaves)
        self.fast, self.lost_after, self.slow, self.keeps_lanes = fast, lost_after, slow, keeps_lanes
        self.at_once, self.poison, self.failures = at_once, poison, set(failures)
        self.kinds, self.mixed = kinds, bool(kinds)
        self.given_out = self.answers = 0  # leases
        self.alive: dict[str, LocalWorker] = {}  # the workers
        self.silences: list[float] = []  # of workers that hung, until they were given up
        self.left = self.repeated = self.failed = 0  # workers that left, leases that restored a shard, failed devices
        self.leases_of: dict[str, int] = {}

    def pool(self, folder: Path | None) -> "LocalPool":
        """Its workers."""
        del folder
        return LocalPool(self)


class LocalPool:
    """The workers of a ``LocalEngine``."""

    def __init__(self, engine: LocalEngine):
        engine.alive = self._workers = {}
        self._engine, self.keeps_lanes, self.lost_after = engine, engine.keeps_lanes, engine.lost_after
        self._idle = itertools.cycle([*[True] * engine.slow, False])  # whether the next wait finds no answer
        self._names, self._handles, self._count = itertools.count(), itertools.count(), itertools.count()
        self._dead: set[str] = set()
        self._hung: dict[str, float] = {}  # since when
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
        self._engine.given_out += 1
        if not self.keeps_lanes and handle in self._engine.hangs:
            worker = f"silent {handle}"
            self._hung[worker] = self._now
        self._owed[handle] = worker, lease
        return handle

    def clock(self):
        return self._now

    def wait(self, handles, seconds):
        self._now += seconds / 10
        if seconds and next(self._idle):
            return None
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
        if number in engine.deaths or _is_poison(lease, engine.poison):
            for dying in [worker, *(other for other in self._workers if other != worker)][: engine.at_once]:
                engine.died += 1
                self._dead.add(dying)  # which is known when a lease of it is lost
                engine.wanted -= engine.at_once > 1
        if self.keeps_lanes and number in engine.hangs:
            engine.hung += 1
            self._hung[worker] = self._now
        if worker in self._dead or worker not in self._workers:
            raise LostError("it died")
        if number in engine.failures:
            engine.failed += 1
            self._workers[worker].fails = True
        if number in engine.leaves:
            engine.left += 1
            self._workers[worker].leave()
        engine.answers += 1
        engine.repeated += len(lease.operations) > 1
        engine.leases_of[worker] = engine.leases_of.get(worker, 0) + 1
        return self._workers[worker].run(lease)

    def drop(self, worker):
        self._workers.pop(worker, None)
        if worker in self._hung:
            self._engine.silences.append(self._now - self._hung[worker])

    def close(self):
        self._workers.clear()

    def _start(self):
        name = str(next(self._names))
        kinds = self._engine.kinds
        kind = kinds[int(name) % len(kinds)] if kinds else None
        self._workers[name] = LocalWorker(self._job, self._data, kind)
        return name


class LocalWorker(Worker):
    """A worker that says it has another kind of device, if one is given, and whose device may fail."""

    fails = False

    def __init__(self, job, data, kind: str | None):
        super().__init__(job, data)
        self._kind = kind

    def environment(self):
        """See ``Worker``."""
        own = super().environment()
        return own | ({"device": own["device"] | {"kind": self._kind}} if self._kind else {})

    def _shard(self, shard):
        if self.fails:
            jnp.zeros(2**50)
        return super()._shard(shard)


def _is_poison(lease: Lease, call: int | None) -> bool:
    trains = [its for its in lease.operations if isinstance(its, Train)]
    return call is not None and lease.shard == 0 and any(its.begin <= call < its.end for its in trains)
