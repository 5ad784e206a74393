"""The leases of a sweep that are under way: which worker has each, since when, and the size of the next ones."""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Hashable, Iterable
from typing import NamedTuple

from regopt.sweep.executors._messages import Operation, Read, Train

_SECONDS = 0.5  # the time that a lease should take
_LEASES_A_SECOND = 400  # the most of all workers together; many workers get longer leases


class Task(NamedTuple):
    """One operation on a shard of a group."""

    group: int
    shard: int
    operation: Operation


class UnderWay(NamedTuple):
    """A lease that is under way."""

    task: Task | None  # None where it restores a shard
    worker: str
    shard: int
    since: float

    @property
    def name(self) -> tuple[object, ...]:
        """A name that this lease shares with one that repeats it."""
        if self.task is None:
            return (self.shard,)
        return self.task.group, type(self.task.operation), *self.task.operation.lanes[:1].tolist()


class Leases:
    """The leases that are under way, and the pace of the workers."""

    def __init__(self) -> None:
        self._all: dict[Hashable, UnderWay] = {}
        self._of_shard: dict[int, deque[Hashable]] = defaultdict(deque)  # in their order
        self._firsts: dict[Hashable, None] = {}  # the first of each shard, kept up to date since each answer needs them
        self._owing: Counter[str] = Counter()  # by worker: the number of leases without an answer
        self._busy = 0  # the number of workers that owe an answer
        self._answered: dict[str, float] = {}  # by worker: its last answer, or when it began to owe one
        self._latest = float("-inf")  # the latest start of a lease that has been answered
        self._overtaken: dict[Hashable, float] = {}  # when a later lease was first seen answered
        self._pace: dict[str, float] = {}  # by worker: seconds of a call, in its last lease
        self._calls: dict[str, int] = {}  # by worker: the number of calls of its next lease

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, handle: Hashable) -> UnderWay:
        return self._all[handle]

    def of(self, shard: int) -> list[UnderWay]:
        """The leases of a shard."""
        return [self._all[handle] for handle in self._of_shard[shard]]

    def count(self, shard: int) -> int:
        """How many leases of a shard are under way."""
        return len(self._of_shard[shard])

    def owed_by(self, worker: str) -> list[Hashable]:
        """The leases that a worker has to answer."""
        return [handle for handle, its in self._all.items() if its.worker == worker] if self._owing[worker] else []

    def owed(self, worker: str | None) -> int:
        """The number of leases that a worker has to answer; 0 without a worker."""
        return 0 if worker is None else self._owing[worker]

    def seconds(self, worker: str, tasks: Iterable[Task]) -> float:
        """The time that a worker will take for tasks that it has not begun, in seconds."""
        trains = (task.operation for task in tasks if isinstance(task.operation, Train))
        return sum(its.end - its.begin for its in trains) * self._pace.get(worker, 0.0)

    def firsts(self) -> Collection[Hashable]:
        """The first lease of each shard."""
        return self._firsts.keys()

    def handles(self) -> list[Hashable]:
        """The handles of all leases."""
        return list(self._all)

    def begin(self, handle: Hashable, its: UnderWay) -> None:
        """Note that a lease is under way."""
        if not self._owing[its.worker]:
            self._answered[its.worker] = its.since  # it owed nothing until now
            self._busy += 1
        self._all[handle] = its
        if not self._of_shard[its.shard]:
            self._firsts[handle] = None
        self._of_shard[its.shard].append(handle)
        self._owing[its.worker] += 1

    def end(self, handle: Hashable) -> UnderWay:
        """Remove a lease, which has ended, and return it."""
        done = self._all.pop(handle)
        others = self._of_shard[done.shard]
        others.remove(handle)
        if handle in self._firsts:
            del self._firsts[handle]
            self._firsts.update(dict.fromkeys([*others][:1]))
        self._owing[done.worker] -= 1
        self._busy -= not self._owing[done.worker]
        self._overtaken.pop(handle, None)
        return done

    def answered(self, done: UnderWay, now: float) -> None:
        """Note that a worker has answered; the time it took decides how many calls its next leases have."""
        if done.task is not None and isinstance(done.task.operation, Train):
            calls = done.task.operation.end - done.task.operation.begin
            seconds = max(now - max(done.since, self._answered[done.worker]), 1e-6)
            self._pace[done.worker] = seconds / calls
            wanted = max(_SECONDS, self._busy / _LEASES_A_SECOND)
            self._calls[done.worker] = min(max(int(wanted * calls / seconds), 1), 2 * calls)
        self._answered[done.worker] = now
        self._latest = max(self._latest, done.since)

    def silent(self, now: float, seconds: float) -> list[str]:
        """The workers that have owed an answer for more than so many seconds."""
        return [worker for worker, owing in self._owing.items() if owing and now - self._answered[worker] > seconds]

    def late(self, now: float, seconds: float) -> list[Hashable]:
        """The leases that have run for more than so many seconds, where the workers take them in order from one queue.

        A lease may wait in the queue for any time. It runs once one that was given out later has an answer; where there
        is none, the workers have been silent since the last answer.
        """
        found = []
        for handle, its in self._all.items():
            if its.since < self._latest:
                self._overtaken.setdefault(handle, now)
            if now - self._overtaken.get(handle, max(its.since, self._answered[its.worker])) > seconds:
                found.append(handle)
        return found

    def split(self, task: Task, worker: str | None) -> tuple[Task, Task | None]:
        """Divide a task into the calls of a worker's next lease and the calls that are left, None where none are."""
        calls = task.operation
        if not isinstance(calls, Train):
            return task, None
        end = calls.begin + (1 if worker is None else self._calls.get(worker, 1))
        if end >= calls.end:
            return task, None
        first, rest = calls._replace(end=end), calls._replace(begin=end)
        return Task(task.group, task.shard, first), Task(task.group, task.shard, rest)

    def is_read(self, shard: int) -> bool:
        """Whether the lanes of a shard are being read."""
        return any(its.task is not None and isinstance(its.task.operation, Read) for its in self.of(shard))
