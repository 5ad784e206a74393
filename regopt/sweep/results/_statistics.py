"""Statistics of the table of a sweep: means over repeats and paired comparisons.

Every function takes a table as ``Result.to_pandas`` returns it, or one that was read from a file, and returns a table.
The drawings are in ``regopt.report``.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regopt._core.metrics import as_loss, check_mode, require_direction
from regopt._core.numerics import check_range
from regopt._core.types import Mode
from regopt.report import REPEATED

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


def repeats(
    table: "pandas.DataFrame",
    names: Sequence[str],
    metric: str,
    mode: Mode | None = None,
    *,
    over: Sequence[str] = REPEATED,
    level: float = 0.95,
) -> "pandas.DataFrame":
    """Mean and interval of a metric over the repeats of each setting, the best mean first.

    The interval is Student's ``mean +- t s / sqrt(n)``; a single repeat has none. Repeats that diverged are counted but
    left out of the mean, and the settings that have some come after those that have none.

    Args:
        table: the table of a sweep, one row for each setting.
        names: the columns that make a setting.
        metric: the column to summarise.
        mode: whether a smaller or a larger metric is better; may be left out for a loss, which is minimised.
        over: the columns among ``names`` that only repeat a setting.
        level: level of the interval, in (0, 1).

    Returns:
        One row for each setting: its other columns, ``count``, ``diverged``, ``mean``, ``std``, ``low``, ``high``, and
        ``first``, the row of its first repeat in ``table``.

    Raises:
        ValueError: ``level`` is out of range, a column is missing, or the metric needs a ``mode``.

    Example:
        >>> import pandas as pd
        >>> from regopt import sweep
        >>> columns = {"rate": [0.1, 0.1, 0.5, 0.5], "seed": [0, 1, 0, 1], "loss": [1.0, 3.0, 0.5, 1.5]}
        >>> found = sweep.repeats(pd.DataFrame(columns).assign(status="done"), ["rate", "seed"], "loss")
        >>> found[["rate", "count", "mean"]].values.tolist()
        [[0.5, 2.0, 1.0], [0.1, 2.0, 2.0]]

    References:
        Student (1908). The probable error of a mean. Biometrika, 6(1), 1-25.
    """
    from scipy import stats

    check_range("level", level, "(0, 1)")
    found = _repeated(table, names, metric, mode, over)
    count, mean = found.values.count(axis=1), found.values.mean(axis=1)
    reach = stats.t.ppf((1 + level) / 2, count - 1) * found.values.sem(axis=1)
    columns = {"count": count, "diverged": found.diverged, "mean": mean, "std": found.values.std(axis=1)}
    return found.columns.assign(**columns, low=mean - reach, high=mean + reach, first=found.first)


def compare(
    table: "pandas.DataFrame",
    names: Sequence[str],
    metric: str,
    mode: Mode | None = None,
    *,
    reference: int = 0,
    over: Sequence[str] = REPEATED,
    level: float = 0.95,
) -> "pandas.DataFrame":
    """Every setting against one of them, paired by repeat: the mean of ``metric - metric of the reference``.

    Settings that share a seed share the order of their data, so their difference varies less than either metric. The
    intervals hold for all comparisons at once (Bonferroni); the p values are those of the paired t test, adjusted for
    the number of comparisons by Holm's procedure. A reference that was chosen as the best of the same repeats looks
    better than it is; use fresh seeds to judge it.

    Args:
        table: the table of a sweep, one row for each setting.
        names: the columns that make a setting.
        metric: the column to compare.
        mode: whether a smaller or a larger metric is better; may be left out for a loss, which is minimised.
        reference: the setting to compare with, as a row of ``repeats``; by default the best mean.
        over: the columns among ``names`` that only repeat a setting.
        level: the level at which all intervals together hold, in (0, 1).

    Returns:
        One row for each other setting, in the order of ``repeats``: its columns, ``pairs``, ``difference``, ``low``,
        ``high``, ``p``, and ``better``, the share of pairs in which it is better than the reference.

    Raises:
        ValueError: ``level`` or ``reference`` is out of range, a column is missing, or the metric needs a ``mode``.

    Example:
        >>> import pandas as pd
        >>> from regopt import sweep
        >>> columns = {"rate": [0.1, 0.1, 0.5, 0.5], "seed": [0, 1, 0, 1], "loss": [1.0, 3.0, 0.5, 1.5]}
        >>> found = sweep.compare(pd.DataFrame(columns).assign(status="done"), ["rate", "seed"], "loss")
        >>> found[["rate", "pairs", "difference", "better"]].values.tolist()
        [[0.1, 2.0, 1.0, 0.0]]

    References:
        Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics,
        6(2), 65-70.
    """
    check_range("level", level, "(0, 1)")
    found = _repeated(table, names, metric, mode, over)
    if not 0 <= reference < len(found.values):
        raise ValueError(f"reference must lie in [0, {len(found.values) - 1}], got {reference}")
    differences = (found.values - found.values.iloc[reference]).drop(reference)
    pairs = differences.count(axis=1)
    low, high, p = _paired(differences.to_numpy(), 1 - (1 - level) / max(len(differences), 1))
    columns = {"pairs": pairs, "difference": differences.mean(axis=1), "low": low, "high": high, "p": holm(p)}
    better = (as_loss(differences, mode_given(metric, mode)) < 0).sum(axis=1) / pairs
    return found.columns.drop(reference).assign(**columns, better=better).reset_index(drop=True)


def mode_given(metric: str, mode: Mode | None) -> Mode:
    """The mode that is given, else "min" for a loss; an error for another metric."""
    if mode is None:
        return require_direction(metric)
    check_mode(mode)
    return mode


class _Repeats(NamedTuple):
    """The settings with their repeats, the best mean first."""

    columns: "pandas.DataFrame"  # the columns that make each setting
    values: "pandas.DataFrame"  # [settings, repeats], the metric; NaN where diverged or missing
    diverged: np.ndarray  # [settings], number of repeats that diverged
    first: np.ndarray  # [settings], row of the first repeat in the table


def _repeated(
    table: "pandas.DataFrame", names: Sequence[str], metric: str, mode: Mode | None, over: Sequence[str]
) -> _Repeats:
    import pandas

    kept, again = [name for name in names if name not in over], [name for name in names if name in over]
    bad = (column_of(table, "status") == "diverged").to_numpy()
    measured = column_of(table, metric).to_numpy(float)
    setting, repeat = numbered(table, kept), numbered(table, again)
    listed = table.groupby([setting, repeat]).cumcount()  # a setting that is listed twice repeats itself
    kept_values = pandas.Series(np.where(bad | ~np.isfinite(measured), np.nan, measured))
    values = kept_values.set_axis(pandas.MultiIndex.from_arrays([setting, repeat, listed])).unstack([1, 2])
    first = np.unique(setting, return_index=True)[1]
    diverged = np.bincount(setting, bad).astype(int)
    losses = as_loss(values.mean(axis=1).to_numpy(), mode_given(metric, mode))
    order = np.lexsort([first, losses, diverged > 0])  # NaN comes last
    columns = table[kept].iloc[first[order]].reset_index(drop=True)
    return _Repeats(columns, values.iloc[order].reset_index(drop=True), diverged[order], first[order])


def _paired(differences: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ends of the interval and the p value of the paired t test of each row; NaN with fewer than two pairs."""
    from scipy import stats

    with warnings.catch_warnings():  # SciPy warns of rows with too few pairs, or whose pairs all differ alike
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_rel(differences, np.zeros_like(differences), axis=1, nan_policy="omit")
        interval = test.confidence_interval(level)
    return interval.low, interval.high, test.pvalue


def holm(p: np.ndarray) -> np.ndarray:
    """Adjust p values for the number of comparisons, by Holm's step-down method.

    Unlike in statsmodels' ``multipletests``, NaN stays NaN and is not counted.

    Args:
        p: p values, each in [0, 1] or NaN, ``[comparisons]``.

    Returns:
        The adjusted p values in the same order; rejecting those below a level keeps the probability of any false
        rejection below that level.

    References:
        Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics,
        6(2), 65-70.

    >>> holm(np.array([0.04, 0.01, np.nan])).tolist()
    [0.04, 0.02, nan]
    """
    import pandas

    known = pandas.Series(p).dropna().sort_values()
    steps = known * np.arange(len(known), 0, -1)
    return steps.cummax().clip(upper=1).reindex(range(len(p))).to_numpy()
