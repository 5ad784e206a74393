"""Checks of the arguments of factories that are no plain numbers: counts, switches, names, functions, optimizers.

Each error says in one line which argument is meant, what it takes, and what it got.
"""

import inspect
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jax.typing import DTypeLike

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


def check_no_schedule(name: str, value: object) -> None:
    """Refuse a schedule, or a tree with one, where no steps are counted.

    >>> check_no_schedule("radius", {"kernel": 0.5})
    """
    if any(callable(leaf) and not isinstance(leaf, type) for leaf in jax.tree.leaves(value)):
        raise ValueError(f"{name} must be a number, got a schedule, but no steps are counted here: give a number")


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


def check_array(name: str, value: object) -> None:
    """Require an array of numbers, of NumPy or JAX.

    >>> check_array("x", jnp.ones(3))
    """
    dtype = getattr(value, "dtype", None)
    if isinstance(value, type) or not hasattr(value, "shape") or dtype is None or not _is_numeric(dtype):
        raise ValueError(f"{name} must be an array of numbers, got {brief(value)}")


def _is_numeric(dtype: DTypeLike) -> bool:
    return jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)


def check_dtype(name: str, value: object) -> None:
    """Require a dtype of numbers, or its name.

    >>> check_dtype("param_dtype", "bfloat16")
    """
    try:
        numeric = isinstance(value, str | type | np.dtype) and _is_numeric(jnp.dtype(value))
    except TypeError:
        numeric = False
    if not numeric:
        raise ValueError(f'{name} must be a dtype of numbers, such as "float32", got {brief(value)}')


def check_rngs(name: str, value: object) -> None:
    """Require the source of keys that flax's modules take."""
    if not isinstance(value, nnx.Rngs):
        raise ValueError(f"{name} must be a flax.nnx.Rngs, got {brief(value)}")


def check_functions(name: str, value: object) -> None:
    """Require a list or a tuple of functions.

    >>> check_functions("schedules", [max, min])
    """
    if not isinstance(value, list | tuple) or not all(map(callable, value)):
        raise ValueError(f"{name} must be a list of functions, got {brief(value)}")


def check_count(name: str, value: object, interval: str) -> None:
    """Like ``check_number``, for a number without a fraction, such as 2 or 2.0; a tracer passes."""
    check_number(name, value, interval)
    if not isinstance(value, Tracer) and float(np.asarray(value)) % 1:
        raise ValueError(f"{name} must be a whole number, got {brief(value)}")
