"""Which settings to train: the dimensions of a space, and a table of settings.

A space is a dict from names to dimensions. Numbers become arrays with one entry for a setting and are traced;
static values (a width, an optimizer's name) split the settings into groups, each with its own program. Designs
that draw settings from a space are in ``designs.py``.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from regopt._core.messages import brief
from regopt._core.numerics import check_number, check_whole


class Dimension(NamedTuple):
    """One axis of a space.

    ``at(u)`` maps u in [0, 1), shape [n], to n values. ``levels(points)`` gives the values of a grid. A static
    dimension's values stay Python objects; a crossed one (seeds, replicas) is combined with every setting of a design;
    a listed one has no values between those that were given; one with ``log`` is even in its logarithm.
    """

    at: Callable[[np.ndarray], Any]
    levels: Callable[[int | None], Any]
    static: bool = False
    crossed: bool = False
    listed: bool = False
    log: bool = False


Space = Mapping[str, Dimension]
RESERVED = {"setting", "step", "status", "last_step", "kept_step", "first_bad_step"}  # columns of the results


@dataclasses.dataclass(frozen=True)
class Settings:
    """A table of settings: ``numbers[name]`` is an array ``[n]``, ``static[name]`` a tuple of n values."""

    numbers: Mapping[str, np.ndarray]
    static: Mapping[str, tuple[Any, ...]]

    def __post_init__(self):
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
    def columns(self) -> dict[str, Any]:
        """All columns by name, numbers first."""
        return {**self.numbers, **self.static}

    def row(self, index: int) -> dict[str, Any]:
        """One setting as a dict of Python values."""
        numbers = {name: column[index].item() for name, column in self.numbers.items()}
        return numbers | {name: column[index] for name, column in self.static.items()}

    def take(self, rows: np.ndarray) -> "Settings":
        """Some of the settings, ``[settings]`` int, in this order."""
        numbers = {name: column[rows] for name, column in self.numbers.items()}
        return Settings(numbers, {name: tuple(column[row] for row in rows) for name, column in self.static.items()})

    def groups(self) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """The static values of each group and the indices of its settings, in order of first appearance."""
        members: dict[tuple[Any, ...], list[int]] = {}
        for index in range(len(self)):
            values = tuple(column[index] for column in self.static.values())
            members.setdefault(tuple((type(value), value) for value in values), []).append(index)
        for values, indices in members.items():  # the type tells True from 1
            yield {name: value for name, (_, value) in zip(self.static, values, strict=True)}, np.array(indices)


def log_uniform(low: float, high: float) -> Dimension:
    """Numbers whose logarithm is uniform on [low, high); a grid spaces them geometrically, both ends included.

    Args:
        low: > 0.
        high: > low.

    Returns:
        The dimension.

    Raises:
        ValueError: the ends are not 0 < low < high, or not finite.
    """
    check_number("low", low, "(0, inf)")
    check_number("high", high, f"({low}, inf)")
    return Dimension(
        at=lambda u: np.exp(np.log(low) + u * np.log(high / low)),
        levels=lambda points: np.geomspace(low, high, _points(points)),
        log=True,
    )


def uniform(low: float, high: float) -> Dimension:
    """Numbers uniform on [low, high); a grid spaces them evenly, both ends included.

    Args:
        low: finite.
        high: > low.

    Returns:
        The dimension.

    Raises:
        ValueError: the ends are not low < high, or not finite.
    """
    check_number("low", low, "(-inf, inf)")
    check_number("high", high, f"({low}, inf)")
    return Dimension(
        at=lambda u: low + u * (high - low),
        levels=lambda points: np.linspace(low, high, _points(points)),
    )


def choice(values: Sequence[Any] | np.ndarray) -> Dimension:
    """One of the values, equally likely; a grid takes them all.

    Numbers are traced, so any of them runs in the same program; anything else (strings, bools, functions) is
    static.

    Args:
        values: what to choose from, at least one.

    Returns:
        The dimension.

    Raises:
        ValueError: there are no values, or they are no list.
    """
    _check_list(values)
    is_array = hasattr(values, "dtype")  # NumPy's or JAX's
    if not is_array and any(isinstance(v, bool) or not isinstance(v, int | float | np.number) for v in values):
        return static(values)
    column = np.asarray(values)
    if not is_array and column.dtype.kind == "O":
        raise ValueError(f"whole numbers must lie in [-2**31, 2**31), got {brief(max(values, key=abs))}")
    if column.dtype.kind not in "iuf":
        return static(column.tolist())
    return _listed(column, lambda indices: column[indices], static=False)


def static(values: Sequence[Any] | np.ndarray) -> Dimension:
    """One of the values, given to the task as the Python object it is; each combination is compiled by itself.

    Args:
        values: hashable objects, at least one: widths, names, functions.

    Returns:
        The dimension.

    Raises:
        ValueError: there are no values, they are no list, or one is not hashable.
    """
    _check_list(values)
    for value in values:
        try:
            hash(value)
        except TypeError as error:
            raise ValueError(f"static values must be hashable, got {brief(value)}") from error
    return _listed(values, lambda indices: tuple(values[i] for i in indices), static=True)


def seeds(count: int, first: int = 0) -> Dimension:
    """Replicates: every setting is trained with each of ``count`` seeds.

    Under the name ``seed`` it decides a setting's initial state and its order of the data.

    Args:
        count: how many, >= 1.
        first: the first seed, >= 0.

    Returns:
        The dimension.

    Raises:
        ValueError: an argument lies outside its range.
    """
    check_whole("count", count, "[1, inf)")
    check_whole("first", first, "[0, inf)")
    return _crossed(np.arange(first, first + count))


def replicas(count: int) -> Dimension:
    """Every setting is trained on each of the first ``count`` resamples of the training set.

    Under the name ``replica`` it is a setting's row of ``run(..., resamples=...)``, and nothing else: its initial
    state and its order of the data go by the seed.

    Args:
        count: how many, >= 1.

    Returns:
        The dimension.

    Raises:
        ValueError: the count lies outside its range.
    """
    check_whole("count", count, "[1, inf)")
    return _crossed(np.arange(count))


def check_space(space: Any) -> None:
    """It maps names to dimensions."""
    if not isinstance(space, Mapping):
        raise ValueError(f"space must be a dict from names to dimensions, got {brief(space)}")
    for name, dimension in space.items():
        if not isinstance(dimension, Dimension):
            raise ValueError(f"the dimension {name} must come from uniform, choice or the like, got {brief(dimension)}")


def _check_list(values: Any) -> None:
    """A list, a tuple or the like, or an array ``[n]``."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    if not is_list and getattr(values, "ndim", None) != 1:
        raise ValueError(f"values must be a list or a one-dimensional array, got {brief(values)}")


def _points(points: int | None) -> int:
    if points is None:
        raise ValueError("a grid needs points for each continuous dimension: grid(space, points=8)")
    check_whole("points", points, "[1, inf)")
    return points


def _crossed(values: np.ndarray) -> Dimension:
    return _listed(values, lambda indices: values[indices], static=False)._replace(crossed=True)


def _listed(values: Sequence[Any] | np.ndarray, take: Callable[[np.ndarray], Any], *, static: bool) -> Dimension:
    if len(values) == 0:
        raise ValueError("a dimension needs at least one value, got none")
    count = len(values)
    return Dimension(
        at=lambda u: take(np.minimum((u * count).astype(int), count - 1)),
        levels=lambda _: take(np.arange(count)),
        static=static,
        listed=True,
    )
