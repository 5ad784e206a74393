"""The choice of shards that move to other workers, so that no worker waits for one that has more to do."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from heapq import heapify, heapreplace


def fewest_first(workers: Iterable[str], load: Mapping[str, int]) -> Iterator[str]:
    """The workers in the order in which they take shards: each time the one that has the fewest, the first of equals.

    Args:
        workers: those that take shards, at least one.
        load: the number of shards by worker.

    Yields:
        Workers, endlessly.
    """
    queue = [(load.get(worker, 0), number, worker) for number, worker in enumerate(workers)]
    heapify(queue)
    while True:
        count, number, worker = queue[0]
        heapreplace(queue, (count + 1, number, worker))
        yield worker


def moves(
    workers: Collection[str],
    holder: Mapping[int, str],
    seconds: Callable[[int], float],
    moving: Collection[int],
    worth: float,
) -> Iterator[tuple[int, str]]:
    """Shards to move until no worker has two more shards with work than another, those with the most work first.

    Args:
        workers: those that take shards.
        holder: for each shard that has work, the worker that holds it or to which it moves.
        seconds: the work of a shard that has not begun, in seconds.
        moving: shards that are on their way.
        worth: seconds of work that a shard must have to be moved.

    Yields:
        A shard and the worker that should take it.
    """
    load = Counter(dict.fromkeys(workers, 0))
    load.update(holder.values())
    free: dict[str, list[int]] | None = None  # computed only if a worker has too many, since it asks each shard
    while load:
        most, least = max(load, key=load.__getitem__), min(load, key=load.__getitem__)
        if load[most] - load[least] < 2:
            return
        free = _free(holder, seconds, moving, worth) if free is None else free
        if not free[most]:
            return
        load[most] -= 1
        load[least] += 1
        yield free[most].pop(), least


def _free(
    holder: Mapping[int, str], seconds: Callable[[int], float], moving: Collection[int], worth: float
) -> dict[str, list[int]]:
    """The shards that may move, by worker, those with the least work first."""
    work = {shard: seconds(shard) for shard in holder if shard not in moving}
    found = defaultdict(list)
    for shard in sorted(work, key=work.__getitem__):
        if work[shard] >= worth:
            found[holder[shard]].append(shard)
    return found
