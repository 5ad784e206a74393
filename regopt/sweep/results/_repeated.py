"""The means of a result over the rows that only repeat a setting: seeds, replicas, folds."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from regopt.sweep.space import Settings


class Means(NamedTuple):
    """One entry for each setting, in order of first appearance."""

    rows: list[tuple[int, ...]]  # of its repeats
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
    numbers = settings.repeats(over)
    rows = [tuple(np.flatnonzero(numbers == number).tolist()) for number in range(int(numbers.max()) + 1)]
    bad = np.array([bool(diverged[list(each)].any()) for each in rows])
    metrics, incomplete = {}, {}
    for name, column in kept.items():
        known = [column[list(each)][~np.isnan(column[list(each)])] for each in rows]
        means = np.array([np.mean(values) if len(values) else np.nan for values in known])
        metrics[name] = np.where(bad, np.nan, means)
        incomplete[name] = np.array([len(values) < len(each) for values, each in zip(known, rows, strict=True)])
    return Means(rows, metrics, incomplete)
