"""Checks of the arguments of a sweep, before a program is built: one line names the fault and the fix."""

import os
import stat
import zlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from regopt._core.checks import check_choice, check_switch
from regopt._core.messages import brief, suggestion
from regopt._core.numerics import check_number, check_whole
from regopt._core.training_data import check_data
from regopt._core.types import Task, Tree
from regopt.data import Splits
from regopt.sweep.checkpoint import check_writable
from regopt.sweep.engine._iterated import Iterated
from regopt.sweep.engine._streams import Evaluated, Stream
from regopt.sweep.schedulers import Decision, Scheduler
from regopt.sweep.space import Settings
from regopt.sweep.space._settings import BATCH_SIZE, RESERVED

FOLD = "fold"  # the column of cross-validation
_FOLDS = np.uint32(zlib.crc32(b"folds"))  # folded into the key; far from the purposes that share it


def whole(name: str) -> Callable[[object], None]:
    """A check that an argument is a whole number >= 1."""
    return lambda value: check_whole(name, value, "[1, inf)")


def switch(name: str) -> Callable[[object], None]:
    """A check that an argument is True or False."""
    return lambda value: check_switch(name, value)


def one_of(name: str, *words: str) -> Callable[[object], None]:
    """A check that an argument is one of these words."""
    return lambda value: check_choice(name, value, words)


def check_patience(patience: object) -> None:
    """Check that the patience is None, a number >= 0, or a function of the setting."""
    if not (patience is None or callable(patience)):
        check_number("patience", patience, "[0, inf)")


def check_precision(precision: object) -> None:
    """Check that the precision is None, or one that ``jax.default_matmul_precision`` takes."""
    if precision is None:
        return
    try:
        with jax.default_matmul_precision(precision):
            pass
    except (TypeError, ValueError):
        names = '"default", "high", "highest", "bfloat16", "tensorfloat32", "float32" or an algorithm of JAX'
        raise ValueError(f"default_matmul_precision must be {names}, got {brief(precision)}") from None


def check_scheduler(scheduler: object) -> None:
    """Check that the argument is a scheduler, or None."""
    if not isinstance(scheduler, Scheduler | None):
        raise ValueError(f"scheduler must come from a call such as successive_halving(), got {brief(scheduler)}")


def check_callbacks(callbacks: object) -> None:
    """Check that the callbacks are a list of functions, or of objects with ``on_segment``."""
    if not isinstance(callbacks, Sequence) or hasattr(callbacks, "on_segment") or isinstance(callbacks, str):
        raise ValueError(f"callbacks must be a list, got {brief(callbacks)}")
    for callback in callbacks:
        if not callable(getattr(callback, "on_segment", callback)):
            raise ValueError(f"callbacks must be functions, or have on_segment, got {brief(callback)}")


def check_changes(scheduler: Scheduler | None, settings: Settings, patience: object) -> None:
    """Check that the scheduler changes numbers of the settings only, in columns that hold the new values."""
    if scheduler is None:
        return
    if unknown := set(scheduler.changes) - set(settings.numbers):
        known = suggestion(min(unknown), settings.numbers)
        raise ValueError(
            f"the scheduler changes {min(unknown)}, which is not a column of numbers of the settings; {known}"
        )
    for name in scheduler.draws_fractions:
        if settings.numbers[name].dtype.kind in "iu":
            raise ValueError(
                f"the column {name} must hold floats, because the scheduler draws fractions for it, got whole numbers"
            )
    if scheduler.changes and patience is not None:
        raise ValueError(
            f"patience must be None with a scheduler that copies states between settings, got {brief(patience)}"
        )


def check_batch_sizes(settings: Settings, batch_size: int | None) -> None:
    """Check that batches have one size each: of the column ``batch_size`` or of the argument."""
    sizes = settings.static.get(BATCH_SIZE)
    if sizes is None:
        return
    if batch_size is not None:
        raise ValueError(f"batch_size must be None where the settings have a column batch_size, got {batch_size}")
    for size in set(sizes):
        if size is not None:
            check_whole("the column batch_size", size, "[1, inf)")


def check_decision(decision: object, settings: int) -> None:
    """Check that a scheduler returned a decision, with an entry for each of this many settings."""
    if not isinstance(decision, Decision):
        raise ValueError(f"the scheduler must return a Decision, got {brief(decision)}")
    flags = {"wait": decision.wait, "prune": decision.prune}
    parents = {} if decision.parents is None else {"parents": decision.parents}
    for name, column in {**flags, **parents, **decision.numbers}.items():
        if np.shape(column) != (settings,):
            raise ValueError(f"the scheduler's {name} must have shape ({settings},), got {np.shape(column)}")
    for name, column in flags.items():
        if not hasattr(column, "dtype") or np.asarray(column).dtype.kind != "b":
            raise ValueError(f"the scheduler's {name} must be an array of booleans, got {brief(column)}")
    for name, column in parents.items():
        if np.asarray(column).dtype.kind not in "iu" or np.min(column) < 0 or np.max(column) >= settings:
            raise ValueError(f"the scheduler's {name} must be integers in [0, {settings}), got {brief(column)}")


def check_save_every(seconds: object) -> None:
    """Check that the argument is a number of seconds >= 0."""
    check_number("save_every", seconds, "[0, inf)")


def check_cache(size: object) -> None:
    """Check that the argument is a number of bytes >= 0."""
    check_number("eval_cache_bytes", size, "[0, inf)")


def check_folder(out: object) -> None:
    """Check that the argument is None, or the path of a folder that exists or may be made."""
    if out is None:
        return
    if not (isinstance(out, str | os.PathLike) and os.fspath(out)):
        raise ValueError(f"out must be the path of a folder, got {brief(out)}")
    try:
        is_folder = stat.S_ISDIR(os.stat(out).st_mode)
    except FileNotFoundError:
        is_folder = True  # one that is yet to be made
    except (OSError, ValueError) as error:  # ValueError of a character that no path may have
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"out must be the path of a folder, got {brief(out)}: {reason}") from error
    if not is_folder:
        raise ValueError(f"out must be the path of a folder, got {brief(out)}, which is not a folder")
    check_writable(os.fsdecode(out))


def check_devices(devices: object) -> None:
    """Check that the argument is None, or a list of distinct devices."""
    if devices is None:
        return
    if not (isinstance(devices, list | tuple) and devices):
        raise ValueError(f"devices must be a list of at least one device, got {brief(devices)}")
    for device in devices:
        if not isinstance(device, jax.Device):
            raise ValueError(f"devices must be a list of devices, as jax.devices() is, got {brief(device)} in it")
        if devices.count(device) > 1:
            raise ValueError(f"devices must be distinct, got {brief(device)} more than once")


def check_settings(settings: object) -> None:
    """Check that the argument is a table of settings whose whole numbers fit int32 and whose seeds are whole."""
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
    """Check that no metric has the name of another column of the results."""
    if taken := set(metrics) & (set(settings.columns) | RESERVED):
        raise ValueError(f"a metric must not be named {min(taken)!r}: the results have a column of that name")


def check_leaves(state: Tree, devices: int) -> None:
    """Check that all arrays have elements, because JAX spreads no empty array over several devices."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if devices > 1 and 0 in leaf.shape:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise ValueError(f"the task's state must have elements in every leaf, got {name} of shape {leaf.shape}")


def check_held(held: int, settings: int) -> None:
    """Check that all settings of a group are on the devices, which a scheduler that copies states needs."""
    if held < settings:
        raise ValueError(
            f"slots must be at least {settings}, the number of settings that share a program, with a scheduler that "
            f"copies states between settings, got room for {held}"
        )


def check_replicas(settings: Settings, places: np.ndarray | None) -> None:
    """Check that the replica of each setting is a row of the resamples."""
    column = settings.columns.get("replica")
    if FOLD in settings.columns:
        return
    if places is None and column is not None:
        raise ValueError(
            "the column replica needs resamples, [replicas, examples], as regopt.data.bootstrap returns them"
        )
    if places is None:
        return
    if column is None:
        raise ValueError("resamples need a column replica in the settings, as sweep.replicas(count) gives it")
    _check_whole(settings, "replica")
    _check_within("the column replica", np.asarray(column), len(places), "the rows of resamples")


def check_parts(data: object) -> None:
    """Require a training and a validation part, which may be no arrays: both may stream."""
    check_data(data, tuple(name for name in ("train", "validation") if getattr(data, name, None) is None))


def check_stream(stream: Stream | Iterated | None, resamples: object) -> None:
    """Check that nothing asks for single rows of data that stream."""
    if stream is not None and resamples is not None:
        raise ValueError("data.train must be arrays in memory with resamples, got data that stream")


def check_evaluated(batches: Evaluated | None, settings: Settings) -> None:
    """Check that nothing else is evaluated than validation data that stream."""
    if batches is not None and FOLD in settings.columns:
        raise ValueError(
            "data.validation must be arrays with a column fold, which evaluates on parts of data.train, got data that "
            "stream"
        )


def as_resamples(resamples: object, data: Splits) -> np.ndarray:
    """Resamples as int32 ``[replicas, examples]``, after a check that they are indices into ``data.train``."""
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


def as_folds(settings: Settings, data: Splits, key: jax.Array, resamples: object) -> tuple[np.ndarray, np.ndarray]:
    """The places of ``data.train`` on which each fold trains and is evaluated, ``[folds, examples]`` int32 each."""
    check_data(data)
    if resamples is not None or "replica" in settings.columns:
        raise ValueError("the column fold cannot be combined with resamples or a column replica: leave these out")
    _check_whole(settings, FOLD)
    column = np.asarray(settings.columns[FOLD])
    count = int(column.max()) + 1
    if sorted(set(column.tolist())) != list(range(count)) or count < 2:
        raise ValueError(
            "the column fold must hold every whole number from 0 to the number of folds - 1, with at least 2 folds, "
            f"got {sorted(set(column.tolist()))}"
        )
    examples = len(jax.tree.leaves(data.train)[0])
    if examples < count:
        raise ValueError(f"the column fold must name at most {examples} folds, the number of examples, got {count}")
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, _FOLDS), examples)).astype(np.int32)
    size = examples // count
    parts = [np.arange(fold * size, (fold + 1) * size) for fold in range(count)]
    trained = np.stack([np.sort(np.delete(order, part)) for part in parts])
    return trained, np.stack([np.sort(order[part]) for part in parts])


def with_unused_validation(data: Splits) -> Splits:
    """The data of a cross-validation, with an example that nothing looks at in place of no validation part."""
    check_data(data, ("train",))
    return data._replace(validation=jax.tree.map(lambda leaf: leaf[:1], data.train))


def check_predicts(task: Task) -> None:
    """Check that the task has a ``predict``."""
    if task.predict is None:
        raise ValueError(
            "the task has no predict: give it a function of (state, inputs, h), by task._replace(predict=...)"
        )


def _check_within(name: str, values: np.ndarray, size: int, of: str) -> None:
    outside = values[(values < 0) | (values >= size)]
    if outside.size:
        raise ValueError(f"{name} must lie in [0, {size - 1}], {of}, got {outside[0]}")
