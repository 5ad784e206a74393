"""The Pareto front of a sweep: the settings that no other one beats in several metrics at once."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regopt._core.messages import brief
from regopt._core.metrics import as_loss, check_mode
from regopt._core.types import Mode
from regopt.report import front_figure
from regopt.sweep.results._best import repeated
from regopt.sweep.results._tables import Tables, mode_in
from regopt.sweep.space._dimensions import Column

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects

PARAMETERS = "parameters"  # the number of parameters, beside the metrics and the columns


class Pareto(NamedTuple):
    """The Pareto front of a sweep.

    Example:
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.2, 0.5, 0.9], "cost": [1.0, 3.0, 2.0, 4.0]})
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2)
        >>> result.pareto(["validation_loss", "cost"], {"cost": "min"}).front["rate"].tolist()
        [0.9, 0.5, 0.1]

    References:
        Deb, K., Pratap, A., Agarwal, S., & Meyarivan, T. (2002). A fast and elitist multiobjective genetic algorithm:
        NSGA-II. IEEE Transactions on Evolutionary Computation, 6(2), 182-197. Section III-A.
    """

    table: "pandas.DataFrame"  # one row a setting: its columns, the metrics, ``on_front``; index: its first row
    metrics: tuple[str, ...]
    modes: dict[str, Mode]

    @property
    def front(self) -> "pandas.DataFrame":
        """The settings of the front, the best in the first metric first."""
        first = self.metrics[0]
        front = self.table.loc[self.table["on_front"]]
        return front.sort_values(by=[first], key=lambda values: as_loss(values, self.modes[first]), kind="stable")

    def plot(self) -> "plotly.graph_objects.Figure":
        """Draw all settings over the first two metrics, and the front as a line.

        Returns:
            A Plotly figure; ``write_html`` saves it, and a notebook shows it.

        Raises:
            ImportError: plotly is not installed (``pip install 'regopt[report]'``).
        """
        return front_figure(self.table, self.metrics, self.modes)


def pareto(result: Tables, metrics: Sequence[str], modes: Mapping[str, Mode] | None, over: Sequence[str]) -> Pareto:
    """See ``Result.pareto``."""
    import pandas

    if isinstance(metrics, str) or len(set(metrics)) != len(metrics) or len(metrics) < 2:
        raise ValueError(f"metrics must be the names of at least two metrics, got {brief(metrics)}")
    settings = result.history.settings
    known = dict(result.kept_metrics())
    if result.parameters is not None:
        known[PARAMETERS] = np.where(result.kept_step > 0, result.parameters.astype(float), np.nan)
    columns = {name: column for name, column in settings.columns.items() if _is_numbers(column)}
    for name in metrics:
        if name not in known and name not in columns:
            raise ValueError(f"metrics must be among {[*known, *columns]}, got {brief(name)}")
    values = {name: known[name] if name in known else np.asarray(columns[name], float) for name in metrics}
    directions: dict[str, Mode] = {name: _direction(result, name, modes or {}) for name in metrics}
    means = repeated(settings, result.history.diverged, values, over)
    points = np.stack([as_loss(means.metrics[name], directions[name]) for name in metrics], axis=1)
    kept = np.flatnonzero(np.isfinite(points).all(axis=1) & ~np.any(list(means.incomplete.values()), axis=0))
    if not len(kept):
        raise ValueError(f"no setting has finite values of {list(metrics)}")
    rows = [means.rows[place][0] for place in kept]
    table = pandas.DataFrame([settings.row(row) for row in rows], index=pandas.Index(rows, name="setting"))
    table = table[[name for name in table if name not in over]]
    table = table.assign(**{name: means.metrics[name][kept] for name in metrics}, on_front=_on_front(points[kept]))
    return Pareto(table, tuple(metrics), directions)


def _on_front(points: np.ndarray) -> np.ndarray:
    """[settings], bool: whether no other point is at least as small everywhere and smaller somewhere."""
    found = np.empty(len(points), bool)
    for place, point in enumerate(points):  # row by row: all pairs at once would take settings^2 memory
        found[place] = not np.any(np.all(points <= point, axis=1) & np.any(points < point, axis=1))
    return found


def _direction(result: Tables, name: str, modes: Mapping[str, Mode]) -> Mode:
    if name in modes:
        check_mode(modes[name], f"the mode of {name}")
        return modes[name]
    if name == PARAMETERS:
        return "min"
    return mode_in(result, name)


def _is_numbers(column: Column) -> bool:
    return np.asarray(column, object).size > 0 and all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in column
    )
