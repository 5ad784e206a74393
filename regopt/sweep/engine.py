"""The sweep: groups of settings, trained in equal segments, with the host deciding who goes on."""

import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from regopt.data import Splits
from regopt.numerics import check_range
from regopt.sweep.group import Group
from regopt.sweep.interrupt import interruptible
from regopt.sweep.program import Keys, Recipe
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
    mode = better(monitor) if mode is None else mode
    devices = jax.local_devices() if devices is None else list(devices)
    key = jax.random.key(0) if key is None else key
    keys = Keys(*(jax.random.fold_in(key, purpose) for purpose in range(3)))
    groups = [
        Group(
            Recipe(task, static, eval_every, batch_size, _of_setting(patience), monitor, mode, noise),
            {name: column[indices] for name, column in settings.numbers.items()},
            indices,
            data,
            keys,
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
            lane = groups[number].lane(buffers[number], index)
            return lane.stopping.best_params if patience is not None else lane.state

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
                for owners, metrics, marks in group.train(lanes, first_step, asked_to_end):
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


def _of_setting(patience: Number | Callable[[dict[str, Any]], Number] | None) -> Callable[..., Number] | None:
    """The patience as a function of the setting; None stays None."""
    if patience is None or callable(patience):
        return patience
    check_range("patience", patience, "[0, inf)")
    return lambda _: patience


def _check(*, settings, data, key, devices, steps, eval_every, batch_size, chunk, noise, mode) -> None:
    """Everything that can be said before a program is built."""
    _check_settings(settings)
    _check_data(data)
    if key is not None and not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"key must be a typed key, as jax.random.key(0) is, got {key!r}")
    if devices is not None and not (isinstance(devices, list | tuple) and devices):
        raise ValueError(f"devices must be a list of at least one device, got {devices!r}")
    for name, value in (("steps", steps), ("eval_every", eval_every), ("batch_size", batch_size), ("chunk", chunk)):
        if value is not None and (not isinstance(value, int | np.integer) or value < 1):
            raise ValueError(f"{name} must be a whole number in [1, inf), got {value!r}")
    if steps % eval_every:
        would_do = steps - steps % eval_every + eval_every
        raise ValueError(f"steps must be a multiple of eval_every = {eval_every}, got {steps}; {would_do} would do")
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
    if "seed" in settings.numbers and settings.numbers["seed"].dtype.kind not in "iu":
        raise ValueError(f"the column seed must hold whole numbers, got {settings.numbers['seed'][0]}")


def _check_data(data: Any) -> None:
    """There is a part to train on and one to evaluate on, each of arrays of one length."""
    for part in ("train", "validation"):
        arrays = jax.tree.leaves(getattr(data, part, None))
        if not arrays:
            raise ValueError(f"data must have a {part} part, as regopt.data.Splits(train, validation) has")
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1:
            raise ValueError(f"the arrays of data.{part} must have one length, got {sorted(lengths)}")
