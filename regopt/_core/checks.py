"""Checks of the arguments of factories that are no plain numbers: counts, switches, names, functions, optimizers.

Each error says in one line which argument is meant, what it takes, and what it got.
"""

import inspect
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core.messages import brief
from regopt._core.numerics import check_number


def check_switch(name: str, value: object) -> None:
    """Require True or False.

    >>> check_switch("inverted", True)
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {brief(value)}")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Require one of the words in ``choices``.

    >>> check_choice("mode", "min", ("min", "max"))
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        words = [f'"{word}"' for word in known]
        listed = " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
        raise ValueError(f"{name} must be {listed}, got {brief(value)}")


def check_function(name: str, value: object) -> None:
    """Require something that can be called.

    >>> check_function("predict", max)
    """
    if not callable(value):
        raise ValueError(f"{name} must be a function, got {brief(value)}")


def takes(function: Callable[..., object], arguments: int) -> bool:
    """Whether a function may be called with so many positional arguments; one without a signature may.

    >>> takes(lambda x, y=0: x, 2), takes(lambda x: x, 2)
    (True, False)
    """
    try:
        signature = inspect.signature(function)
    except ValueError:
        return True
    try:
        signature.bind(*range(arguments))
    except TypeError:
        return False
    return True


def check_optimizer(name: str, value: object) -> None:
    """Require an optax transformation: a pair of functions ``init`` and ``update``."""
    if isinstance(value, type) or not all(callable(getattr(value, part, None)) for part in ("init", "update")):
        raise ValueError(f"{name} must be an optax transformation, as regopt.sgd(0.1) is, got {brief(value)}")


def check_penalty(name: str, value: object) -> None:
    """Require a penalty: functions ``value``, ``prox`` and ``mask``."""
    if isinstance(value, type) or not all(callable(getattr(value, part, None)) for part in ("value", "prox", "mask")):
        raise ValueError(f"{name} must be a penalty, as penalties.l1(0.1) is, got {brief(value)}")


def check_index(name: str, value: object) -> None:
    """Require a whole number, which may be negative, as an axis is."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not -(2**31) <= value < 2**31:
        raise ValueError(f"{name} must be a whole number, got {brief(value)}")


def check_key(name: str, value: object) -> None:
    """Require a typed key of JAX."""
    if not (isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"{name} must be a typed key, as jax.random.key(0) is, got {value!r}")


def check_count(name: str, value: object, interval: str) -> None:
    """Like ``check_number``, for a number without a fraction, such as 2 or 2.0; a tracer passes."""
    check_number(name, value, interval)
    if not isinstance(value, Tracer) and float(np.asarray(value)) % 1:
        raise ValueError(f"{name} must be a whole number, got {brief(value)}")
