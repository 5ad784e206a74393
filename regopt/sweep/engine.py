"""The sweep: groups of settings, trained in equal segments, with the host deciding who goes on."""

import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from regopt.data import Splits
from regopt.sweep.group import Group
from regopt.sweep.interrupt import interruptible
from regopt.sweep.program import Keys, Recipe
from regopt.sweep.progress import SweepProgress
from regopt.sweep.space import Settings
from regopt.sweep.table import Record, Result
from regopt.types import Device, Key, Stopping, Task


def run(
    task: Task,
    settings: Settings,
    data: Splits,
    *,
    steps: int,
    eval_every: int,
    batch_size: int | None = None,
    key: Key | None = None,
    stop: Callable[[dict[str, Any]], Stopping] | None = None,
    monitor: str = "validation_loss",
    mode: Literal["min", "max"] = "min",
    noise: Literal["shared", "per lane"] = "shared",
    chunk: int | None = None,
    devices: list[Device] | None = None,
    progress: bool = False,
) -> Result:
    """Train every setting, many at once in one compiled program for each group of static values.

    The settings' numbers are traced, so any value runs in the same program. A setting that meets a NaN or an
    infinity is recorded with its first bad step and trained no further; it changes no bit of the others. Results
    are reproducible bit for bit on the same devices with the same chunk, whatever the other settings are.

    Ctrl-C ends the sweep after the segment in hand; the result then holds what was done so far.

    Args:
        task: what to train; see ``supervised``.
        settings: which settings; see ``grid``, ``random``, ``sobol``. The column ``seed`` decides a setting's
            initial state and order of data; without it all settings share both.
        data: examples; ``train`` is cut into batches, the task evaluates on ``validation``.
        steps: training steps of each setting, a multiple of ``eval_every``.
        eval_every: steps between evaluations, >= 1.
        batch_size: examples in a batch, drawn without replacement in each epoch; None gives every step them all.
        key: source of all randomness; ``jax.random.key(0)`` by default.
        stop: ``h -> early_stopping(...)``, whose patience may be a number of the setting; None trains to the end.
        monitor: the metric that early stopping and the progress line watch.
        mode: whether a smaller or a larger ``monitor`` is better, for the progress line and for ``best``.
        noise: "shared" gives all settings the same random field at a step, which also pairs their noise; "per
            lane" gives each its own, at the price of drawing it.
        chunk: settings that a device trains at once; by default measured to fit cache and memory.
        devices: what to run on; by default all local devices.
        progress: show a progress line, if standard error is a terminal.

    Returns:
        The table, the learning curves, and the trained states.

    Raises:
        ValueError: an argument is out of range, ``steps`` is no multiple of ``eval_every``, or ``monitor`` is not
            a metric of the task.
    """
    _check(
        steps=steps,
        eval_every=eval_every,
        batch_size=batch_size,
        chunk=chunk,
        noise=noise,
        mode=mode,
        data=data,
    )
    devices = jax.local_devices() if devices is None else devices
    key = jax.random.key(0) if key is None else key
    keys = Keys(*(jax.random.fold_in(key, purpose) for purpose in range(3)))
    groups = [
        Group(
            Recipe(task, static, eval_every, batch_size, stop, monitor, noise),
            {name: column[indices] for name, column in settings.numbers.items()},
            indices,
            data,
            keys,
            devices,
            chunk,
        )
        for static, indices in settings.groups()
    ]
    for group in groups:
        if monitor not in group.metrics:
            raise ValueError(f"monitor must be one of {group.metrics}, got {monitor!r}")
    steps_evaluated = np.arange(eval_every, steps + 1, eval_every)

    def train(only: int | None) -> Result:
        """All settings, or one of them alone."""
        record = Record.empty(settings, groups[0].metrics, steps_evaluated)
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
            lane = groups[number].lane(buffers[number], index)
            return lane.stopping.best_params if stop is not None else lane.state

        return Result(
            record=record,
            monitor=monitor,
            mode=mode,
            keeps_best=stop is not None,
            interrupted=interrupted,
            trace_seconds=sum(group.trace_seconds for group in groups),
            compile_seconds=sum(group.compile_seconds for group in groups),
            run_seconds=time.perf_counter() - began,
            chunk=largest.chunk,
            temporary_bytes=largest.temporary_bytes,
            state_of=state_of,
            refit_of=train,
        )

    return train(None)


def _train(groups: list[Group], record: Record, monitor: str, mode: str, progress: bool) -> bool:
    """Segment after segment, whoever still trains; returns whether Ctrl-C ended it before all were done."""
    evaluations, settings = len(record.steps), len(record.settings)
    idle = settings - int(record.training.sum())
    total = evaluations * (settings - idle)
    with (
        interruptible() as asked_to_end,
        SweepProgress(progress, segments=total, settings=settings - idle, monitor=monitor) as bar,
    ):
        for segment in range(evaluations):
            for group in groups:
                lanes = np.flatnonzero(record.training[group.indices])
                first_step = segment * int(record.steps[0])
                for owners, metrics, marks in group.train(lanes, first_step):
                    record.add(segment, group.indices[owners], metrics, marks)
                    bar.update(
                        completed=record.segments_settled() - evaluations * idle,
                        done=settings - idle - int(record.training.sum()),
                        best=record.best_so_far(monitor, mode),
                    )
                    if asked_to_end():
                        return bool(record.training.any())
    return False


def _check(*, steps, eval_every, batch_size, chunk, noise, mode, data) -> None:
    for name, value in (
        ("steps", steps),
        ("eval_every", eval_every),
        ("batch_size", batch_size),
        ("chunk", chunk),
    ):
        if value is not None and (not isinstance(value, int | np.integer) or value < 1):
            raise ValueError(f"{name} must be a whole number in [1, inf), got {value!r}")
    if steps % eval_every:
        below = steps - steps % eval_every
        raise ValueError(
            f"steps must be a multiple of eval_every = {eval_every}, got {steps}; {below + eval_every} would do"
        )
    if noise not in ("shared", "per lane"):
        raise ValueError(f'noise must be "shared" or "per lane", got {noise!r}')
    if mode not in ("min", "max"):
        raise ValueError(f'mode must be "min" or "max", got {mode!r}')
    for part in ("train", "validation"):
        if getattr(data, part, None) is None:
            raise ValueError(f"data must have a {part} part, as regopt.data.Splits(train, validation) has")
    examples = {len(leaf) for leaf in jax.tree.leaves(data.train)}
    if len(examples) != 1:
        raise ValueError(f"the arrays of data.train must have one length, got {sorted(examples)}")
