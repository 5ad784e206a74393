"""The journal that restores a lost shard: its lanes when they were last read, and the operations since."""

from collections import defaultdict
from collections.abc import Iterator

from regopt.sweep.executors._messages import Operation, Write


class Journal:
    """The base of every shard of every group, and a log of what it has done since."""

    def __init__(self) -> None:
        self._base: dict[tuple[int, int], Write] = {}
        self._log: dict[tuple[int, int], list[Operation]] = defaultdict(list)
        self._since: dict[tuple[int, int], float] = {}  # when the first operation of a log was done

    def forget(self, group: int) -> None:
        """Begin a group anew: nothing of what its lanes did counts any more."""
        for part in (self._base, self._log, self._since):
            for key in [key for key in part if key[0] == group]:
                del part[key]

    def settle(self, group: int, shard: int, base: Write) -> None:
        """From here on a shard is restored from these lanes."""
        self._base[group, shard] = base
        self._log.pop((group, shard), None)
        self._since.pop((group, shard), None)

    def note(self, group: int, shard: int, operation: Operation, now: float) -> None:
        """Note that a shard has done an operation."""
        self._log[group, shard].append(operation)
        self._since.setdefault((group, shard), now)

    def since(self, group: int, shard: int) -> float | None:
        """When a shard did the first operation that would be repeated; None where there is none."""
        return self._since.get((group, shard))

    def restoring(self, shard: int) -> Iterator[tuple[int, tuple[Operation, ...]]]:
        """For each group the operations that bring a shard to where it is."""
        for group in sorted({group for group, its in [*self._base, *self._log] if its == shard}):
            base = self._base.get((group, shard))
            operations = (*([] if base is None else [base]), *self._log[group, shard])
            if operations:
                yield group, operations
