"""The direction of a metric: whether a smaller or a larger value of it is better, declared by its function."""

import functools
from collections.abc import Callable
from typing import TypeVar

from regopt._core.metrics import check_mode
from regopt._core.types import Mode

Measured = TypeVar("Measured", bound=Callable[..., object])


def metric(*, mode: Mode) -> Callable[[Measured], Measured]:
    """Declare whether a smaller ("min") or a larger ("max") value of a metric is better.

    Early stopping, schedulers and ``Result.best`` need to know it of the metric that they watch. The losses and metrics
    of ``regopt.losses`` declare it themselves.

    Args:
        mode: "min" or "max"; static.

    Returns:
        A decorator. It returns a function that computes the same and has the attribute ``mode``.

    Raises:
        ValueError: ``mode`` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import losses
        >>> @losses.metric(mode="max")
        ... def r2(outputs, targets):
        ...     return 1 - jnp.mean((outputs - targets) ** 2) / jnp.var(targets)
        >>> r2.mode, losses.accuracy.mode, losses.metric(mode="min")(max).mode
        ('max', 'max', 'min')
    """
    check_mode(mode)

    def declare(function: Measured) -> Measured:
        if not callable(function):
            raise ValueError(f"metric declares the direction of a function, got {function!r}")

        @functools.wraps(function)
        def measured(*args: object, **kwargs: object) -> object:
            return function(*args, **kwargs)

        measured.mode = mode  # type: ignore[attr-defined]
        return measured  # type: ignore[return-value]

    return declare
