"""The importance of each number: how much worse a random forest ranks held-out settings when it is shuffled."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regopt._core.metrics import as_loss
from regopt._core.numerics import check_range
from regopt._core.types import Mode
from regopt.report import REPEATED
from regopt.sweep.results._statistics import column_of, mode_given, numbered, ordinal

if TYPE_CHECKING:
    import pandas


class Importance(NamedTuple):
    """The share of each number in the variance of the ranks of the settings."""

    numbers: "pandas.DataFrame"  # index number; columns share, low, high; most important first
    explained: "pandas.Series"  # r2, low, high: R^2 of the forest on settings that it has not seen
    settings: int  # number of rows of the table that were used


def importance(
    table: "pandas.DataFrame",
    names: Sequence[str],
    metric: str,
    mode: Mode | None = None,
    *,
    over: Sequence[str] = REPEATED,
    folds: int = 5,
    rounds: int = 2,
    level: float = 0.95,
    most: int = 2000,
    seed: int = 0,
) -> Importance:
    """How much worse a random forest ranks held-out settings when one number is shuffled among them.

    A forest learns the rank of a setting by its metric, diverged settings last, from one part of the settings and
    predicts the rank of the others: ``share = (R^2 - R^2 with the number shuffled) / 2``. For independent numbers this
    is the share of the variance in which the number takes part (the total Sobol index of the forest), so the shares of
    numbers that interact add up to more than R^2. The forest learns ranks, so neither a single loss of 1e6 nor the
    scale of the metric matters, nor does the order of the columns. Repeats of one setting are always on the same side
    of a split. The intervals are Student's over the splits, widened because splits share settings. Where R^2 is small,
    the shares mean little. Where two numbers are correlated by design, the forest can replace one by the other, and
    both shares are too small.

    Args:
        table: the table of a sweep, one row for each setting.
        names: the columns that make a setting; those that do not vary are left out.
        metric: the column to explain; rows that have no value and did not diverge are left out.
        mode: whether a smaller or a larger metric is better; may be left out for a loss, which is minimised.
        over: the columns among ``names`` that only repeat a setting.
        folds: number of parts of a split, each held out once, >= 2.
        rounds: number of random splits into parts, >= 1.
        level: level of the intervals, in (0, 1).
        most: the most rows to use, drawn at random from a larger table, >= 20.
        seed: seed of the splits, the forests and the shuffles, >= 0.

    Returns:
        The share of each number with its interval, the R^2 of the forest on held-out settings, and the number of rows
        that were used.

    Raises:
        ValueError: an argument is out of range, no number varies or the metric does not, fewer than 20 settings can be
            used, or the metric needs a ``mode``.
        ImportError: pandas, SciPy or scikit-learn is not installed.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from regopt import sweep
        >>> draws = np.random.default_rng(0).uniform(size=(60, 2))
        >>> table = pd.DataFrame(draws, columns=["strong", "weak"]).assign(status="done")
        >>> table["loss"] = 3 * table["strong"] + 0.1 * table["weak"]
        >>> found = sweep.importance(table, ["weak", "strong"], "loss", folds=2, rounds=1)
        >>> list(found.numbers.index), bool(found.explained["r2"] > 0.9)
        (['strong', 'weak'], True)

    References:
        Breiman, L. (2001). Random forests. Machine Learning, 45(1), 5-32. Section 10.

        Gregorutti, B., Michel, B., & Saint-Pierre, P. (2017). Correlation and variable importance in random forests.
        Statistics and Computing, 27(3), 659-678. Proposition 1.

        Nadeau, C., & Bengio, Y. (2003). Inference for the generalization error. Machine Learning, 52(3), 239-281.
        Section 4, for the corrected resampled t interval.
    """
    import pandas

    check_range("folds", folds, "[2, inf)")
    check_range("rounds", rounds, "[1, inf)")
    check_range("level", level, "(0, 1)")
    check_range("most", most, "[20, inf)")
    target = _ranks(table, metric, mode)
    rows = np.flatnonzero(~np.isnan(target))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    columns = {name: ordinal(column_of(table, name))[rows] for name in sorted(names)}
    varying = [name for name, column in columns.items() if len(np.unique(column)) > 1]
    if not varying:
        raise ValueError("importance needs at least one column of the settings whose values vary, got none")
    if np.ptp(target[rows]) == 0:
        raise ValueError(f"importance needs a metric whose values vary, got a single value of {metric}")
    inputs = np.column_stack([columns[name] for name in varying])
    groups = numbered(table.iloc[rows], [name for name in varying if name not in over] or varying)
    if groups.max() + 1 < 20:
        raise ValueError(f"importance needs at least 20 settings, got {groups.max() + 1}")
    scores, drops = _held_out(inputs, target[rows], groups, folds=folds, rounds=rounds, seed=seed)
    columns = dict(zip(("share", "low", "high"), _resampled_interval(drops / 2, folds, level), strict=True))
    numbers = pandas.DataFrame(columns, index=pandas.Index(varying, name="number"))
    explained = [float(x[0]) for x in _resampled_interval(scores[:, None], folds, level)]
    return Importance(
        numbers.sort_values("share", ascending=False, kind="stable"),
        pandas.Series(explained, index=["r2", "low", "high"]),
        len(rows),
    )


def _ranks(table: "pandas.DataFrame", metric: str, mode: Mode | None) -> np.ndarray:
    """Ranks in [0, 1], the best 0 and all diverged settings last; NaN where there is no metric."""
    from scipy import stats

    values = as_loss(column_of(table, metric).to_numpy(float), mode_given(metric, mode))
    values = np.where(table["status"].to_numpy() == "diverged", np.inf, values)
    return (stats.rankdata(values, nan_policy="omit") - 1) / max(np.sum(~np.isnan(values)) - 1, 1)


def _held_out(
    inputs: np.ndarray, target: np.ndarray, groups: np.ndarray, *, folds: int, rounds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """R^2 on each held-out part, ``[splits]``, and the loss of R^2 for each shuffled number, ``[splits, numbers]``."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import GroupKFold

    scores, drops = [], []
    for turn in range(rounds):
        splitter = GroupKFold(folds, shuffle=True, random_state=seed + turn)
        for train, test in splitter.split(inputs, target, groups):
            forest = RandomForestRegressor(100, random_state=seed).fit(inputs[train], target[train])
            scores.append(forest.score(inputs[test], target[test]))
            shuffled = permutation_importance(forest, inputs[test], target[test], n_repeats=5, random_state=seed)
            drops.append(shuffled["importances_mean"])
    return np.array(scores), np.array(drops)


def _resampled_interval(values: np.ndarray, folds: int, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and ends of the corrected resampled t interval over the first axis."""
    from scipy import stats

    count = len(values)
    mean = values.mean(axis=0)
    ratio = 1 / (folds - 1)  # of test to training settings
    spread = np.sqrt((1 / count + ratio) * values.var(axis=0, ddof=1))
    reach = stats.t.ppf((1 + level) / 2, count - 1) * spread
    return mean, mean - reach, mean + reach
