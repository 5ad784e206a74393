"""The shards that should go to other workers, so that none waits for one that has more to do."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping


def moves(
    workers: Collection[str],
    holder: Mapping[int, str],
    seconds: Mapping[int, float],
    moving: Collection[int],
    worth: float,
) -> Iterator[tuple[int, str]]:
    """Shards to move until no worker has two more than another one that have work, those with the most work first.

    Args:
        workers: those that take shards.
        holder: by shard: the worker that it is with, or goes to.
        seconds: by shard that has work: how much of it is not begun.
        moving: shards that are on their way.
        worth: seconds of work without which a shard stays.

    Yields:
        A shard and the worker that should take it.
    """
    load, free = Counter(dict.fromkeys(workers, 0)), defaultdict(list)
    for shard in sorted(seconds, key=seconds.__getitem__):
        worker = holder[shard]
        load[worker] += 1
        if shard not in moving and seconds[shard] >= worth:
            free[worker].append(shard)
    while load:
        most, least = max(load, key=load.__getitem__), min(load, key=load.__getitem__)
        if load[most] - load[least] < 2 or not free[most]:
            return
        load[most] -= 1
        load[least] += 1
        yield free[most].pop(), least
