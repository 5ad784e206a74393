"""Operations of all schedules on counts and numbers: casts, clips, and divisions by horizons that may be 0.

The conversion of epochs to counts is here as well.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core.messages import brief
from regopt._core.numerics import as_float, check_number
from regopt._core.types import Number

Numbers: TypeAlias = Sequence[Number] | jax.Array  # a sequence of numbers, or an array of shape (n,)

_NO_TIME = 1e-9  # a horizon below this many steps counts as 0
_FOREVER = 1e20  # the value of count / horizon for such a horizon: beyond every end, and finite in float32


@overload
def steps_from_epochs(epochs: int, examples: int, batch_size: int, *, drop_last: bool = True) -> int: ...
@overload
def steps_from_epochs(epochs: Number, examples: Number, batch_size: Number, *, drop_last: bool = True) -> Any: ...
def steps_from_epochs(epochs, examples, batch_size, *, drop_last=True):
    """``epochs * floor(examples / batch_size)``: the training steps in so many passes over the data.

    Args:
        epochs: number of passes over the data, >= 0, not necessarily whole; may be traced.
        examples: number of training examples, >= 1; may be traced.
        batch_size: number of examples in a batch, >= 1; may be traced.
        drop_last: whether the last, smaller batch of an epoch is left out, as in ``data.batch_indices``. If False, the
            quotient is rounded up; static.

    Returns:
        The number of steps: an int where all three arguments are ints, which may be the length of a scan; otherwise a
        float or an array.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> from regopt.schedules import steps_from_epochs
        >>> steps_from_epochs(3, examples=100, batch_size=32), steps_from_epochs(3, 100, 32, drop_last=False)
        (9, 12)
    """
    check("[0, inf)", epochs=epochs)
    check("[1, inf)", examples=examples, batch_size=batch_size)

    def product(passes, whole, batch):
        return passes * (whole // batch if drop_last else -(-whole // batch))

    if all(isinstance(number, int | float) for number in (epochs, examples, batch_size)):
        return product(epochs, examples, batch_size)
    return product(as_float(epochs), as_float(examples), as_float(batch_size))


def check(interval: str, **arguments: Number) -> None:
    """Check that every argument is a number, and if it is concrete, that it lies in the interval."""
    for name, argument in arguments.items():
        check_number(name, argument, interval)


def check_numbers(name: str, numbers: Numbers, interval: str) -> None:
    """Check that an argument is a sequence of numbers, of which the concrete ones lie in the interval."""
    if not isinstance(numbers, list | tuple) and getattr(numbers, "ndim", 0) != 1:
        raise ValueError(f"{name} must be a sequence of numbers in {interval}, got {brief(numbers)}")
    for number in numbers:
        check_number(name, number, interval)


def check_horizon(**arguments: Number) -> None:
    """Check that every concrete number of steps is 0 or at least 1; a fraction of a step is a mistaken argument."""
    for name, argument in arguments.items():
        check_number(name, argument, "[0, inf)")
        if not isinstance(argument, Tracer) and _NO_TIME <= float(np.asarray(argument)) < 1:
            raise ValueError(f"{name} must be 0 or at least 1, a number of steps, got {argument}")


def check_lengths(name: str, pieces: int, boundaries: int) -> None:
    """Check that there is one piece more than there are boundaries."""
    if pieces != boundaries + 1:
        raise ValueError(f"{name} must be one more than boundaries, got {pieces} and {boundaries}")


def floats(count: Number, *numbers: Number) -> tuple[jax.Array, ...]:
    """The count, at least 0, and the numbers, in the default float dtype."""
    _, steps = since(count, 0)
    return tuple(as_float(x) for x in (steps, *numbers))


def since(count: Number, start: Number) -> tuple[jax.Array, jax.Array]:
    """Whether ``count < start``, and ``max(count - start, 0)``; integers stay integers."""
    whole = all(jnp.issubdtype(jnp.result_type(x), jnp.integer) for x in (count, start))
    dtype = jnp.result_type(int if whole else float)
    count, start = jnp.asarray(count).astype(dtype), jnp.asarray(start).astype(dtype)
    before = count < start
    return before, jnp.where(before, 0, count - start)


def ratio(count: jax.Array, horizon: jax.Array) -> jax.Array:
    """``count / horizon``; huge but finite, with slope 0, for a horizon of 0."""
    none = horizon < _NO_TIME
    return jnp.where(none, _FOREVER, count / jnp.where(none, 1, horizon))


def fraction(count: jax.Array, horizon: jax.Array) -> jax.Array:
    """``min(count / horizon, 1)``, exactly 1 at the horizon (a compiled division may round below it)."""
    return jnp.where(count >= horizon, 1, jnp.minimum(ratio(count, horizon), 1))


def mix(start: jax.Array, end: jax.Array, fraction: jax.Array) -> jax.Array:
    """``(1 - fraction) * start + fraction * end``."""
    return (1 - fraction) * start + fraction * end
