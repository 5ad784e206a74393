"""The sweep: groups of settings, trained in equal segments, with the host deciding who goes on."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np

from regopt.data import Splits
from regopt.numerics import check_range
from regopt.sweep.checks import as_resamples, check, check_predicts, check_replicas
from regopt.sweep.group import Group, on_each
from regopt.sweep.interrupt import interruptible
from regopt.sweep.program import Keys, Recipe, Shared
from regopt.sweep.progress import SweepProgress
from regopt.sweep.space import Settings
from regopt.sweep.table import Record, Result, better
from regopt.types import Device, Key, Number, Task


def run(
    task: Task,
    settings: Settings,
    data: Splits,
    *,
    steps: int,
    eval_every: int,
    batch_size: int | None = None,
    key: Key | None = None,
    patience: Number | Callable[[dict[str, Any]], Number] | None = None,
    monitor: str = "validation_loss",
    mode: Literal["min", "max"] | None = None,
    noise: Literal["shared", "per lane"] = "shared",
    resamples: Sequence[Sequence[int]] | np.ndarray | jax.Array | None = None,
    chunk: int | None = None,
    devices: list[Device] | None = None,
    progress: bool = False,
) -> Result:
    """Train every setting, many at once in one compiled program for each group of static values.

    The settings' numbers are traced, so any value runs in the same program. A setting diverges when a metric of a
    step, the monitor, or a number of its state that was finite is so no longer; it is recorded with its first bad
    step and trained no further, and changes no bit of the others. In the same row, with the same ``Result.chunk``
    and devices, a setting has the same bits whatever the others are.

    Ctrl-C ends the sweep after the chunks in hand; the result then holds what was done so far.

    Args:
        task: what to train; see ``supervised``.
        settings: which settings; see ``grid``, ``random``, ``sobol``. The column ``seed`` decides a setting's
            initial state and order of data; without it all settings share both.
        data: examples; ``train`` is cut into batches, the task evaluates on ``validation``.
        steps: training steps of each setting, a multiple of ``eval_every``.
        eval_every: steps between evaluations, >= 1.
        batch_size: examples in a batch, drawn without replacement in each epoch; None gives every step them all.
        key: source of all randomness; ``jax.random.key(0)`` by default.
        patience: end a setting after this many evaluations in a row without strict improvement of ``monitor``, and
            keep its best state (book Algorithm 7.1); a number, or a function of ``h``, as in
            ``lambda h: h["patience"]``. None trains to the end.
        monitor: the metric that early stopping, the progress line and ``best`` watch.
        mode: whether a smaller or a larger ``monitor`` is better; by default "max" for an accuracy, else "min".
        noise: "shared" gives all settings the same random field at a step, which also pairs their noise; "per
            lane" gives each its own, at the price of drawing it.
        resamples: training sets as places in ``data.train``, whole numbers ``[replicas, examples]``, repetitions
            allowed; see ``regopt.data.bootstrap``. A setting trains on the row that its column ``replica`` names;
            batches are cut from the row as they are from all examples without it. The order in which a row is
            visited depends on the seed alone: with one seed, all replicas visit the same places of their own rows.
            The data are not copied for a lane, but for ``batch_size=None`` and the chunk at hand.
        chunk: settings that a device trains at once; by default measured to fit cache and memory.
        devices: what to run on; by default all local devices.
        progress: show a progress line, if standard error is a terminal.

    Returns:
        The table, the learning curves, and the trained states.

    Raises:
        ValueError: an argument is out of range, ``steps`` is no multiple of ``eval_every``, ``monitor`` is not a
            metric of the task, or ``resamples`` and the column ``replica`` do not go together.
    """
    check(
        settings=settings,
        data=data,
        key=key,
        devices=devices,
        steps=steps,
        eval_every=eval_every,
        batch_size=batch_size,
        chunk=chunk,
        noise=noise,
        mode=mode,
    )
    places = None if resamples is None else as_resamples(resamples, data)
    check_replicas(settings, places)
    mode = better(monitor) if mode is None else mode
    devices = jax.local_devices() if devices is None else list(devices)
    key = jax.random.key(0) if key is None else key
    keys = Keys(*(jax.random.fold_in(key, purpose) for purpose in range(3)))
    shared = on_each(devices, Shared(data, keys, places))
    groups = [
        Group(
            Recipe(task, static, eval_every, batch_size, _of_setting(patience), monitor, mode, noise),
            {name: column[indices] for name, column in settings.numbers.items()},
            indices,
            shared,
            devices,
            chunk,
        )
        for static, indices in settings.groups()
    ]
    metrics = list(dict.fromkeys(name for group in groups for name in group.metrics))
    steps_evaluated = np.arange(eval_every, steps + 1, eval_every)

    def train(only: int | None) -> Result:
        """All settings, or one of them alone."""
        record = Record.empty(settings, metrics, steps_evaluated)
        if only is not None:
            record.training[:] = np.arange(len(settings)) == only
        for group in groups:
            group.start()
        began = time.perf_counter()
        interrupted = _train(groups, record, monitor, mode, progress)
        buffers = [group.buffer for group in groups]
        largest = max(groups, key=lambda group: len(group.indices))

        def state_of(index: int) -> Any:
            number = next(i for i, group in enumerate(groups) if index in group.indices)
            return groups[number].recipe.kept(groups[number].lane(buffers[number], index))

        def outputs_of(wanted: np.ndarray, inputs: Any) -> np.ndarray:
            check_predicts(task)
            return _predict(groups, buffers, wanted, on_each(devices, inputs))

        return Result(
            record=record,
            monitor=monitor,
            mode=mode,
            keeps_best=patience is not None,
            interrupted=interrupted,
            trace_seconds=sum(group.trace_seconds for group in groups),
            compile_seconds=sum(group.compile_seconds for group in groups),
            run_seconds=time.perf_counter() - began,
            chunk=largest.chunk,
            temporary_bytes=largest.temporary_bytes,
            state_of=state_of,
            refit_of=train,
            outputs_of=outputs_of,
        )

    return train(None)


def _train(groups: list[Group], record: Record, monitor: str, mode: str, progress: bool) -> bool:
    """Segment after segment, whoever still trains; returns whether Ctrl-C ended it before all were done."""
    evaluations, settings = len(record.steps), int(record.training.sum())
    completed, ended, best = 0, 0, float("nan")
    extreme = np.fmin if mode == "min" else np.fmax
    with (
        interruptible() as asked_to_end,
        SweepProgress(progress, segments=evaluations * settings, settings=settings, monitor=monitor) as bar,
    ):
        for segment in range(evaluations):
            for group in groups:
                lanes = np.flatnonzero(record.training[group.indices])
                first_step = segment * int(record.steps[0])
                for owners, (metrics, marks) in group.train(lanes, first_step, asked_to_end):
                    rows = group.indices[owners]
                    record.add(segment, rows, metrics, marks)
                    ends = int(np.sum(~record.training[rows]))
                    ended += ends
                    completed += len(rows) + ends * (evaluations - 1 - segment)
                    best = float(extreme.reduce(metrics[monitor][marks.first_bad_step == 0], initial=best))
                    bar.update(completed=completed, done=ended, best=best)
                if asked_to_end():
                    return bool(record.training.any())
    return False


def _predict(groups: list[Group], buffers: list[Any], wanted: np.ndarray, inputs: Any) -> np.ndarray:
    """Outputs of the wanted settings, ``[settings, ...]``, NaN for the others."""
    like = [group.output(buffer, inputs) for group, buffer in zip(groups, buffers, strict=True)]
    if len({one.shape for one in like}) > 1:
        raise ValueError(f"task.predict must give all settings one shape, got {[one.shape for one in like]}")
    dtype = np.result_type(np.float32, *(one.dtype for one in like))  # with room for NaN
    outputs = np.full((len(wanted), *like[0].shape), np.nan, dtype)
    for group, buffer in zip(groups, buffers, strict=True):
        for owners, some in group.predict(buffer, np.flatnonzero(wanted[group.indices]), inputs):
            outputs[group.indices[owners]] = some
    return outputs


def _of_setting(patience: Number | Callable[[dict[str, Any]], Number] | None) -> Callable[..., Number] | None:
    """The patience as a function of the setting; None stays None."""
    if patience is None or callable(patience):
        return patience
    check_range("patience", patience, "[0, inf)")
    return lambda _: patience
