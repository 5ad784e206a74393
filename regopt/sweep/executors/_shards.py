"""The shards of a sweep on the workers of an engine: operations go out, answers come back, lost work is done again.

Every shard has a base, its lanes as they were when they were last read, and a log of the operations since. Where a
worker is lost, another one is given the base and repeats the log, which gives the same bits. Where a worker keeps
nothing between leases, every lease carries the lanes there and back, and there is nothing to repeat.
"""

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple

from regopt._core.messages import one_line
from regopt._core.types import Tree
from regopt.sweep.executors._messages import (
    Failure,
    Lease,
    Operation,
    Read,
    Write,
)
from regopt.sweep.executors._pool import LostError, Pool

_LOG = logging.getLogger(__name__)
_AHEAD = 2  # leases of a shard that are under way, so that its worker never waits for the coordinator
_LOSSES = 3  # of one operation, after which the fault is its own


class Task(NamedTuple):
    """One operation on a shard of a group."""

    group: int
    shard: int
    operation: Operation


class _UnderWay(NamedTuple):
    task: Task | None  # None for the repetition of a log
    worker: str
    shard: int
    since: float


class Shards:
    """The shards of a sweep, each with one worker at a time.

    Args:
        pool: the workers.
        count: the number of shards.
        every: seconds between two readings of a shard's lanes, at least.

    Attributes:
        failed: an operation ended with an error, so that the lanes are not where the table says.
    """

    def __init__(self, pool: Pool, count: int, every: float = 60.0):
        self._pool, self.count, self.every, self.failed = pool, count, every, False
        self._worker: dict[int, str] = {}
        self._base: dict[tuple[int, int], Write] = {}
        self._log: dict[tuple[int, int], list[Operation]] = defaultdict(list)
        self._since: dict[tuple[int, int], float] = {}  # when the first operation of a log was done
        self._answered: dict[str, float] = {}
        self._lost: Counter[int] = Counter()  # by shard, in a row
        self._waiting: dict[int, deque[Task]] = {}
        self._under_way: dict[Hashable, _UnderWay] = {}
        self._ahead: Counter[int] = Counter()  # leases under way by shard
        self._owing: Counter[str] = Counter()  # and by worker

    def forget(self, group: int) -> None:
        """Begin a group anew: nothing of what its lanes did counts any more."""
        for shard in range(self.count):
            self._base.pop((group, shard), None)
            self._log.pop((group, shard), None)
            self._since.pop((group, shard), None)

    def is_old(self, group: int) -> bool:
        """Whether a lost shard of a group would repeat more than ``every`` seconds of work."""
        now = self._pool.clock()
        return any(now - since > self.every for (number, _), since in self._since.items() if number == group)

    def settle(self, group: int, shard: int, base: Write) -> None:
        """From here on a lost shard is restored from these lanes."""
        self._base[group, shard] = base
        self._log.pop((group, shard), None)
        self._since.pop((group, shard), None)

    def close(self) -> None:
        """End the workers; others start where a setting is trained again."""
        self._pool.close()
        self._worker.clear()

    def balance(self) -> None:
        """Give shards to workers that have joined; called between rounds, while no lease is under way."""
        workers = self._pool.workers()
        for shard in range(self.count):
            if shard not in self._worker:
                self._assign(shard)
        while True:
            load = Counter(dict.fromkeys(workers, 0))
            load.update(self._worker.values())
            (most, many), (least, few) = max(load.items(), key=_second), min(load.items(), key=_second)
            if many - few < 2:
                return
            moved = next(shard for shard in range(self.count) if self._worker[shard] == most)
            self._worker[moved] = least
            self._restore(moved)

    def run(self, tasks: Iterable[Task], halt: Callable[[], bool] = lambda: False) -> Iterator[tuple[Task, Tree]]:
        """Run operations, those of one shard in their order.

        Args:
            tasks: what to do.
            halt: asked before each operation; after it returns True none is begun, and those under way are awaited.

        Yields:
            Pairs of a task and its answer, as they come.

        Raises:
            Exception: of the task of the sweep, as the worker met it.
            LostError: one operation was lost several times.
        """
        self._waiting = defaultdict(deque)
        for task in tasks:
            self._waiting[task.shard].append(task)
        try:
            yield from self._answers(halt)
        except Exception:
            self.failed = True
            raise

    def _answers(self, halt: Callable[[], bool]) -> Iterator[tuple[Task, Tree]]:
        """Submit what waits, and give the answers as they come."""
        halted = self._submit_waiting(list(self._waiting), halt)
        while self._under_way:
            handle = self._pool.wait(list(self._under_way), 1.0)
            if handle is None:
                self._look_for_silence()
                halted = halted or self._submit_waiting(list(self._waiting), halt)
                continue
            try:
                answer = self._pool.result(handle)
            except LostError as error:
                self._lose(handle, error)
                halted = halted or self._submit_waiting(list(self._waiting), halt)
                continue
            done = self._end(handle)
            self._answered[done.worker] = self._pool.clock()
            self._lost[done.shard] = 0
            if isinstance(answer, Failure):
                raise answer.error
            if done.task is not None:
                yield done.task, self._accept(done.task, answer)
            halted = halted or self._submit_waiting([done.shard], halt)

    def _operations(self, task: Task) -> tuple[Operation, ...]:
        """What a worker is asked to do for a task."""
        return (task.operation,)

    def _accept(self, task: Task, answers: list[Tree]) -> Tree:
        """Take note of an answer; gives that of the task itself."""
        if not isinstance(task.operation, Read):
            self._log[task.group, task.shard].append(task.operation)
            self._since.setdefault((task.group, task.shard), self._pool.clock())
        return answers[-1]

    def _submit_waiting(self, shards: Iterable[int], halt: Callable[[], bool]) -> bool:
        """Submit what there is room for of some shards; returns whether an end was asked for."""
        for shard in shards:
            queue = self._waiting[shard]
            while queue and self._ahead[shard] < _AHEAD:
                if halt():
                    return True
                self._submit(queue.popleft())
        return False

    def _begin(self, handle: Hashable, task: Task | None, worker: str, shard: int) -> None:
        """Note that a lease is under way."""
        now = self._pool.clock()
        if task is None or not self._owing[worker]:
            self._answered[worker] = now  # it owed nothing until now
        self._under_way[handle] = _UnderWay(task, worker, shard, now)
        self._ahead[shard] += 1
        self._owing[worker] += 1

    def _end(self, handle: Hashable) -> _UnderWay:
        """Note that a lease is under way no more."""
        done = self._under_way.pop(handle)
        self._ahead[done.shard] -= 1
        self._owing[done.worker] -= 1
        return done

    def _submit(self, task: Task) -> None:
        worker = self._worker.get(task.shard) or self._assign(task.shard)
        handle = self._pool.submit(worker, Lease(task.group, task.shard, self._operations(task)))
        self._begin(handle, task, worker, task.shard)

    def _assign(self, shard: int) -> str:
        """Give a shard to the worker that has the fewest."""
        load = Counter(dict.fromkeys(self._pool.workers(), 0))
        load.update(worker for worker in self._worker.values() if worker in load)
        self._worker[shard] = min(load, key=load.__getitem__)
        return self._worker[shard]

    def _restore(self, shard: int) -> None:
        """Let the worker of a shard repeat what the shard has done since its base."""
        for group in sorted({group for group, its in [*self._base, *self._log] if its == shard}):
            base = self._base.get((group, shard))
            operations = (*([] if base is None else [base]), *self._log[group, shard])
            if operations:
                worker = self._worker[shard]
                self._begin(self._pool.submit(worker, Lease(group, shard, operations)), None, worker, shard)

    def _lose(self, handle: Hashable, error: LostError) -> None:
        """Give the shards of the worker that lost a lease to others, with all that it owed."""
        worker = self._under_way[handle].worker
        _LOG.warning("worker %s is lost: %s; its lanes go on elsewhere", worker, one_line(str(error)))
        self._pool.drop(worker)
        owed = [self._end(its) for its, each in list(self._under_way.items()) if each.worker == worker]
        for shard in [shard for shard, its in self._worker.items() if its == worker]:
            again = [each.task for each in owed if each.shard == shard and each.task is not None]
            self._count_loss(shard, error)
            self._waiting[shard].extendleft(reversed(again))
            self._assign(shard)
            self._restore(shard)

    def _look_for_silence(self) -> None:
        """Give up workers that owe an answer for too long."""
        for handle, each in list(self._under_way.items()):
            silent = self._pool.clock() - self._answered[each.worker]
            if handle in self._under_way and silent > self._pool.lost_after:
                self._lose(handle, LostError(f"no answer in {self._pool.lost_after:g} s"))

    def _count_loss(self, shard: int, error: LostError) -> None:
        self._lost[shard] += 1
        if self._lost[shard] > _LOSSES:
            raise LostError(f"the same lanes were lost {_LOSSES + 1} times in a row: {one_line(str(error))}")


def _second(pair: tuple[str, int]) -> int:
    return pair[1]
