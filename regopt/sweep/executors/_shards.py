"""The shards of a sweep on the workers of an engine: operations go out, answers come back, lost work is done again.

Every shard has a base, its lanes as they were when they were last read, and a log of the operations since. Where a
worker is lost, another one is given the base and repeats the log, which gives the same bits. Where a worker keeps
nothing between leases, every lease carries the lanes there and back, and there is nothing to repeat.

A lease is a number of calls of a shard that take about half a second, or longer with more than 200 workers. Each lease
costs the coordinator a message there and back, and a sweep that is asked to end waits for the leases under way.
"""

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator

from regopt._core.messages import one_line
from regopt._core.types import Tree
from regopt.sweep.executors._balance import fewest_first, moves
from regopt.sweep.executors._journal import Journal
from regopt.sweep.executors._leases import Leases, Task, UnderWay
from regopt.sweep.executors._messages import Lease, Left, Operation, Read, Write, again
from regopt.sweep.executors._pool import LostError, Pool, checked

_LOG = logging.getLogger(__name__)
AHEAD = 2  # leases of a worker under way, so that it never waits for the coordinator
_BALANCE_SECONDS = 2.0  # between looks for workers that have joined
_WORTH_SECONDS = 2.0  # the least work left for which a shard moves during a round
_LISTEN_SECONDS = 1.0  # between looks for workers that are silent
_LOSSES = 3  # of one operation in a row, after which the operation is at fault


Refresh = Callable[[int], Task]  # from a shard to the task that reads all of its lanes


class Shards:
    """The shards of a sweep, each with one worker at a time.

    Args:
        pool: the pool of the workers.
        count: the number of shards.
        every: the least number of seconds between two readings of a shard's lanes.

    Attributes:
        failed: whether an operation ended with an error, after which the lanes are not where the table says.
    """

    def __init__(self, pool: Pool, count: int, every: float = 60.0):
        self._pool, self.count, self.every = pool, count, every
        self._journal = Journal()
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Set the state in which there are no workers and no leases."""
        self.failed = False
        self._worker: dict[int, str] = {}
        self._lost: Counter[tuple[object, ...]] = Counter()  # how often in a row, by ``UnderWay.name``
        self._waiting: dict[int, deque[Task]] = {}
        self._leases = Leases()
        self._moving: dict[int, str] = {}  # by shard: the worker that it goes to
        self._balanced = self._listened = self._pool.clock()
        self._leaving: set[str] = set()
        self._returned: dict[int, list[Task]] = defaultdict(list)  # by shard: what a worker that leaves has not done

    @property
    def keeps_lanes(self) -> bool:
        """Whether workers keep their lanes, so that they can go on from segment to segment."""
        return self._pool.keeps_lanes

    @property
    def closed(self) -> bool:
        """Whether there are no workers."""
        return not self._worker

    def forget(self, group: int) -> None:
        """Forget what the lanes of a group did, because the group starts again."""
        self._journal.forget(group)

    def settle(self, group: int, shard: int, base: Write) -> None:
        """Set the lanes from which a shard is restored if it is lost."""
        self._journal.settle(group, shard, base)

    def close(self) -> None:
        """End the workers, and with them the leases under way.

        New workers start when a setting is trained again, or when lanes are read that were not collected.
        """
        self._pool.close()
        self._begin_anew()

    def _balance(self, refresh: Refresh, worth: float = 0.0) -> None:
        """Move shards to workers that have less to do, once the lanes of the shards have been read."""
        workers = dict.fromkeys(self._staying())
        goes_to = self._worker | self._moving
        holder = {
            shard: worker
            for shard, queue in self._waiting.items()
            if (queue or self._leases.count(shard)) and (worker := goes_to[shard]) in workers
        }

        def seconds(shard: int) -> float:
            return self._leases.seconds(self._worker[shard], self._waiting[shard])

        for shard, worker in list(moves(workers, holder, seconds, self._moving, worth)):
            self._moving[shard] = worker
            self._submit(refresh(shard))

    def run(
        self, tasks: Iterable[Task], halt: Callable[[], bool] = lambda: False, refresh: Refresh | None = None
    ) -> Iterator[tuple[Task, Tree]]:
        """Run operations, those of one shard in their order.

        Args:
            tasks: the operations to do.
            halt: asked before each operation; after it returns True none is begun, and those under way are awaited.
            refresh: how to read the lanes of a shard where they train for long, so that little is repeated when a
                worker is lost; these readings are yielded as well.

        Yields:
            Pairs of a task and its answer, as they come, those of one shard in their order.

        Raises:
            Exception: an error of the task, as it was raised on the worker.
            LostError: one operation was lost several times.
        """
        self._waiting = defaultdict(deque)
        for task in tasks:
            self._waiting[task.shard].append(task)
        try:
            yield from self._answers(halt, refresh)
        except BaseException:  # also where the caller stops asking for answers
            self.failed = True
            raise

    def _answers(self, halt: Callable[[], bool], refresh: Refresh | None) -> Iterator[tuple[Task, Tree]]:
        """Submit what waits, and give the answers as they come."""
        self._give_all([shard for shard in self._waiting if shard not in self._worker])
        if refresh is not None:
            self._balance(refresh)
        halted = self._submit_waiting(list(self._waiting), halt, refresh)
        while len(self._leases):
            again: Collection[int] = self._waiting  # the shards of which more may be submitted
            handle = self._pool.wait(self._awaited(), 1.0)
            if handle is not None:
                try:
                    answer = checked(self._pool.result(handle))
                except LostError as error:
                    self._lose(handle, error)
                else:
                    done = self._leases.end(handle)
                    if isinstance(answer, Left):
                        self._leave(done, answer)
                    else:
                        again = [done.shard]
                        self._leases.answered(done, self._pool.clock())
                        self._lost.pop(done.name, None)
                        if done.task is not None:
                            yield done.task, self._accept(done.task, answer)
            if self._pool.clock() - self._listened >= min(_LISTEN_SECONDS, self._pool.lost_after):
                self._listened = self._pool.clock()
                again = self._waiting if self._look_for_silence() else again
            if refresh is not None and self._pool.clock() - self._balanced > _BALANCE_SECONDS and not halted:
                self._balanced = self._pool.clock()
                self._balance(refresh, _WORTH_SECONDS)
            halted = halted or self._submit_waiting(list(again), halt, refresh)
        self._moving.clear()

    def _awaited(self) -> Collection[Hashable]:
        """The leases whose answers may be taken: the first of each shard, so that its answers come in order."""
        return self._leases.firsts()

    def _operations(self, task: Task) -> tuple[Operation, ...]:
        """The operations that a worker does for a task."""
        return (task.operation,)

    def _accept(self, task: Task, answers: list[Tree]) -> Tree:
        """Note an answer in the journal; returns the answer of the task's own operation."""
        if not isinstance(task.operation, Read):
            self._journal.note(task.group, task.shard, again(task.operation, answers[-1]), self._pool.clock())
        return answers[-1]

    def _submit_waiting(self, shards: Iterable[int], halt: Callable[[], bool], refresh: Refresh | None) -> bool:
        """Submit what there is room for of some shards; returns whether an end was asked for."""
        for shard in shards:
            queue = self._waiting[shard]
            if shard in self._moving and not self._leases.count(shard):
                self._move(shard)
            while queue and self._has_room(shard):
                if halt():
                    return True
                if refresh is not None and self._is_old(queue[0].group, shard):
                    self._submit(refresh(shard))
                    continue
                task, rest = self._leases.split(queue.popleft(), self._worker.get(shard))
                if rest is not None:
                    queue.appendleft(rest)
                self._submit(task)
        return False

    def _has_room(self, shard: int) -> bool:
        stays = shard not in self._moving and self._worker.get(shard) not in self._leaving
        return stays and (not self._leases.count(shard) or self._leases.owed(self._worker.get(shard)) < AHEAD)

    def _is_old(self, group: int, shard: int) -> bool:
        """Whether a lost shard would repeat more than ``every`` seconds of work, and its lanes are not being read."""
        since = self._journal.since(group, shard)
        return since is not None and self._pool.clock() - since > self.every and not self._leases.is_read(shard)

    def _begin(self, task: Task | None, shard: int, lease: Lease) -> None:
        worker = self._worker[shard]
        handle = self._pool.submit(worker, lease)
        self._leases.begin(handle, UnderWay(task, worker, shard, self._pool.clock()))

    def _submit(self, task: Task) -> None:
        self._begin(task, task.shard, Lease(task.group, task.shard, self._operations(task)))

    def _staying(self) -> list[str]:
        """The workers that take lanes: all but those that leave, as long as there are others."""
        workers = self._pool.workers()
        return [worker for worker in workers if worker not in self._leaving] or workers

    def _give_all(self, shards: Collection[int]) -> None:
        """Give shards to the workers that have the fewest."""
        if shards:
            workers = fewest_first(self._staying(), Counter(self._worker.values()))
            for shard, worker in zip(shards, workers, strict=False):
                self._give(shard, worker)

    def _give(self, shard: int, worker: str) -> None:
        """Have a worker restore a shard, and train it from then on."""
        self._worker[shard] = worker
        for group, operations in self._journal.restoring(shard):
            self._begin(None, shard, Lease(group, shard, operations))

    def _move(self, shard: int) -> None:
        """Give a shard, of which no lease is under way, to the worker that it moves to."""
        self._waiting[shard].extendleft(reversed(self._returned.pop(shard, [])))  # its worker leaves at the same time
        worker = self._moving.pop(shard)
        if worker in self._staying():
            self._give(shard, worker)
        else:
            self._give_all([shard])

    def _lose(self, handle: Hashable, error: LostError) -> None:
        """Give up the worker that lost a lease."""
        self._give_up([self._leases[handle].worker], error)

    def _give_up(self, workers: list[str], error: LostError) -> None:
        """Give the shards of lost workers, and the tasks that they had to answer, to others."""
        for worker in workers:
            _LOG.warning("worker %s is lost: %s; its lanes go on elsewhere", worker, one_line(str(error)))
            first = self._leases[self._leases.owed_by(worker)[0]]  # the one it was running, since it runs them in order
            self._count_loss(first, error)
        self._replace(workers)

    def _leave(self, done: UnderWay, left: Left) -> None:
        """Take the lanes of a shard from a worker that is about to end; after its last lease others get its shards."""
        worker = done.worker
        if worker not in self._leaving:
            _LOG.warning("worker %s leaves; its lanes go on elsewhere", worker)
            self._leaving.add(worker)
            for shard in self._shards_of(worker):
                if shard != done.shard and not self._leases.of(shard):
                    self._begin(None, shard, Lease(0, shard, ()))
        for group, base in left.bases.items():
            self.settle(group, done.shard, base)
        if done.task is not None:
            self._returned[done.shard].append(done.task)
        if not self._leases.owed_by(worker):
            self._replace([worker])

    def _replace(self, workers: list[str]) -> None:
        """Give the shards of workers to others, which restore them and then do the tasks that have no answer."""
        for worker in workers:
            self._pool.drop(worker)
            self._leaving.discard(worker)
        for worker in workers:
            owed = [self._leases.end(handle) for handle in self._leases.owed_by(worker)]
            shards = self._shards_of(worker)
            for shard in shards:
                again = self._returned.pop(shard, [])
                again += [each.task for each in owed if each.shard == shard and each.task is not None]
                self._waiting[shard].extendleft(reversed(again))
                self._moving.pop(shard, None)
            self._give_all(shards)

    def _shards_of(self, worker: str) -> list[int]:
        return [shard for shard, its in self._worker.items() if its == worker]

    def _look_for_silence(self) -> bool:
        """Give up workers that owe an answer for too long, unless an answer waits unread; returns whether any were."""
        silent = self._leases.silent(self._pool.clock(), self._pool.lost_after)
        silent = [worker for worker in silent if self._pool.wait(self._leases.owed_by(worker), 0.0) is None]
        self._give_up(silent, LostError(f"no answer in lost_after = {self._pool.lost_after:g} s"))
        return bool(silent)

    def _count_loss(self, lost: UnderWay, error: LostError) -> None:
        self._lost[lost.name] += 1
        if self._lost[lost.name] > _LOSSES:
            text = f"the same lanes were lost {_LOSSES + 1} times in a row: {one_line(str(error))}"
            raise LostError(text) from error
