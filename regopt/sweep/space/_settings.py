"""The table of the settings of a sweep: traced numbers, and static values that divide it into groups."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from regopt._core.messages import brief
from regopt._core.types import Setting
from regopt.sweep.space._dimensions import Column

RESERVED = {"setting", "step", "status", "last_step", "kept_step", "first_bad_step"}  # columns of the results

BATCH_SIZE = "batch_size"  # the column that takes the place of the argument of ``run``


def rows_by(numbers: np.ndarray) -> list[np.ndarray]:
    """For each number in ascending order the rows that have it, which ascend too; ``numbers`` are ``[rows]``, int."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []


@dataclasses.dataclass(frozen=True)
class Settings:
    """A table of settings: ``numbers[name]`` is an array ``[n]``, ``static[name]`` a tuple of n values.

    Designs such as ``grid`` and ``random`` make it. Its length is n. A column ``batch_size`` is static, because the
    shapes of a program depend on it.

    Args:
        numbers: the traced columns by name, each ``[n]``, int or float.
        static: the columns of Python objects by name, each with n hashable values.

    Raises:
        ValueError: there is no column, the columns differ in length or are empty, or a name is no string or is the name
            of a column of the results, such as "status".

    Example:
        >>> import numpy as np
        >>> from regopt import sweep
        >>> settings = sweep.Settings({"rate": np.array([0.1, 0.2, 0.3])}, {"width": (8, 16, 8)})
        >>> len(settings), settings.row(1)
        (3, {'rate': 0.2, 'width': 16})
        >>> [(static, rows.tolist()) for static, rows in settings.groups()]
        [({'width': 8}, [0, 2]), ({'width': 16}, [1])]
    """

    numbers: Mapping[str, np.ndarray]
    static: Mapping[str, tuple[object, ...]]

    def __post_init__(self):
        if BATCH_SIZE in self.numbers:
            sizes = self.numbers[BATCH_SIZE]
            numbers = {name: column for name, column in self.numbers.items() if name != BATCH_SIZE}
            object.__setattr__(self, "numbers", numbers)
            object.__setattr__(self, "static", {**self.static, BATCH_SIZE: tuple(np.asarray(sizes).tolist())})
        sizes = {name: len(column) for name, column in self.columns.items()}
        if not sizes:
            raise ValueError("a sweep needs at least one column of settings, got none")
        if len(set(sizes.values())) > 1 or 0 in sizes.values():
            raise ValueError(f"columns of settings must have one length, at least 1, got {sizes}")
        for name in sizes:
            if not isinstance(name, str):
                raise ValueError(f"the names of columns must be strings, got {brief(name)}")
        if taken := RESERVED & set(sizes):
            raise ValueError(f"a column of settings must not be named {sorted(taken)}: the results have such columns")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def columns(self) -> dict[str, Column]:
        """All columns by name, numbers first."""
        return {**self.numbers, **self.static}

    def _repr_html_(self) -> str | None:
        """The first settings, for a notebook."""
        from regopt._core.notebook import MOST, to_html

        groups = sum(1 for _ in self.groups())
        rows = [{"setting": index, **self.row(index)} for index in range(min(len(self), MOST))]
        return to_html(f"{len(self):,} settings in {groups} group(s)", rows, total=len(self))

    def row(self, index: int) -> Setting:
        """One setting as a dict of Python values."""
        numbers = {name: column[index].item() for name, column in self.numbers.items()}
        return numbers | {name: column[index] for name, column in self.static.items()}

    def take(self, rows: np.ndarray) -> "Settings":
        """The settings of these rows, ``[settings]`` int, in this order."""
        numbers = {name: column[rows] for name, column in self.numbers.items()}
        return Settings(numbers, {name: tuple(column[row] for row in rows) for name, column in self.static.items()})

    def repeats(self, over: Sequence[str]) -> np.ndarray:
        """``[settings]``, int: rows that differ in the columns ``over`` alone share a number, by appearance."""
        if not set(over) & set(self.columns):
            return np.arange(len(self))
        columns = [column for name, column in self.columns.items() if name not in over]
        numbers: dict[tuple[object, ...], int] = {}
        rows = zip(*(np.asarray(c).tolist() if isinstance(c, np.ndarray) else c for c in columns), strict=True)
        keys = [tuple((type(value), value) for value in row) for row in rows] or [()] * len(self)
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys])

    def groups(self) -> Iterator[tuple[Setting, np.ndarray]]:
        """The static values of each group and the indices of its settings, in order of first appearance."""
        if not self.static and len(self):
            yield {}, np.arange(len(self))
            return
        members: dict[tuple[tuple[type, object], ...], list[int]] = {}
        for index in range(len(self)):
            values = tuple(column[index] for column in self.static.values())
            members.setdefault(tuple((type(value), value) for value in values), []).append(index)
        for values, indices in members.items():  # the type tells True from 1
            yield {name: value for name, (_, value) in zip(self.static, values, strict=True)}, np.array(indices)
