"""Checks of the arguments of training before tracing; each error says in one line what is wrong."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.messages import brief, suggestion
from regopt._core.numerics import check_whole


def check_data(data: object) -> None:
    """Require a training and a validation part, each of arrays of one length."""
    for part in ("train", "validation"):
        arrays = jax.tree.leaves(getattr(data, part, None))
        if not arrays:
            raise ValueError(f"data must have a {part} part, as regopt.data.Splits(train, validation) has")
        for array in arrays:
            if not np.ndim(array) or getattr(array, "dtype", None) is None:
                raise ValueError(f"data.{part} must hold arrays [examples, ...], got {brief(array)}")
            if array.dtype.kind in "OUSmM":
                raise ValueError(f"data.{part} must hold arrays of numbers, got dtype {array.dtype}")
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1:
            raise ValueError(f"the arrays of data.{part} must have one length, got {sorted(lengths)}")
        if 0 in lengths:
            raise ValueError(f"data.{part} must have at least one example, got none")


def check_key(key: object) -> None:
    """Require a typed key of JAX, or None."""
    if key is not None and not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"key must be a typed key, as jax.random.key(0) is, got {brief(key)}")


def check_steps(steps: int, eval_every: int, **others: int | None) -> None:
    """Require whole numbers (of ``others``, where given), and steps that are a multiple of ``eval_every``."""
    for name, value in {"steps": steps, "eval_every": eval_every, **others}.items():
        if value is not None or name not in others:
            check_whole(name, value, "[1, inf)")
    check_multiple(steps, eval_every)


def check_multiple(steps: int, eval_every: int) -> None:
    """Require steps that are a multiple of ``eval_every``."""
    if steps % eval_every:
        would_do = steps - steps % eval_every + eval_every
        raise ValueError(f"steps must be a multiple of eval_every = {eval_every}, got {steps}; {would_do} would do")


def check_task(task: object) -> None:
    """Require the functions of a task."""
    if not all(callable(getattr(task, name, None)) for name in ("init", "step", "evaluate")):
        raise ValueError(f"task must be a regopt.sweep.Task, as sweep.supervised makes, got {brief(task)}")


def check_monitor(monitor: object) -> None:
    """Require a name; only tracing shows whether the task has a metric of that name."""
    if not isinstance(monitor, str):
        raise ValueError(f"monitor must be the name of a metric, got {brief(monitor)}")


def check_mode(mode: object) -> None:
    """Require "min", "max" or None."""
    if not (mode is None or (isinstance(mode, str) and mode in ("min", "max"))):
        raise ValueError(f'mode must be "min" or "max", got {brief(mode)}')


def better(monitor: str) -> Literal["min", "max"]:
    """Whether a smaller or a larger value of a metric is better, by its name: "max" for an accuracy."""
    return "max" if "accuracy" in monitor else "min"


@contextlib.contextmanager
def asking_for(h: object) -> Iterator[None]:
    """Turn a ``KeyError`` of a setting ``h`` into an error with the missing name and the nearest one that ``h`` has."""
    try:
        yield
    except KeyError as error:
        missing = error.args[0] if error.args else None
        if not isinstance(missing, str) or not isinstance(h, Mapping) or missing in h:
            raise
        known = suggestion(missing, map(str, h))
        raise ValueError(f"the task asks for {brief(missing)}, which the settings have not; {known}") from error
