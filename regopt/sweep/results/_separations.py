"""The thresholds that separate the settings of a sweep that diverged from the others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regopt.sweep.results._statistics import column_of, is_ordered, ordinal

if TYPE_CHECKING:
    import pandas


def separations(table: "pandas.DataFrame", names: Sequence[str]) -> "pandas.DataFrame":
    """For each number the one threshold that best separates the settings that diverged from the others.

    Args:
        table: the table of a sweep, one row for each setting.
        names: the columns that make a setting; a column of text is split into one value and all others.

    Returns:
        One row for each number, the best first: ``number``, the range ``where`` settings diverged (such as ">= 0.3"),
        the number of settings ``inside`` it and of those that diverged (``diverged_inside``), the same two counts
        outside, and ``gain``, the share of the Gini impurity that the split removes. Empty if all or none diverged.

    Raises:
        ValueError: a column is missing.

    Example:
        >>> import pandas as pd
        >>> from regopt import sweep
        >>> columns = {"rate": [0.1, 0.2, 0.4, 0.8], "status": ["done", "done", "diverged", "diverged"]}
        >>> sweep.separations(pd.DataFrame(columns), ["rate"])[["number", "where", "gain"]].values.tolist()
        [['rate', '>= 0.4', 1.0]]

    References:
        Breiman, L., Friedman, J. H., Olshen, R. A., & Stone, C. J. (1984). Classification and Regression Trees.
        Wadsworth. For the impurity.
    """
    import pandas

    bad = column_of(table, "status").to_numpy() == "diverged"
    found = []
    if 0 < bad.sum() < len(bad):
        columns = {name: column_of(table, name) for name in names}
        found = [_separation(name, x, bad) for name, x in columns.items() if len(np.unique(ordinal(x))) > 1]
    return pandas.DataFrame(sorted(found, key=lambda row: -round(row.gain, 12)), columns=list(Separation._fields))


class Separation(NamedTuple):
    """The split of one column that best separates the settings that diverged."""

    number: str
    where: str  # such as ">= 0.3", "< 0.3" or "= relu"
    inside: int  # settings there
    diverged_inside: int
    outside: int
    diverged_outside: int
    gain: float  # share of the Gini impurity that the split removes, in [0, 1]


def _separation(name: str, column: "pandas.Series", bad: np.ndarray) -> Separation:
    """The split that a decision tree of depth 1 makes: at a threshold, or between one value and all others."""
    from sklearn.tree import DecisionTreeClassifier

    codes = ordinal(column)
    ordered = is_ordered(column)
    inputs = codes[:, None] if ordered else codes[:, None] == np.unique(codes)
    stump = DecisionTreeClassifier(max_depth=1, random_state=0).fit(inputs, bad)
    side = inputs[:, stump.tree_.feature[0]] > stump.tree_.threshold[0]
    value = column.loc[side].min() if ordered else column.loc[side].iloc[0]
    where = f">= {value:.4g}" if ordered else f"= {value}"
    if ordered and bad[side].mean() < bad[~side].mean():
        side, where = ~side, f"< {value:.4g}"
    impurity = stump.tree_.impurity * stump.tree_.weighted_n_node_samples
    counts = [int(x) for x in (side.sum(), bad[side].sum(), (~side).sum(), bad[~side].sum())]
    return Separation(name, where, *counts, gain=float(1 - impurity[1:].sum() / impurity[0]))
