"""The tables of a sweep: what happened to each setting, as arrays and as pandas and xarray objects."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from regopt._core.imports import optional
from regopt._core.io import JsonObject
from regopt._core.metrics import require_direction
from regopt._core.types import Mode, Tree
from regopt.sweep.results._history import History
from regopt.sweep.space._dimensions import Column

if TYPE_CHECKING:
    import pandas
    import xarray

Trained = TypeVar("Trained", covariant=True)


class States(Protocol[Trained]):
    """The source of the trained states of a result: devices, workers, or a folder."""

    def state(self, setting: int) -> Tree:
        """The task's state of one setting at its kept step, with NumPy leaves."""
        ...

    def refit(self, setting: int | None) -> Trained:
        """Train one setting again, or all of them: a ``Result``."""
        ...

    def outputs(self, wanted: np.ndarray, inputs: Tree) -> np.ndarray:
        """The task's outputs at the kept states of the settings that are wanted, ``[settings, ...]``."""
        ...


@dataclasses.dataclass(frozen=True)
class Tables:
    """A ``Result`` without its trained states: what statistics and files read of it."""

    history: History
    monitor: str
    mode: Mode
    keeps_best: bool  # whether early stopping kept the best state of each setting
    interrupted: bool  # whether a signal ended the sweep before all settings were done
    trace_seconds: float  # in which JAX traced and lowered the programs
    compile_seconds: float  # in which XLA compiled them, or read them from the persistent cache
    run_seconds: float
    chunk: int  # number of settings that a device trained at once, in the largest group
    temporary_bytes: int  # of a device in training, in the largest group
    busy_share: float  # the share of the places in all chunks that trained a setting, in [0, 1]
    config: JsonObject = dataclasses.field(default_factory=dict, repr=False)  # resolved
    versions: JsonObject = dataclasses.field(default_factory=dict, repr=False)  # of packages, device and options
    modes: Mapping[str, Mode] = dataclasses.field(default_factory=dict, repr=False)  # of the metrics
    parameters: np.ndarray | None = dataclasses.field(default=None, repr=False)  # [settings], int: parameters of each

    @property
    def kept_step(self) -> np.ndarray:
        """[settings], int: the step whose state was kept; 0 where nothing was trained."""
        return self.history.best_step if self.keeps_best else self.history.last_step

    @property
    def status(self) -> np.ndarray:
        """[settings], str: done, stopped (by early stopping), pruned (by the scheduler), diverged or unfinished."""
        history = self.history
        return np.select(
            [history.diverged, history.stopped, history.pruned, ~history.training & (history.last_step > 0)],
            ["diverged", "stopped", "pruned", "done"],
            "unfinished",
        )

    def kept_metrics(self) -> dict[str, np.ndarray]:
        """Each metric ``[settings]`` at the kept step, NaN where there is none."""
        history = self.history
        at = np.searchsorted(history.steps, self.kept_step)
        rows = np.arange(len(history.settings))
        known = self.kept_step > 0
        at = np.where(known, at, 0)
        return {name: np.where(known, curve[rows, at], np.nan) for name, curve in history.curves.items()}

    def to_pandas(self) -> "pandas.DataFrame":
        """One row for each setting: its numbers and static values, status, steps, and metrics at the kept step.

        Returns:
            The table; ``first_bad_step`` is the first step with a metric that is not finite, which is the step after a
            bad update; where only the state or the evaluation is not finite, it is the last step before that
            evaluation. It is missing for settings that did not diverge. A sweep on a mixed fleet has a column
            ``device``, the kind on which a setting was last trained.

        Raises:
            ImportError: pandas is not installed.
        """
        pandas = optional("pandas", "report")
        history = self.history
        bad = pandas.array(history.first_bad_step, dtype="Int64")
        bad[~history.diverged] = pandas.NA
        columns = {
            **{name: _as_column(column) for name, column in history.settings.columns.items()},
            "status": self.status,
            **{name: np.char.decode(kinds, errors="replace") for name, kinds in history.places.items()},
            "last_step": history.last_step,
            "kept_step": self.kept_step,
            "first_bad_step": bad,
            **self.kept_metrics(),
        }
        return pandas.DataFrame(columns, index=pandas.RangeIndex(len(history.settings), name="setting"))

    def curves(self) -> "xarray.Dataset":
        """The metrics over training, with dimensions ``setting`` and ``step``; NaN where not trained.

        Returns:
            The data set; the settings' columns are coordinates.

        Raises:
            ImportError: xarray is not installed.
        """
        xarray = optional("xarray", "report")
        history = self.history
        coordinates = {name: ("setting", _as_column(column)) for name, column in history.settings.columns.items()}
        return xarray.Dataset(
            {name: (("setting", "step"), values) for name, values in history.curves.items()},
            coords={"setting": np.arange(len(history.settings)), "step": history.steps, **coordinates},
        )

    def lineage(self) -> "pandas.DataFrame":
        """The lineage of settings in a ``population_based_training``: whose state each continued, with which numbers.

        Returns:
            A row for each setting and segment trained: ``setting``, the ``step`` at which the segment began, the
            ``parent`` whose state it began with (the setting itself where it kept its own), and the numbers that may
            change, as the segment used them.

        Raises:
            ImportError: pandas is not installed.
        """
        pandas = optional("pandas", "report")
        history = self.history
        trained = np.arange(len(history.steps)) < history.segments[:, None]
        settings, segments = np.nonzero(trained)
        parents = history.parents[trained]
        columns = {
            "setting": settings,
            "step": segments * int(history.steps[0]),
            "parent": np.where(parents < 0, settings, parents),
            **{name: values[trained] for name, values in history.used.items()},
        }
        return pandas.DataFrame(columns)


def _as_column(values: Column) -> np.ndarray:
    """A column as a one-dimensional array; values that are tuples stay whole."""
    if isinstance(values, np.ndarray):
        return values
    column = np.empty(len(values), object)
    column[:] = values
    return column


def mode_in(result: Tables, metric: str) -> Mode:
    """Whether a smaller or a larger value of a metric is better: as the sweep was told, or as the metric declares."""
    return result.mode if metric == result.monitor else require_direction(metric, result.modes)
