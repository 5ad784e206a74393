"""The digest of what a function does: two processes that read the same source agree on it.

It covers the bytecode with its constants, the defaults, the values that the function closes over, and the functions,
classes and plain constants of its module that it names. It leaves out what may change while a program runs, such as
lists and the attributes of objects, so a scheduler that writes a log keeps its digest. Programs of JAX are digested by
their lowered text instead (``_compile.py``).
"""

import functools
import inspect
import types
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from regopt._core.io import digest, digest_json
from regopt._core.messages import brief

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), np.generic, np.dtype)


def code_digest(value: object) -> str:
    """Compute the SHA-256 of what a function, or an object that is called like one, does.

    Args:
        value: the function.

    Returns:
        64 hexadecimal digits.
    """
    return digest_json(list(_words(value, {})))


def name_of(value: Any) -> str:
    """Name a function, or the class of another object, for a message.

    Args:
        value: the function; None, numbers, strings and other plain values are written as they are.

    Returns:
        The name, without those of the functions around it.
    """
    if isinstance(value, PLAIN):
        return brief(value)
    value = inspect.unwrap(value.func if isinstance(value, functools.partial) else value)
    return (value if hasattr(value, "__qualname__") else type(value)).__qualname__.rpartition("<locals>.")[2]


def _words(value: object, seen: dict[int, object]) -> Iterator[str]:
    """A description of what a value does, in words that do not depend on the process."""
    if isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}"
        return
    if id(value) in seen:
        return
    seen[id(value)] = value  # kept, because another object could have its id otherwise
    match value:
        case types.CodeType():
            yield f"code {value.co_code.hex()} {value.co_names} {value.co_argcount} {value.co_kwonlyargcount}"
            yield from _all(value.co_consts, seen)
        case types.FunctionType():
            yield from _function(value, seen)
        case types.MethodType():
            yield from _all((value.__func__, value.__self__), seen)
        case functools.partial():
            yield from _all((value.func, value.args, tuple(sorted(value.keywords.items()))), seen)
        case tuple():
            yield f"tuple {len(value)}"
            yield from _all(value, seen)
        case frozenset():
            yield f"frozenset {len(value)}"
            yield from sorted("\n".join(_words(entry, dict(seen))) for entry in value)
        case np.ndarray() | jax.Array():
            yield digest(value)
        case type():
            yield from _class(value, seen)
        case _ if (wrapped := getattr(value, "__wrapped__", None)) is not None:  # such as jax.jit's
            yield from _words(wrapped, seen)
        case _:
            yield f"object {type(value).__module__}.{type(value).__qualname__}"
            yield from _words(type(value), seen)


def _all(values: Iterable[object], seen: dict[int, object]) -> Iterator[str]:
    for value in values:
        yield from _words(value, seen)


def _function(function: types.FunctionType, seen: dict[int, object]) -> Iterator[str]:
    code = function.__code__
    if function.__doc__ is not None and code.co_consts[:1] == (function.__doc__,):
        code = code.replace(co_consts=(None, *code.co_consts[1:]))
    yield "function"
    yield from _words(code, seen)
    yield from _all((function.__defaults__, tuple(sorted((function.__kwdefaults__ or {}).items()))), seen)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield name
        try:
            yield from _words(cell.cell_contents, seen)
        except ValueError:  # empty so far
            yield "nothing"
    for name in _names(code):
        value = function.__globals__.get(name)
        is_own = isinstance(value, type | types.FunctionType) and value.__module__ == function.__module__
        if is_own or (name in function.__globals__ and isinstance(value, PLAIN)):
            yield name
            yield from _words(value, seen)


def _names(code: types.CodeType) -> list[str]:
    """The names that a function and those inside it look up."""
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return sorted({*code.co_names, *(name for each in inner for name in _names(each))})


def _class(kind: type, seen: dict[int, object]) -> Iterator[str]:
    """The methods of a class that a person wrote; those of installed packages have versions."""
    yield f"class {kind.__module__}.{kind.__qualname__}"
    if kind.__module__ != "builtins":
        yield from _all([part for _, part in sorted(vars(kind).items()) if isinstance(part, types.FunctionType)], seen)
