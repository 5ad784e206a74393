"""Checks of the arguments of training before tracing; each error says in one line what is wrong."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.messages import brief, nearest, suggestion
from regopt._core.numerics import check_whole
from regopt._core.types import LOSS_MODES, Mode


def check_data(data: object, parts: tuple[str, ...] = ("train", "validation")) -> None:
    """Require a training and a validation part, each of arrays of one length."""
    for part in parts:
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


def innermost(function: object) -> object:
    """The function inside a ``functools.partial``; any other as it is."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def mode_of(function: object) -> Mode | None:
    """The direction that a function declares, or the function inside a ``functools.partial``; None if there is none."""
    modes: tuple[Mode, ...] = ("min", "max")
    declared = getattr(innermost(function), "mode", None)
    if not isinstance(declared, str):
        return None
    return next((mode for mode in modes if mode == declared), None)


def direction_of(metric: str, modes: Mapping[str, Mode] | None = None) -> Mode | None:
    """The direction of a metric that ``modes`` or the protocol of a task declares; None where none is declared."""
    return {**LOSS_MODES, **(modes or {})}.get(metric)


def require_direction(metric: str, modes: Mapping[str, Mode] | None = None) -> Mode:
    """The declared direction of a metric; an error that names the fix where none is declared."""
    mode = direction_of(metric, modes)
    if mode is None:
        raise ValueError(
            f'{brief(metric)} declares no direction: give mode="min" or mode="max", or declare it, by '
            "losses.metric(mode=...) on its function or by the field modes of a Task"
        )
    return mode


def monitored(task: object, monitor: str, mode: Mode | None, evaluated: Callable[[], object]) -> Mode:
    """Whether a smaller or a larger ``monitor`` is better: as given, or as the task declares.

    Args:
        task: the task.
        monitor: name of the metric.
        mode: as given by the caller; None for the direction that the task declares.
        evaluated: returns the metrics of the task; only traced, and only where no direction is known, to tell a
            misspelt name from a metric without a direction.

    Returns:
        "min" or "max".

    Raises:
        ValueError: the metric declares no direction, or there is no metric of this name.
    """
    modes = getattr(task, "modes", None)
    if mode is None and direction_of(monitor, modes) is None:
        names: object = None
        with contextlib.suppress(Exception):  # the error of a task is raised where it trains
            names = jax.eval_shape(evaluated)
        if isinstance(names, Mapping):
            check_known(monitor, names)
    return require_direction(monitor, modes) if mode is None else mode


def check_known(monitor: str, metrics: Mapping[str, object]) -> None:
    """Require a metric of this name."""
    if monitor not in metrics:
        near = nearest(monitor, metrics)
        meant = "" if near is None else f"; did you mean {near!r}?"
        raise ValueError(f"monitor must be one of {sorted(metrics)}, got {brief(monitor)}{meant}")


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
