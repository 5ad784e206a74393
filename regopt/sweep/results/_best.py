"""The best setting of a sweep: by the mean over the rows that only repeat it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from regopt._core.metrics import as_loss, check_mode
from regopt._core.types import Mode, Setting
from regopt.sweep.results._repeated import repeated
from regopt.sweep.results._tables import Tables, mode_in


class Best(NamedTuple):
    """The best setting of a sweep."""

    index: int  # its row in the table
    setting: Setting  # numbers and static values by name
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
        result.history.settings.row(rows[0]),
        {name: float(column[best]) for name, column in means.metrics.items()},
        int(result.kept_step[rows[0]]),
        rows,
    )
