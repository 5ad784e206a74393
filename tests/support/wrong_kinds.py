"""Wrong kinds of every argument of every public factory, by its annotation: what is no number, no name, no function.

The other arguments are valid: the usual numbers of the factory's row in the catalogue, and for the rest a value by the
name of the argument.
"""

import inspect
import operator
import typing
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import regopt
from regopt import penalties, schedules
from regopt._core.types import BoolTree, Mask, Number, NumberOrSchedule, NumberTree, ScheduledNumber
from regopt._core.units import Axis, UnitAxis
from regopt.testing import CATALOGUE

NAN, INF = float("nan"), float("inf")
TREE = {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}
IMAGES = jnp.linspace(0.1, 0.9, 32).reshape(2, 4, 4, 1)
VALID: dict[str, Any] = {  # of the arguments that are no numbers
    "optimizer": regopt.sgd(0.1),
    "key": jax.random.key(0),
    "params": TREE,
    "x": jnp.ones((4, 6)),
    "branch": jnp.ones((4, 6)),
    "labels": jnp.arange(4) % 3,
    "classes": 3,
    "schedule": schedules.constant(0.1),
    "penalty": penalties.l1(0.1),
    "reference": TREE,
    "target": TREE,
    "samples": 2,
    "predict": lambda key: jnp.ones(2),
    "fan_in": 3,
    "transform": lambda key, image: image,
}


class Wrong(NamedTuple):
    """A call with one argument of a wrong kind."""

    name: str
    argument: str
    call: Callable[[], Any]


class Unusual:
    """An object that no factory can take."""

    def __repr__(self) -> str:
        return "<unusual>"


NO_SCALAR = ["0.1", "", b"0.1", True, np.True_, 1j, {0.1}, object, Unusual(), slice(1), range(2), np.datetime64(0, "s")]
NO_SCALAR += [np.array(["0.1"]), np.array(1j), jnp.array(True), np.array([Unusual()])]
EMPTY = [[], (), {}, np.zeros(0), jnp.zeros((0, 2)), [[]], {"w": {}}]
TREES = [[0.1], (0.1,), {"w": 0.1}, [[0.1, 0.2]], {"w": "0.1"}]
BAD_TREES = [["0.1"], {"w": "0.1"}, {"w": True}, {"w": NAN}, (0.1, "x"), [1j], {"w": Unusual()}, {"w": None}]
VECTORS = [np.array([0.1, 0.2]), jnp.ones((2, 2))]
NOT_FINITE = [NAN, np.float32(NAN), jnp.array(NAN), np.array(-NAN)]
NO_WHOLE = ["3", b"3", True, 1.5, NAN, INF, 1j, [], [3], {}, Unusual(), np.array([3, 4]), 2.5, "", -(2**70), 2**70]
NO_NAME = ["", "nonesuch", 0, True, 1.5, b"max", [], ["max"], {}, Unusual(), NAN, len]
NO_BOOL = ["True", "", 0, 1, 1.5, None, [], {}, Unusual(), NAN, np.array([True, False]), len]
NO_FUNCTION = ["adam", "", 0, 1.5, True, [], {}, Unusual(), NAN, b"f", np.ones(2)]
NO_MASK = ["weight", "", 0, 1.5, b"weights", NAN, 1j, Unusual()]


def wrong_values(hint: Any, default: Any) -> list[Any]:
    """What an argument of this annotation may not be."""
    optional = default is None or type(None) in typing.get_args(hint)
    none = [] if optional else [None]
    plain = strip_none(hint)
    if plain == strip_none(Number):
        return [*NO_SCALAR, *EMPTY, *TREES, *VECTORS, *NOT_FINITE, len, lambda count: 0.1, *none]
    if plain == strip_none(ScheduledNumber):
        return [*NO_SCALAR, *EMPTY, *TREES, *VECTORS, *NOT_FINITE, *none]
    if plain in (strip_none(NumberOrSchedule), strip_none(NumberTree)):
        return [*NO_SCALAR, *EMPTY, *BAD_TREES, *NOT_FINITE, *none]
    if plain is int:
        return [*NO_WHOLE, *none]
    if plain is bool:
        return list(NO_BOOL)
    if plain in (strip_none(Mask), strip_none(BoolTree)):
        return list(NO_MASK)
    if plain == strip_none(Axis):
        return ["weights", b"3", True, 1.5, NAN, 1j, Unusual(), [3], (1.5,), {"**/w": "3"}, {"**/w": 1.5}]
    if plain == strip_none(UnitAxis):
        return [value for value in NO_WHOLE if not isinstance(value, dict)]
    parts = typing.get_args(plain) or (plain,)
    if all(typing.get_origin(part) is Literal for part in parts) or typing.get_origin(plain) is Literal:
        return [*NO_NAME, *none]
    if any(typing.get_origin(part) is Literal for part in parts):
        return [value for value in [*NO_NAME, *none] if value is not len]
    if plain in (optax.GradientTransformation, optax.GradientTransformationExtraArgs, penalties.Penalty):
        return [*NO_FUNCTION, len, TREE, *none]
    if typing.get_origin(plain) is typing.get_origin(Callable[..., Any]):
        return [*NO_FUNCTION, *none]
    return []


def strip_none(hint: Any) -> Any:
    """The annotation without None."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    return reduce(operator.or_, parts) if type(None) in typing.get_args(hint) else hint


# a mask is read where it meets the parameters, and the box has entries
LATER = {"mask", "lower", "upper"}


def wrong_calls(factory: Callable[..., Any]) -> Iterator[Wrong]:
    """Every argument with every wrong value; nothing where the other arguments have no valid value here."""
    row = next(row for row in CATALOGUE if row.factory is factory)
    usual = row.usual()
    hints = inspect.signature(factory).parameters
    base = {}
    for name, parameter in hints.items():
        if parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            if name not in usual and name not in VALID:
                return
            base[name] = usual.get(name, VALID.get(name))
    for name, parameter in hints.items():
        if name in LATER:
            continue
        for place, value in enumerate(wrong_values(parameter.annotation, parameter.default)):
            label = f"{row.name}({name}={value!r:.40}) {place}"
            yield Wrong(label, name, lambda name=name, value=value: factory(**{**base, name: value}))


def is_named(wrong: Wrong) -> str:
    """Why a call is not refused in one line that names its argument; empty where it is."""
    try:
        wrong.call()
    except (ValueError, TypeError) as error:
        said = str(error)
        if "\n" in said or len(said) > 300:
            return f"{len(said.splitlines())} lines, {len(said)} characters: {said.splitlines()[0][:80]}"
        return "" if wrong.argument in said else f"the argument is not named: {said[:120]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:80]}"
    return "accepted"
