"""A law: what holds, for which kinds of factories, and the cells in which it is checked."""

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp

from regopt._core.messages import one_line
from regopt.testing._row import Row

Cell: TypeAlias = dict[str, Any]  # the law's keyword arguments: number, dtype, size, lanes
DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64)
KINDS = ("transform", "second_order", "penalty", "projection", "schedule", "noise", "stopping")


def once(row: Row) -> list[Cell]:
    """One cell: the row as a whole."""
    del row
    return [{}]


class Law(NamedTuple):
    """A statement about a row, checked cell by cell."""

    holds: Callable[..., None]  # (row, **cell); raises AssertionError where it does not hold
    kinds: tuple[str, ...] = KINDS
    cells: Callable[[Row], Iterable[Cell]] = once

    @property
    def name(self) -> str:
        """The statement in words, which is the function's name."""
        return self.holds.__name__.replace("_", " ")

    def cells_of(self, row: Row) -> list[Cell]:
        """The cells that apply to a row; none where the law is about another kind."""
        return list(self.cells(row)) if row.kind in self.kinds else []

    def check(self, row: Row, **cell: object) -> None:
        """Check one cell.

        Args:
            row: the factory.
            **cell: one of ``cells_of(row)``.

        Raises:
            AssertionError: the law is broken, or something raised on the way; in one line.
        """
        try:
            self.holds(row, **cell)
        except Exception as error:
            line = one_line(str(error)[:2000])
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            reason = f"{kind}{line}"
            where = ", ".join(f"{name} {shown(value)}" for name, value in cell.items())
            raise AssertionError(
                f"{row.name}{f' ({where})' if where else ''}: the law {self.name!r} is broken: {reason[:300]}"
            ) from error


def shown(value: object) -> str:
    """A value of a cell in a word."""
    return getattr(value, "__name__", str(value))


def each(**values: Iterable[object]) -> Callable[[Row], Iterator[Cell]]:
    """Every combination of these values, whatever the row."""
    names, lists = list(values), [list(each) for each in values.values()]

    def cells(row: Row) -> Iterator[Cell]:
        del row
        for combination in product(*lists):
            yield dict(zip(names, combination, strict=True))

    return cells


def each_number(**values: Iterable[object]) -> Callable[[Row], Iterator[Cell]]:
    """Every number of the row, with every combination of these values."""
    others = each(**values)

    def cells(row: Row) -> Iterator[Cell]:
        for number in row.numbers:
            for other in others(row):
                yield {"number": number, **other}

    return cells
