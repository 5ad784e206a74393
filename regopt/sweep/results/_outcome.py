"""What a sweep knows of its settings when it ends, and what it needs of their trained states."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, Protocol, TypeVar

import numpy as np

from regopt._core.io import JsonObject
from regopt._core.types import Tree
from regopt.sweep.results._history import History

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
class Outcome:
    """What tables, statistics and files read of a ``Result``: everything but the trained states."""

    history: History
    monitor: str
    mode: Literal["min", "max"]
    keeps_best: bool  # whether early stopping kept the best state of each setting
    interrupted: bool  # whether a signal ended the sweep before all settings were done
    trace_seconds: float  # in which JAX traced and lowered the programs
    compile_seconds: float  # in which XLA compiled them, or read them from the persistent cache
    run_seconds: float
    chunk: int  # number of settings that a device trained at once, in the largest group
    temporary_bytes: int  # of a device in training, in the largest group
    busy_share: float  # the share of the slots of all calls that trained a setting, in [0, 1]
    config: JsonObject = dataclasses.field(default_factory=dict, repr=False)  # resolved
    versions: JsonObject = dataclasses.field(default_factory=dict, repr=False)  # what the numbers depend on
    modes: Mapping[str, Literal["min", "max"]] = dataclasses.field(default_factory=dict, repr=False)  # of the metrics
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
