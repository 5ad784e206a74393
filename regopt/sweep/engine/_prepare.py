"""A sweep before it runs: its arguments checked, its randomness split, its data on the devices."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np

from regopt._core.types import Device, Key, Number, Task
from regopt.data import Splits
from regopt.sweep.checkpoint import digest, environment
from regopt.sweep.engine._checks import as_resamples, check, check_held, check_metric_names, check_replicas
from regopt.sweep.engine._group import Group, on_each
from regopt.sweep.engine._program import Keys, Recipe, Shared
from regopt.sweep.engine._runner import Course
from regopt.sweep.results._result import better
from regopt.sweep.schedulers import Scheduler
from regopt.sweep.space import Settings
from regopt.training._checks import asking_for


class Prepared:
    """What to train, on what, and how; see ``run`` for the arguments."""

    def __init__(
        self,
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
        scheduler: Scheduler | None = None,
        slots: int | None = None,
        chunk: int | None = None,
        devices: list[Device] | None = None,
    ):
        check(
            task=task,
            settings=settings,
            data=data,
            key=key,
            devices=devices,
            steps=steps,
            eval_every=eval_every,
            batch_size=batch_size,
            chunk=chunk,
            slots=slots,
            patience=patience,
            monitor=monitor,
            mode=mode,
            noise=noise,
            scheduler=scheduler,
        )
        self._places = None if resamples is None else as_resamples(resamples, data)
        check_replicas(settings, self._places)
        self.settings, self.scheduler = settings, scheduler
        self.devices = jax.local_devices() if devices is None else list(devices)
        self._key = jax.random.key(0) if key is None else key
        steps, eval_every = int(steps), int(eval_every)  # of NumPy perhaps
        batch_size, chunk, slots = (None if size is None else int(size) for size in (batch_size, chunk, slots))
        self._data, self._chunk, self._slots = data, chunk, slots
        self.mode: Literal["min", "max"] = better(monitor) if mode is None else mode
        self._recipe = Recipe(task, {}, eval_every, batch_size, _of_setting(patience), monitor, self.mode, noise)
        self.evaluated = np.arange(eval_every, steps + 1, eval_every)
        keys = Keys(*(jax.random.fold_in(self._key, purpose) for purpose in range(3)))
        self._shared = on_each(self.devices, Shared(data, keys, self._places))

    def course(self, rows: np.ndarray | None = None) -> Course:
        """The course of all settings, or of a host's share ``rows`` of them, compiled."""
        given = self.settings if rows is None else self.settings.take(rows)
        with asking_for(given.columns):
            groups = [
                Group(
                    dataclasses.replace(self._recipe, static=static),
                    given.numbers,
                    indices,
                    self._shared,
                    self.devices,
                    self._chunk,
                    self._slots,
                    self.scheduler is not None,
                    indices if rows is None else rows[indices],
                    len(indices) / len(given),
                )
                for static, indices in given.groups()
            ]
        for group in groups:
            check_metric_names(group.metrics, given)
        if self.scheduler is not None and self.scheduler.changes:
            for group in groups:
                check_held(group.size, len(group.indices))
        recipe = self._recipe
        keeps_best = recipe.patience is not None
        return Course(groups, given, self.evaluated, self.scheduler, recipe.monitor, recipe.mode, keeps_best)

    def identity(self, course: Course) -> dict[str, Any]:
        """All that the bits of a course depend on, as nested dictionaries of JSON values."""
        recipe = self._recipe
        config = {
            "steps": int(self.evaluated[-1]),
            "eval_every": recipe.eval_every,
            "batch_size": recipe.batch_size,
            "monitor": recipe.monitor,
            "mode": recipe.mode,
            "noise": recipe.noise,
            "patience": recipe.patience is not None,
            "scheduler": None if self.scheduler is None else self.scheduler.name,
            "slots": [group.size for group in course.groups],
            "chunk": [group.chunk for group in course.groups],
        }
        return {
            **environment(self.devices),
            "config": config,
            "settings": _digests(course.settings),
            "data": digest(tuple(self._data)),
            "resamples": None if self._places is None else digest(self._places),
            "key": digest(self._key),
            "programs": [group.programs for group in course.groups],
        }


@dataclasses.dataclass(frozen=True)
class _Constant:
    """The same patience for every setting; equal to another one of the same value and type."""

    value: Any
    kind: type

    def __call__(self, h: dict[str, Any]) -> Number:
        del h
        return self.value


def _of_setting(patience: Number | Callable[[dict[str, Any]], Number] | None) -> Callable[..., Number] | None:
    """The patience as a function of the setting; None stays None."""
    if patience is None or callable(patience):
        return patience
    return _Constant(patience, type(patience))


def _digests(settings: Settings) -> dict[str, str]:
    """Of each column; of static values what they print, without addresses."""
    words = {name: re.sub(r" at 0x[0-9a-f]+", "", repr(column)).encode() for name, column in settings.static.items()}
    numbers = {name: digest(np.asarray(column)) for name, column in settings.numbers.items()}
    return numbers | {name: digest(np.frombuffer(text, np.uint8)) for name, text in words.items()}
