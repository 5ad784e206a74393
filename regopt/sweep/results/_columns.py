"""The columns of a sweep's table: found by name, ranked, and numbered by the rows that agree."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas


def is_ordered(column: "pandas.Series") -> bool:
    """Whether a column holds numbers or booleans, whose order has a meaning."""
    return column.dtype.kind in "biuf"


def ordinal(column: "pandas.Series") -> np.ndarray:
    """The rank of each value among the distinct values of its column; -1 for NaN. Other objects rank by their repr."""
    return (column if is_ordered(column) else column.map(repr)).factorize(sort=True)[0]


def column_of(table: "pandas.DataFrame", name: str) -> "pandas.Series":
    """A column of a table; the error for a missing one lists those that exist."""
    if name not in table:
        raise ValueError(f"the table has no column {name!r}; it has {list(table)}")
    column: pandas.Series = table.loc[:, name]
    return column


def numbered(table: "pandas.DataFrame", names: Sequence[str]) -> np.ndarray:
    """The number of the group of each row; rows that agree in all columns are in one group."""
    import pandas

    codes = pandas.DataFrame({name: ordinal(column_of(table, name)) for name in names}, index=table.index)
    return codes.groupby(list(names)).ngroup().to_numpy() if names else np.zeros(len(table), int)
