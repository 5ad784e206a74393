"""What a sweep is given, checked before a program is built: one clear line names what is wrong."""

import os
import stat
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from regopt._core.messages import brief, suggestion
from regopt._core.numerics import check_number
from regopt._core.types import Task
from regopt.sweep.schedulers import Scheduler
from regopt.sweep.space import Settings
from regopt.sweep.space._dimensions import RESERVED
from regopt.training._checks import check_data, check_key, check_metric, check_steps, check_task


def check(
    *,
    task,
    settings,
    data,
    key,
    devices,
    steps,
    eval_every,
    batch_size,
    chunk,
    slots,
    patience,
    monitor,
    mode,
    noise,
    scheduler,
) -> None:
    """Everything that can be said before a program is built."""
    check_task(task)
    _check_settings(settings)
    check_data(data)
    check_key(key)
    _check_devices(devices)
    check_steps(steps, eval_every, batch_size=batch_size, chunk=chunk, slots=slots)
    check_metric(monitor, mode)
    if not (patience is None or callable(patience)):
        check_number("patience", patience, "[0, inf)")
    if not isinstance(scheduler, Scheduler | None):
        raise ValueError(f"scheduler must come from successive_halving, hyperband or the like, got {brief(scheduler)}")
    if scheduler is not None and (unknown := set(scheduler.changes) - set(settings.numbers)):
        known = suggestion(min(unknown), settings.numbers)
        raise ValueError(f"the scheduler changes {min(unknown)}, which is no number of the settings; {known}")
    for name in () if scheduler is None else scheduler.draws_fractions:
        if settings.numbers[name].dtype.kind in "iu":
            raise ValueError(f"the column {name} must hold floats, as the scheduler draws fractions, got whole numbers")
    if scheduler is not None and scheduler.changes and patience is not None:
        raise ValueError(f"patience must be None where states go from one setting to another, got {brief(patience)}")
    if not (isinstance(noise, str) and noise in ("shared", "per lane")):
        raise ValueError(f'noise must be "shared" or "per lane", got {brief(noise)}')


def check_saving(out: Any, save_every: Any, **switches: Any) -> None:
    """The folder may be made, or is one; the seconds are a number; a switch is true or false."""
    check_number("save_every", save_every, "[0, inf)")
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} must be True or False, got {brief(value)}")
    if out is None:
        return
    if not (isinstance(out, str | os.PathLike) and os.fspath(out)):
        raise ValueError(f"out must be the path of a folder, got {brief(out)}")
    try:
        is_folder = stat.S_ISDIR(os.stat(out).st_mode)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # ValueError of a character that no path may have
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"out must be the path of a folder, got {brief(out)}: {reason}") from error
    if not is_folder:
        raise ValueError(f"out must be the path of a folder, got {brief(out)}, which is none")


def _check_devices(devices: Any) -> None:
    if devices is None:
        return
    if not (isinstance(devices, list | tuple) and devices):
        raise ValueError(f"devices must be a list of at least one device, got {brief(devices)}")
    for device in devices:
        if not isinstance(device, jax.Device):
            raise ValueError(f"devices must be a list of devices, as jax.devices() is, got {brief(device)} in it")
        if devices.count(device) > 1:
            raise ValueError(f"devices must be distinct, got {brief(device)} more than once")


def _check_settings(settings: Any) -> None:
    """They are settings; whole numbers fit the device's int32, and seeds are whole."""
    if not isinstance(settings, Settings):
        raise ValueError(
            f"settings must come from grid, random, sobol or from_columns, got a {type(settings).__name__}"
        )
    for name, column in settings.numbers.items():
        outside = column[column != column.astype(np.int32)] if column.dtype.kind in "iu" else column[:0]
        if len(outside):
            raise ValueError(f"whole numbers must lie in [-2**31, 2**31), got {outside[0]} in the column {name}")
    _check_whole(settings, "seed")


def _check_whole(settings: Settings, name: str) -> None:
    column = settings.columns.get(name)
    if column is not None and np.asarray(column).dtype.kind not in "iu":
        raise ValueError(f"the column {name} must hold whole numbers, got {column[0]!s}")


def check_metric_names(metrics: Sequence[str], settings: Settings) -> None:
    """No metric has the name of another column of the results."""
    if taken := set(metrics) & (set(settings.columns) | RESERVED):
        raise ValueError(f"a metric must not be named {min(taken)!r}: the results have a column of that name")


def check_held(held: int, settings: int) -> None:
    """All settings of a group are on the devices, where one may go on from the state of another."""
    if held < settings:
        raise ValueError(
            f"slots must be at least the {settings} settings of a program where states go from one setting to another, "
            f"got room for {held}"
        )


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
