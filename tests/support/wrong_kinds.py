"""Wrong kinds of every argument of every public factory, by its annotation: what is no number, no name, no function.

The other arguments are valid: the usual numbers of the factory's row in the catalogue, and for the rest a value by the
name of the argument.
"""

import inspect
import operator
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import regopt
from regopt import penalties, schedules
from regopt._core.groups import Groups
from regopt._core.types import BoolTree, Mask, Number, NumberOrSchedule, NumberTree, ScheduledNumber
from regopt._core.units import Axis, UnitAxis
from regopt.penalties._coupling import Part
from regopt.schedules._counts import Numbers
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
NO_MASK = ["weight", "", 0, 1.5, b"weights", NAN, 1j, Unusual(), ["w"], {"w": "x"}, {"**/q": True}, {"w": 0.5}, len]
NO_PATH = ["", "a//w", 0, 1.5, None, True, [], {}, Unusual(), NAN, b"a/w", object]
NO_ARRAY = ["0.1", b"0.1", None, Unusual(), object, len, {0.1}, slice(1)]
NO_SEQUENCE = [3, 1.5, True, NAN, Unusual(), object, "x", len, [Unusual()], ["x"]]
NO_GROUPS = [3, 1.5, "x", True, [], {}, {"w": "1"}, {"w": 1.5}, {3: 0}, [{"w": 0}, 3], {"v": 0}, Unusual(), len]
NO_DTYPE = ["floot32", 3, 1.5, Unusual(), [], "int33", len, True]
NO_RNGS = ["0", 0.5, [], Unusual(), len, True]


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
    if plain == strip_none(Part):
        return list(NO_PATH)
    if plain is jax.Array:
        return list(NO_ARRAY)
    if plain is nnx.Rngs:
        return [*NO_RNGS, *none]
    if plain is jax.nn.initializers.Initializer:
        return [*NO_FUNCTION, *none]
    if plain == strip_none(jax.typing.DTypeLike):
        return list(NO_DTYPE)
    if plain == strip_none(Groups):
        return list(NO_GROUPS)
    if plain == strip_none(Numbers):
        return [*NO_SEQUENCE, ["0.1", 0.2], [NAN, 0.1], [[0.1], 0.2], [], {}, *none]
    if typing.get_origin(plain) in (Sequence, Mapping):
        return [*NO_SEQUENCE, *none]
    parts = typing.get_args(plain) or (plain,)
    if all(typing.get_origin(part) is Literal for part in parts) or typing.get_origin(plain) is Literal:
        return [*NO_NAME, *none]
    if any(typing.get_origin(part) is Literal for part in parts):
        return [value for value in [*NO_NAME, *none] if value is not len]
    if plain in (optax.GradientTransformation, optax.GradientTransformationExtraArgs, penalties.Penalty):
        return [*NO_FUNCTION, len, TREE, *none]
    if typing.get_origin(plain) is typing.get_origin(Callable[..., Any]):
        return [*NO_FUNCTION, *none]
    if typing.get_args(plain) == (jax.Array, jax.Array):  # a matrix and its right-hand sides
        return [3, "0.1", TREE, (jnp.ones(2),), (jnp.ones((1, 99)), jnp.ones(1)), *none]
    return []


def strip_none(hint: Any) -> Any:
    """The annotation without None."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    return reduce(operator.or_, parts) if type(None) in typing.get_args(hint) else hint


SETTINGS = {"rngs": nnx.Rngs(0)}
OWN: dict[str, dict[str, Any]] = {  # valid arguments of single factories
    "activity_l1": {"activations": jnp.ones((2, 3))},
    "kl_sparsity": {"activations": jnp.full((2, 3), 0.5)},
    "tie": {"first": "a/w", "second": "b/w"},
    "projection_affine": {"params": jnp.ones(3), "matrix": jnp.ones((1, 3)), "offset": jnp.ones(1)},
    "projection_box": {"lower": -1.0, "upper": 1.0},
    "projection_intersection": {"projections": [lambda w: w]},
    "projection_transport": {"plan": jnp.ones((2, 2)), "rows": jnp.ones(2), "columns": jnp.ones(2)},
    "join": {"schedules": [schedules.constant(0.1), schedules.constant(0.2)], "boundaries": [3]},
    "piecewise_constant": {"values": [0.1, 0.2], "boundaries": [3]},
    "lsuv": {"layers": [lambda w, x: x @ w], "params": [jnp.ones((6, 2))]},
    "output_bias": {"targets": jnp.arange(4) % 3, "loss": "squared_error"},
    "MLP": {"features": (3, 4, 2), **SETTINGS},
    "BatchNorm": {"num_features": 3, **SETTINGS},
    "Dense": {"in_features": 3, "out_features": 2, **SETTINGS},
    "DropConnect": {"in_features": 3, "out_features": 2, "rate": 0.5, **SETTINGS},
    "MultiTask": {"trunk": lambda x: x, "heads": {"a": lambda x: x}},
    "Dropout": {**SETTINGS},
}


def wrong_calls(factory: Callable[..., Any]) -> Iterator[Wrong]:
    """Every argument with every wrong value; nothing where the other arguments have no valid value here."""
    row = next(row for row in CATALOGUE if row.factory is factory)
    usual = {**VALID, **row.usual(), **OWN.get(factory.__name__, {})}
    hints = dict(parameters_of(factory))
    base = {}
    for name, parameter in hints.items():
        if parameter.default is inspect.Parameter.empty and parameter.kind not in VARIADIC:
            if name not in usual:
                return
            base[name] = usual[name]
    for name, parameter in hints.items():
        for place, value in enumerate(wrong_values(parameter.annotation, parameter.default)):
            label = f"{row.name}({name}={value!r:.40}) {place}"
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                # one of several arguments is named in the singular
                yield Wrong(label, name.removesuffix("s").removesuffix("ie"), lambda value=value: factory(value))
            else:
                yield Wrong(label, name, lambda name=name, value=value: used(factory(**{**base, name: value})))


VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def parameters_of(factory: Callable[..., Any]) -> Iterator[tuple[str, inspect.Parameter]]:
    """The parameters of a function, or of the layers that a class makes."""
    function = factory.__init__ if inspect.isclass(factory) else factory
    return ((name, each) for name, each in inspect.signature(function).parameters.items() if name != "self")


def used(made: Any) -> Any:
    """The object, after it has met parameters: a mask and numbers by layer are read only there."""
    if isinstance(made, penalties.Penalty):
        return made.value(TREE)
    if isinstance(made, optax.GradientTransformation):
        state = made.init(TREE)
        return made.update(TREE, state, TREE) if isinstance(state, optax.EmptyState) else state
    return made


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
