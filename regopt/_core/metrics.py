"""Metrics by name: which direction of a metric is better, who declares it, and the order that it gives."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from regopt._core.checks import check_choice
from regopt._core.messages import brief, nearest
from regopt._core.numerics import as_float
from regopt._core.types import LOSS_MODES, Mode

Value = TypeVar("Value")  # a number or an array


def check_monitor(monitor: object) -> None:
    """Require a name; only tracing shows whether the task has a metric of that name."""
    if not isinstance(monitor, str):
        raise ValueError(f"monitor must be the name of a metric, got {brief(monitor)}")


def check_mode(mode: object, name: str = "mode") -> None:
    """Require "min" or "max"."""
    check_choice(name, mode, ("min", "max"))


def as_loss(value: Value, mode: Mode | None) -> Value:
    """A metric as a number of which a smaller one is better: the metric itself, or its negative where mode is "max".

    Every comparison by a metric compares these numbers.

    >>> as_loss(0.75, "max") < as_loss(0.5, "max")
    True
    """
    return -value if mode == "max" else value  # type: ignore[operator]


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
    declared: Mapping[str, Mode] = {**LOSS_MODES, **(modes or {})}
    return declared.get(metric)


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


def as_inexact(value: ArrayLike) -> jax.Array:
    """The value in its own float dtype, or in the default one if it is an integer or a bool."""
    value = jnp.asarray(value)
    return value if jnp.issubdtype(value.dtype, jnp.inexact) else as_float(value)


def with_evaluation(
    metrics: dict[str, jax.Array], evaluated: dict[str, jax.Array], monitor: str
) -> dict[str, jax.Array]:
    """The metrics of a segment and of the evaluation after it, once they are known to be scalars of distinct names."""
    check_scalars(evaluated)
    if twice := set(metrics) & set(evaluated):
        raise ValueError(f"an evaluation must not report {min(twice)}, which is the mean of a step's metric")
    check_known(monitor, metrics | evaluated)
    return metrics | evaluated


def check_scalars(metrics: Mapping[str, jax.Array], leading: int = 0) -> None:
    """Require metrics that are real numbers, behind this many leading axes."""
    for name, value in metrics.items():
        if shape := value.shape[leading:]:
            raise ValueError(f"the metric {name} must be a scalar of one setting, got shape {shape}")
        if jnp.iscomplexobj(value):
            raise ValueError(f"the metric {name} must be real, got {value.dtype}: take its absolute value or real part")
