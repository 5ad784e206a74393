"""What a sweep is given, checked before a program is built: one clear line names what is wrong."""

from typing import Any

import jax
import numpy as np

from regopt.sweep.schedulers import Scheduler
from regopt.sweep.space import Settings
from regopt.training.checks import check_data, check_key, check_steps
from regopt.types import Task


def check(*, settings, data, key, devices, steps, eval_every, batch_size, chunk, slots, noise, mode, scheduler) -> None:
    """Everything that can be said before a program is built."""
    _check_settings(settings)
    check_data(data)
    check_key(key)
    if devices is not None and not (isinstance(devices, list | tuple) and devices):
        raise ValueError(f"devices must be a list of at least one device, got {devices!r}")
    check_steps(steps, eval_every, batch_size=batch_size, chunk=chunk, slots=slots)
    if not isinstance(scheduler, Scheduler | None):
        raise ValueError(f"scheduler must come from successive_halving, hyperband or the like, got {scheduler!r}")
    if scheduler is not None and (unknown := set(scheduler.changes) - set(settings.numbers)):
        raise ValueError(f"the scheduler changes {min(unknown)}, which is no number of the settings")
    if noise not in ("shared", "per lane"):
        raise ValueError(f'noise must be "shared" or "per lane", got {noise!r}')
    if mode not in ("min", "max", None):
        raise ValueError(f'mode must be "min" or "max", got {mode!r}')


def _check_settings(settings: Any) -> None:
    """They are settings; whole numbers fit the device's int32, and seeds are whole."""
    if not isinstance(settings, Settings):
        raise ValueError(
            f"settings must come from grid, random, sobol or from_columns, got a {type(settings).__name__}"
        )
    for name, column in settings.numbers.items():
        if column.dtype.kind in "iu" and not np.array_equal(column, column.astype(np.int32)):
            raise ValueError(f"whole numbers must lie in [-2**31, 2**31), got {column.max()} in the column {name}")
    _check_whole(settings, "seed")


def _check_whole(settings: Settings, name: str) -> None:
    column = settings.columns.get(name)
    if column is not None and np.asarray(column).dtype.kind not in "iu":
        raise ValueError(f"the column {name} must hold whole numbers, got {column[0]!s}")


def check_replicas(settings: Settings, places: np.ndarray | None) -> None:
    """Each setting's replica is a row of the resamples."""
    column = settings.columns.get("replica")
    if places is None and column is not None:
        raise ValueError("a column replica needs resamples [replicas, examples], as regopt.data.bootstrap makes")
    if places is None:
        return
    if column is None:
        raise ValueError("resamples need a column replica in the settings, as sweep.replicas(count) makes")
    _check_whole(settings, "replica")
    _check_within("the column replica", np.asarray(column), len(places), "the rows of resamples")


def as_resamples(resamples: Any, data: Any) -> np.ndarray:
    """Resamples as int32 ``[replicas, examples]``, once it is sure that they are places in ``data.train``."""
    check_data(data)
    try:
        places = np.asarray(resamples)
    except ValueError as error:
        raise ValueError("resamples must be whole numbers [replicas, examples], got rows of several lengths") from error
    if places.ndim != 2 or places.size == 0 or places.dtype.kind not in "iu":
        raise ValueError(
            f"resamples must be whole numbers [replicas, examples], got {places.dtype} of shape {places.shape}"
        )
    _check_within("resamples", places, len(jax.tree.leaves(data.train)[0]), "the places of data.train")
    return places.astype(np.int32)


def check_predicts(task: Task) -> None:
    """The task can predict."""
    if task.predict is None:
        raise ValueError("the task has no predict; give it one: task._replace(predict=...) of (state, inputs, h)")


def _check_within(name: str, values: np.ndarray, size: int, of: str) -> None:
    outside = values[(values < 0) | (values >= size)]
    if outside.size:
        raise ValueError(f"{name} must lie in [0, {size - 1}], {of}, got {outside[0]}")
