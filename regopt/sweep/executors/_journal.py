"""The journal that restores a lost shard: its lanes when they were last read, and the operations since."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from regopt.sweep.executors._messages import Operation, Write


@dataclass
class _Course:
    """The operations that a shard has done on a group since its lanes were last read."""

    base: Write | None = None
    log: list[Operation] = field(default_factory=list)
    since: float | None = None  # when the first operation of the log was done


class Journal:
    """The base of every shard of every group, and a log of what it has done since."""

    def __init__(self) -> None:
        self._courses: dict[int, dict[int, _Course]] = defaultdict(lambda: defaultdict(_Course))  # by shard and group

    def forget(self, group: int) -> None:
        """Forget what the lanes of a group did, because the group starts again."""
        for courses in self._courses.values():
            courses.pop(group, None)

    def settle(self, group: int, shard: int, base: Write) -> None:
        """Set the lanes from which a shard is restored if it is lost."""
        self._courses[shard][group] = _Course(base)

    def note(self, group: int, shard: int, operation: Operation, now: float) -> None:
        """Note that a shard has done an operation."""
        course = self._courses[shard][group]
        course.log.append(operation)
        if course.since is None:
            course.since = now

    def since(self, group: int, shard: int) -> float | None:
        """When a shard did the first operation that would be repeated; None where there is none."""
        return self._courses[shard][group].since

    def restoring(self, shard: int) -> Iterator[tuple[int, tuple[Operation, ...]]]:
        """For each group the operations that bring a shard to where it is."""
        for group, course in sorted(self._courses[shard].items()):
            operations = (*([] if course.base is None else [course.base]), *course.log)
            if operations:
                yield group, operations
