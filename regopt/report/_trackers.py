"""Trackers: callbacks of ``sweep.run`` that show a sweep in TensorBoard, MLflow, Weights & Biases or trackio.

Each setting is one run of the tool. Points are written in batches while the sweep trains, by a thread, so that training
does not wait for a slow tool. A tool that fails ends the tracking with one warning, never the sweep. The client of the
tool is imported when the tracker is made. The exports of finished sweeps are in ``_exporters.py``.
"""

import functools
import time
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from regopt._core.imports import optional
from regopt._core.numerics import check_number
from regopt._core.types import Setting
from regopt.report._live import Live, Points, Run, Tool


class Tracker(NamedTuple):
    """A callback of ``sweep.run``; a custom one is such a pair of functions, or any object with these methods.

    ``on_segment(step, settings, metrics)`` is called in the host process after some settings have trained a segment:
    ``settings`` is a dict from the row of each to its numbers and static values, and ``metrics`` has for each name an
    array with a value for each of them, in the same order. ``on_end(result)`` is called once, with the ``Result``.

    In the trackers of this package points wait while their tool is slow. If more than 100,000 wait, every second one of
    each run is dropped; a warning says so then, and another one at the end says how many. The result has all of them.
    """

    on_segment: Callable[[int, Mapping[int, Setting], Mapping[str, np.ndarray]], None]
    on_end: Callable[[Any], None]  # takes a ``Result``; ``sweep``, which defines it, imports this package


def track_tensorboard(folder: str | Path, *, every: float = 10.0) -> Tracker:
    """Write the curves of a sweep as it trains to event files, a folder for each setting; ``tensorboard`` shows them.

    ``to_tensorboard`` writes the table of the settings (HParams) of a finished sweep.

    Args:
        folder: the log directory, created if it does not exist.
        every: seconds between writes, >= 0.

    Returns:
        The tracker, for ``sweep.run(..., callbacks=[...])``.

    Raises:
        ImportError: tensorboardX is not installed (``pip install 'regopt[tensorboard]'``).
        ValueError: ``every`` is out of range.

    Example:
        >>> from regopt import report, sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.5]})
        >>> tracker = report.track_tensorboard("runs/events")  # doctest: +SKIP
        >>> sweep.run(
        ...     MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2, callbacks=[tracker]
        ... )  # doctest: +SKIP
    """
    return _live("TensorBoard", _TensorBoard(optional("tensorboardX", "tensorboard"), Path(folder)), every)


def track_mlflow(tracking_uri: str, experiment: str = "sweep", *, every: float = 10.0) -> Tracker:
    """Log a sweep as it trains to MLflow, a run for each setting.

    Args:
        tracking_uri: the address of the tracking store, such as ``sqlite:///mlflow.db``.
        experiment: the name of the experiment; the runs are added if it exists.
        every: seconds between writes, >= 0.

    Returns:
        The tracker, for ``sweep.run(..., callbacks=[...])``.

    Raises:
        ImportError: mlflow is not installed (``pip install 'regopt[mlflow]'``).
        ValueError: ``every`` is out of range.

    Example:
        >>> from regopt import report
        >>> tracker = report.track_mlflow("sqlite:///mlflow.db")  # doctest: +SKIP
    """
    entities = optional("mlflow.entities", "mlflow")
    return _live("MLflow", _MLflow(entities, optional("mlflow.tracking", "mlflow"), tracking_uri, experiment), every)


def track_wandb(project: str, *, every: float = 10.0, **options: object) -> Tracker:
    """Log a sweep as it trains to Weights & Biases, a run for each setting.

    Args:
        project: the name of the project.
        every: seconds between writes, >= 0.
        **options: further arguments of ``wandb.init``, such as ``mode="offline"``, ``dir`` and ``group``.

    Returns:
        The tracker, for ``sweep.run(..., callbacks=[...])``.

    Raises:
        ImportError: wandb is not installed (``pip install 'regopt[wandb]'``).
        ValueError: ``every`` is out of range.

    Example:
        >>> from regopt import report
        >>> tracker = report.track_wandb("digits", mode="offline")  # doctest: +SKIP
    """
    return _live(
        "Weights & Biases",
        _Wandb(optional("wandb", "wandb"), {"reinit": "create_new", "project": project, **options}),
        every,
    )


def track_trackio(project: str, *, every: float = 10.0, **options: object) -> Tracker:
    """Log a sweep as it trains to trackio, a run for each setting.

    Args:
        project: the name of the project.
        every: seconds between writes, >= 0.
        **options: further arguments of ``trackio.init``, such as ``space_id`` and ``group``.

    Returns:
        The tracker, for ``sweep.run(..., callbacks=[...])``.

    Raises:
        ImportError: trackio is not installed (``pip install trackio``).
        ValueError: ``every`` is out of range.

    Example:
        >>> from regopt import report
        >>> tracker = report.track_trackio("digits")  # doctest: +SKIP
    """
    return _live("trackio", _Trackio(optional("trackio"), {"embed": False, "project": project, **options}), every)


def _live(name: str, tool: Tool[Run], every: float) -> Tracker:
    """A tracker that keeps points for a while and lets a thread write them; see ``Live``."""
    check_number("every", every, "[0, inf)")
    live = Live(name, tool, every)
    return Tracker(live.on_segment, live.on_end)


class _Writer(Protocol):
    """The part of tensorboardX's ``SummaryWriter`` that is used."""

    def add_text(self, tag: str, text: str, /) -> object: ...
    def add_scalar(self, tag: str, value: float, step: int, /) -> object: ...
    def flush(self) -> object: ...
    def close(self) -> object: ...


class _Logged(Protocol):
    """The part of a run of Weights & Biases that is used; runs of trackio have no summary."""

    @property
    def summary(self) -> MutableMapping[str, object]: ...
    def log(self, values: Mapping[str, float], /, *, step: int) -> object: ...
    def finish(self, *, exit_code: int = ...) -> object: ...


class _TensorBoard:
    def __init__(self, client: ModuleType, folder: Path):
        self._client, self._folder = client, folder

    def open(self, row: int, setting: Mapping[str, object]) -> _Writer:
        writer = self._client.SummaryWriter(str(self._folder / _name(row)))
        writer.add_text("setting", str(dict(setting)))
        return writer

    def write(self, run: _Writer, points: Points) -> None:
        for step, values in points:
            for metric, value in values.items():
                run.add_scalar(metric, value, step)
        run.flush()

    def close(self, run: _Writer, status: str) -> None:
        run.add_text("status", status)
        run.close()


class _MLflow:
    def __init__(self, entities: ModuleType, tracking: ModuleType, uri: str, experiment: str):
        self._entities, self._tracking, self._uri, self._experiment = entities, tracking, uri, experiment

    @functools.cached_property
    def _client(self):
        return self._tracking.MlflowClient(tracking_uri=self._uri)

    @functools.cached_property
    def _number(self) -> str:
        """The number of the experiment, which is made if it does not exist."""
        known = self._client.get_experiment_by_name(self._experiment)
        return known.experiment_id if known else self._client.create_experiment(self._experiment)

    def open(self, row: int, setting: Mapping[str, object]) -> str:
        run = self._client.create_run(self._number, run_name=_name(row))
        params = [self._entities.Param(name, str(value)) for name, value in setting.items()]
        self._client.log_batch(run.info.run_id, params=params)
        return run.info.run_id

    def write(self, run: str, points: Points) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(name, value, now, step) for step, values in points for name, value in values.items()
        ]
        for first in range(0, len(metrics), 1000):  # the most that one batch may hold
            self._client.log_batch(run, metrics=metrics[first : first + 1000])

    def close(self, run: str, status: str) -> None:
        self._client.set_tag(run, "status", status)
        ended = {"diverged": "FAILED", "pruned": "KILLED", "unfinished": "RUNNING"}.get(status, "FINISHED")
        self._client.set_terminated(run, ended) if ended != "RUNNING" else None


class _Trackio:
    def __init__(self, client: ModuleType, options: Mapping[str, object]):
        self._client, self._options = client, options

    def open(self, row: int, setting: Mapping[str, object]) -> _Logged:
        return self._client.init(**{"name": _name(row), **self._options}, config=dict(setting))

    def write(self, run: _Logged, points: Points) -> None:
        for step, values in points:
            run.log(values, step=step)

    def close(self, run: _Logged, status: str) -> None:
        del status
        run.finish()


class _Wandb(_Trackio):  # trackio has the same interface
    def close(self, run: _Logged, status: str) -> None:
        run.summary["status"] = status
        run.finish(exit_code=int(status == "diverged"))


def _name(row: int) -> str:
    return f"setting-{row:04d}"
