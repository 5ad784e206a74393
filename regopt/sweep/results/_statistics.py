"""What the table of a sweep says: repeats over seeds, paired comparisons, which number matters, where settings diverge.

Every function takes the table that ``Result.to_pandas`` gives and returns a table, so that it works as well on one
that was read from a file. This file is not for drawing (`regopt.report`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from regopt._core.numerics import check_range

if TYPE_CHECKING:
    import pandas

Mode = Literal["min", "max"]
REPEATED = ("seed", "replica")  # columns whose values repeat a setting rather than change it


def repeats(
    table: "pandas.DataFrame",
    names: Sequence[str],
    metric: str,
    mode: Mode = "min",
    *,
    over: Sequence[str] = REPEATED,
    level: float = 0.95,
) -> "pandas.DataFrame":
    """Mean and interval of a metric over the repeats of each setting, the best mean first.

    The interval is Student's ``mean +- t s / sqrt(n)``; it is missing for a single repeat. A repeat that diverged is
    counted and left out of the mean, and a setting with one comes after all those without.

    Args:
        table: of a sweep, one row for each setting.
        names: its columns that make a setting.
        metric: its column to summarise.
        mode: whether a smaller or a larger metric is better.
        over: those of ``names`` that only repeat a setting.
        level: of the interval, in (0, 1).

    Returns:
        One row for each setting: its other columns, ``count``, ``diverged``, ``mean``, ``std``, ``low``, ``high``,
        and ``first``, the row of its first repeat in ``table``.

    Raises:
        ValueError: ``level`` is out of range, or a column is missing.
    """
    import pandas
    from scipy import stats

    check_range("level", level, "(0, 1)")
    found = _repeated(table, names, metric, mode, over)
    count, mean, std = _moments(found.values)
    reach = stats.t.ppf((1 + level) / 2, np.maximum(count - 1, 1)) * std / np.sqrt(np.maximum(count, 1))
    columns = {"count": count, "diverged": found.diverged, "mean": mean, "std": std}
    ends = {"low": mean - reach, "high": mean + reach, "first": found.first}
    return pandas.DataFrame(found.columns.assign(**columns, **ends))


def compare(
    table: "pandas.DataFrame",
    names: Sequence[str],
    metric: str,
    mode: Mode = "min",
    *,
    reference: int = 0,
    over: Sequence[str] = REPEATED,
    level: float = 0.95,
) -> "pandas.DataFrame":
    """Every setting against one of them, paired by repeat: the mean of ``metric - metric of the reference``.

    Settings that share a seed share the order of their data, so the difference varies less than either. The
    intervals hold for all comparisons at once (Bonferroni); the p values are those of the paired t test, adjusted
    for their number (Holm 1979). A reference that was chosen as the best of the same repeats looks better than it
    is: judge it on fresh seeds.

    Args:
        table: of a sweep, one row for each setting.
        names: its columns that make a setting.
        metric: its column to compare.
        mode: whether a smaller or a larger metric is better.
        reference: which setting to compare with, as a row of ``repeats``; by default the best mean.
        over: those of ``names`` that only repeat a setting.
        level: at which all intervals together hold, in (0, 1).

    Returns:
        One row for each other setting, in the order of ``repeats``: its columns, ``pairs``, ``difference``, ``low``,
        ``high``, ``p``, and ``better``, the share of pairs in which it beats the reference.

    Raises:
        ValueError: ``level`` or ``reference`` is out of range, or a column is missing.
    """
    import pandas
    from scipy import stats

    check_range("level", level, "(0, 1)")
    found = _repeated(table, names, metric, mode, over)
    if not 0 <= reference < len(found.values):
        raise ValueError(f"reference must lie in [0, {len(found.values) - 1}], got {reference}")
    others = np.delete(np.arange(len(found.values)), reference)
    differences = found.values[others] - found.values[reference]
    pairs, mean, std = _moments(differences)
    error, free = std / np.sqrt(np.maximum(pairs, 1)), np.maximum(pairs - 1, 1)
    reach = stats.t.ppf(1 - (1 - level) / 2 / max(len(others), 1), free) * error
    with np.errstate(divide="ignore", invalid="ignore"):  # no spread: p is 0, or NaN where there is no difference
        p = 2 * stats.t.sf(np.abs(mean) / error, free)
    wins = np.sum(sign(mode) * differences < 0, axis=1)
    better = np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)
    columns = {"pairs": pairs, "difference": mean, "low": mean - reach, "high": mean + reach, "p": holm(p)}
    return pandas.DataFrame(found.columns.iloc[others].reset_index(drop=True).assign(**columns, better=better))


def separations(table: "pandas.DataFrame", names: Sequence[str]) -> "pandas.DataFrame":
    """For each number the one threshold that best parts the settings that diverged from the others.

    Args:
        table: of a sweep, one row for each setting.
        names: its columns that make a setting; a column of text is parted by its values.

    Returns:
        One row for each number, the best first: ``number``, ``where`` (such as ">= 0.3"), how many settings are
        there (``inside``), how many of them diverged (``diverged_inside``), and the same outside; ``gain`` is the
        share of the Gini impurity that the threshold takes away. Empty where all or none diverged.
    """
    import pandas

    bad = table["status"].to_numpy() == "diverged"
    found = []
    if 0 < bad.sum() < len(bad):
        columns = {name: column_of(table, name) for name in names}
        found = [_separation(name, x, bad) for name, x in columns.items() if len(np.unique(ordinal(x))) > 1]
    columns = ["number", "where", "inside", "diverged_inside", "outside", "diverged_outside", "gain"]
    return pandas.DataFrame(sorted(found, key=lambda row: -row[-1]), columns=columns)


def sign(mode: Mode) -> int:
    """What turns a metric into a loss."""
    return 1 if mode == "min" else -1


def ordinal(column: Any) -> np.ndarray:
    """The place of each value among those of its column: what a tree sees of it; -1 for NaN."""
    if column.dtype.kind in "biuf":
        values, codes = np.unique(column.to_numpy(), return_inverse=True)
        return np.where(np.isnan(values[codes].astype(float)), -1, codes)
    return np.unique([repr(value) for value in column], return_inverse=True)[1]


def column_of(table: "pandas.DataFrame", name: str) -> Any:
    """A column, or a ValueError that names those there are."""
    if name not in table:
        raise ValueError(f"the table has no column {name!r}; it has {list(table)}")
    return table[name]


def numbered(table: "pandas.DataFrame", names: Sequence[str]) -> np.ndarray:
    """The same number for rows that agree in all columns."""
    codes = [ordinal(column_of(table, name)) for name in names] or [np.zeros(len(table), int)]
    return np.unique(np.column_stack(codes), axis=0, return_inverse=True)[1].ravel()


class _Repeats(NamedTuple):
    """The settings with their repeats, the best mean first."""

    columns: "pandas.DataFrame"  # what makes each setting
    values: np.ndarray  # [settings, repeats], the metric; NaN where diverged or missing
    diverged: np.ndarray  # [settings], how many
    first: np.ndarray  # [settings], row of the first repeat in the table


def _repeated(
    table: "pandas.DataFrame", names: Sequence[str], metric: str, mode: Mode, over: Sequence[str]
) -> _Repeats:
    kept, again = [name for name in names if name not in over], [name for name in names if name in over]
    bad = (column_of(table, "status") == "diverged").to_numpy()
    measured = column_of(table, metric).to_numpy(float)
    setting, repeat = numbered(table, kept), numbered(table, again)
    listed = table.groupby([setting, repeat]).cumcount().to_numpy()  # a setting listed twice repeats itself
    values = np.full((setting.max() + 1, (repeat.max() + 1) * (listed.max() + 1)), np.nan)
    values[setting, repeat * (listed.max() + 1) + listed] = np.where(bad | ~np.isfinite(measured), np.nan, measured)
    first = np.unique(setting, return_index=True)[1]
    diverged = np.bincount(setting, bad).astype(int)
    mean = _moments(values)[1]
    order = np.lexsort([first, np.where(np.isnan(mean), np.inf, sign(mode) * mean), diverged > 0])
    columns = table[kept].iloc[first[order]].reset_index(drop=True)
    return _Repeats(columns, values[order], diverged[order], first[order])


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and standard deviation of the finite entries of each row; NaN where there are too few."""
    count = np.sum(np.isfinite(values), axis=1)
    mean = np.where(count > 0, np.nansum(values, axis=1) / np.maximum(count, 1), np.nan)
    squares = np.nansum((values - mean[:, None]) ** 2, axis=1)
    return count, mean, np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment; NaN stays NaN and does not count."""
    order = np.argsort(p)  # NaN last
    known = int(np.sum(~np.isnan(p)))
    adjusted = np.full(len(p), np.nan)
    steps = p[order[:known]] * np.arange(known, 0, -1)
    adjusted[order[:known]] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def _separation(name: str, column: Any, bad: np.ndarray) -> tuple[str, str, int, int, int, int, float]:
    """The best threshold or value of one column, and the counts on both sides of it."""
    codes = ordinal(column)
    codes = codes - codes.min()
    ordered = column.dtype.kind in "biuf"
    counts, hits = np.bincount(codes), np.bincount(codes, bad)
    if ordered:  # everything from each value on
        counts, hits = np.cumsum(counts[::-1])[::-1], np.cumsum(hits[::-1])[::-1]
    total, all_bad = len(bad), bad.sum()
    parts = np.flatnonzero((counts > 0) & (counts < total))
    inside, wrong = counts[parts], hits[parts]
    impurity = wrong * (1 - wrong / inside) + (all_bad - wrong) * (1 - (all_bad - wrong) / (total - inside))
    at = parts[np.argmin(impurity)]
    side = codes >= at if ordered else codes == at
    where = f">= {column[side].min():.4g}" if ordered else f"= {column[side].iloc[0]}"
    if ordered and bad[side].mean() < bad[~side].mean():
        side, where = ~side, f"< {column[side].min():.4g}"
    gain = 1 - impurity.min() / (all_bad * (1 - all_bad / total))
    numbers = [int(x) for x in (side.sum(), bad[side].sum(), (~side).sum(), bad[~side].sum())]
    return name, where, numbers[0], numbers[1], numbers[2], numbers[3], float(gain)
