"""The input of a report: tables, curves and two dictionaries, independent of the sweep that they come from."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from regopt._core.metrics import as_loss
from regopt._core.types import Mode

if TYPE_CHECKING:
    import pandas
    import xarray

REPEATED = ("seed", "replica", "fold")  # columns whose values repeat a setting rather than change it


@dataclasses.dataclass(frozen=True)
class Findings:
    """A sweep as tables: the input of every report.

    Attributes:
        title: the title of the page.
        table: one row for each setting, its index 0, 1, ...: the columns in ``names``, ``status``, ``last_step``,
            ``kept_step``, ``first_bad_step``, and the metrics at the kept step.
        curves: the metrics over ``setting`` and ``step``; NaN where a setting was not trained.
        names: the columns that make a setting.
        monitor: the metric that decides which setting is best.
        mode: whether a smaller or a larger value of it is better.
        config: the resolved config.
        versions: the versions of the packages that the numbers depend on.
        modes: whether a smaller or a larger value of other metrics is better, for those that declare it.
        repeats: one row for each setting without its seed: ``count``, ``mean``, ``low``, ``high``, the best first.
        importance: one row for each number: ``share``, ``low``, ``high``, the most important first.
        explained: ``r2``, ``low``, ``high`` of the forest that the importance comes from, on held-out settings.
        separations: one row for each number: the range ``where`` settings diverged, the counts ``inside`` and
            ``diverged_inside``, and the same two counts outside.

    Example:
        >>> from regopt import sweep
        >>> from regopt.report import Findings
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.5, 1e30]})
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2)
        >>> found = Findings(
        ...     "Three rates", result.to_pandas(), result.curves(), ("rate",), monitor="validation_loss", mode="min"
        ... )
        >>> found.order.tolist(), found.diverged.tolist(), found.setting(1)
        ([1, 0], [False, False, True], {'rate': 0.5})
    """

    title: str
    table: "pandas.DataFrame"
    curves: "xarray.Dataset"
    names: tuple[str, ...]
    monitor: str
    mode: Mode
    config: Mapping[str, object] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, object] = dataclasses.field(default_factory=dict)
    repeats: "pandas.DataFrame | None" = None
    importance: "pandas.DataFrame | None" = None
    explained: "pandas.Series | None" = None
    separations: "pandas.DataFrame | None" = None
    modes: Mapping[str, Mode] = dataclasses.field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """The metrics, the monitor first."""
        return [self.monitor, *(str(name) for name in self.curves.data_vars if name != self.monitor)]

    @property
    def varying(self) -> list[str]:
        """The names with more than one value."""
        return [name for name in self.names if len({repr(value) for value in self.table[name]}) > 1]

    @property
    def diverged(self) -> np.ndarray:
        """``[settings]``, bool."""
        return (self.table["status"] == "diverged").to_numpy()

    @property
    def values(self) -> np.ndarray:
        """The monitor at the kept step, ``[settings]``; NaN where the setting diverged or the value is not finite."""
        values = self.table[self.monitor].to_numpy(float)
        return np.where(self.diverged | ~np.isfinite(values), np.nan, values)

    @property
    def order(self) -> np.ndarray:
        """The rows with a finite value, the best first; equal values keep the order of the table."""
        losses = as_loss(self.values, self.mode)
        return np.argsort(losses, kind="stable")[: np.isfinite(losses).sum()]

    @functools.cached_property
    def best_rows(self) -> np.ndarray:
        """The rows of the best setting: all repeats of the one with the best mean; one row without repeats."""
        if self.repeats is None or not np.isfinite(self.repeats["mean"].iloc[0]):
            return self.order[:1]
        same = np.ones(len(self.table), bool)
        for name in (name for name in self.names if name not in REPEATED):
            value = plain(self.repeats[name].iloc[0])  # a row would convert all of them to floats
            same &= [_same(plain(other), value) for other in self.table[name]]
        return np.flatnonzero(same)

    @functools.cached_property
    def shown(self) -> np.ndarray:
        """The rows with a finite value in the order in which figures show them: those of the best setting first."""
        return np.concatenate([self.order[first := np.isin(self.order, self.best_rows)], self.order[~first]])

    def setting(self, row: int) -> dict[str, object]:
        """One setting as Python values."""
        return {name: plain(self.table[name].iloc[row]) for name in self.names}

    def is_number(self, name: str) -> bool:
        """Whether a column holds numbers, rather than text, booleans or other values."""
        return self.table[name].dtype.kind in "iuf"


def plain(value: object) -> object:
    """A NumPy scalar as a Python scalar; any other value unchanged."""
    return value.item() if isinstance(value, np.generic) else value


def _same(a: object, b: object) -> bool:
    """Whether two values are equal; NaN equals itself."""
    return a == b or repr(a) == repr(b)


class Reportable(Protocol):
    """An object that gives its findings itself, as a ``Result`` of a sweep does."""

    def findings(self, title: str = "Sweep", *, thorough: bool = True) -> Findings:
        """The tables of a report."""
        ...


def as_findings(source: Findings | Reportable, *, thorough: bool = False) -> Findings:
    """The findings of a result, or the findings themselves."""
    return source if isinstance(source, Findings) else source.findings(thorough=thorough)
