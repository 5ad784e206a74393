"""Which shard should go to another worker, so that none waits for one that has more to do."""

from collections import Counter
from collections.abc import Collection, Mapping


def next_move(
    workers: Collection[str],
    holder: Mapping[int, str],
    seconds: Mapping[int, float],
    moving: Collection[int],
    worth: float,
) -> tuple[int, str] | None:
    """The shard with the most work of the worker with the most shards that have any, and the worker with the fewest.

    Args:
        workers: those that take shards.
        holder: by shard: the worker that it is with, or goes to.
        seconds: by shard that has work: how much of it is not begun.
        moving: shards that are on their way.
        worth: seconds of work without which a shard stays.

    Returns:
        A shard and the worker that should take it; None where all is well.
    """
    load = Counter(dict.fromkeys(workers, 0))
    load.update(holder[shard] for shard in seconds if holder[shard] in load)
    most, least = max(load, key=load.__getitem__), min(load, key=load.__getitem__)
    some = [shard for shard in seconds if holder[shard] == most and shard not in moving and seconds[shard] >= worth]
    if load[most] - load[least] < 2 or not some:
        return None
    return max(some, key=seconds.__getitem__), least
