"""The means of a result over the rows that only repeat a setting (seeds, replicas, folds), and the best one by them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from regopt._core.metrics import as_loss, check_mode
from regopt._core.types import Mode, Setting
from regopt.sweep.results._tables import Tables, mode_in
from regopt.sweep.space import Settings
from regopt.sweep.space._settings import rows_by


class Means(NamedTuple):
    """One entry for each setting, in order of first appearance."""

    rows: list[tuple[int, ...]]  # the rows of the repeats of each
    # each [settings], float: means over the repeats that have a value; NaN if one diverged
    metrics: dict[str, np.ndarray]
    incomplete: dict[str, np.ndarray]  # each [settings], bool: whether a repeat has no value of the metric


def repeated(settings: Settings, diverged: np.ndarray, kept: Mapping[str, np.ndarray], over: Sequence[str]) -> Means:
    """Average the kept metrics over the repeats of each setting.

    Args:
        settings: the settings of the sweep.
        diverged: [settings], bool.
        kept: metrics at the kept steps, each [settings].
        over: the columns that only repeat a setting.

    Returns:
        The means.
    """
    rows = [tuple(each.tolist()) for each in rows_by(settings.repeats(over))]
    bad = np.array([bool(diverged[list(each)].any()) for each in rows])
    metrics, incomplete = {}, {}
    for name, column in kept.items():
        known = [column[list(each)][~np.isnan(column[list(each)])] for each in rows]
        means = np.array([np.mean(values) if len(values) else np.nan for values in known])
        metrics[name] = np.where(bad, np.nan, means)
        incomplete[name] = np.array([len(values) < len(each) for values, each in zip(known, rows, strict=True)])
    return Means(rows, metrics, incomplete)


class Best(NamedTuple):
    """The best setting of a sweep."""

    index: int  # its row in the table
    setting: Setting  # numbers and static values by name, without the columns in which its repeats differ
    metrics: dict[str, float]  # at the step that was kept
    step: int  # the step that was kept
    rows: tuple[int, ...] = ()  # its repeats; ``index`` is the first of them, and the metrics are means over them


def best_of(result: Tables, metric: str | None, mode: Mode | None, over: Sequence[str]) -> Best:
    """See ``Result.best``."""
    metric = str(result.monitor) if metric is None else metric
    kept = result.kept_metrics()
    if metric not in kept:
        raise ValueError(f"metric must be one of {list(kept)}, got {metric!r}")
    if mode is None:
        mode = mode_in(result, metric)
    check_mode(mode)
    means = repeated(result.history.settings, result.history.diverged, kept, over)
    values = as_loss(means.metrics[metric], mode)
    values = np.where(np.isfinite(values), values, np.inf)
    best = int(np.lexsort((values, np.where(np.isfinite(values), means.incomplete[metric], 2)))[0])
    if not np.isfinite(values[best]):
        raise ValueError(f"no setting has a finite {metric}: all {len(kept[metric])} diverged or were not trained")
    rows = means.rows[best]
    return Best(
        rows[0],
        _shared([result.history.settings.row(row) for row in rows], over),
        {name: float(column[best]) for name, column in means.metrics.items()},
        int(result.kept_step[rows[0]]),
        rows,
    )


def _shared(repeats: Sequence[Setting], over: Sequence[str]) -> Setting:
    """The setting without the columns in which its repeats differ."""
    first = repeats[0]
    return {
        name: value for name, value in first.items() if name not in over or all(row[name] == value for row in repeats)
    }
