"""Value numbering: the numbers of an optimizer's program that are equal whatever its arguments are.

A *key* stands for the common entry of a uniform value, of a linear one for that of its response. Values with the same
key are equal; of values with different keys nothing is known. With it, "all steps are the same" is proved without a
look at their values, which may be traced.
"""

import itertools
from collections.abc import Hashable, Sequence

from jax.extend.core import JaxprEqn

from regopt.regularization._values import Kind, Value

_COPIES = ("copy", "copy_p", "convert_element_type", "reduce_precision", "broadcast_in_dim", "reshape", "reshard")
_fresh = itertools.count()


def constant_key(what: Hashable) -> int:
    """The key of a constant, or of an argument with this name."""
    return hash(("constant", what))


def key_of(eqn: JaxprEqn, place: int, values: Sequence[Value], result: Value) -> int | None:
    """The key of a result of an operation; None where the result is not uniform."""
    if not result.uniform:
        return None
    name, keys = eqn.primitive.name, [value.key for value in values]
    if result.kind == Kind.LINEAR:
        # of a sum the response has the linear terms alone; a fixed case of a choice has the response 0
        keys = [
            value.key if value.kind == Kind.LINEAR or name in ("mul", "div") or (name == "select_n" and not i) else 0
            for i, value in enumerate(values)
        ]
        if name in ("add", "add_any") and 0 in keys:
            return next((key for key in keys if key != 0), 0)
    if any(key is None for key in keys):
        return _unlike_any()
    if name in _COPIES:
        return keys[0]
    if name in ("add", "add_any", "mul"):
        keys.sort(key=str)
    return hash((name, place, _options(eqn), *keys))


def branch_key(index: Value, cases: Sequence[Value]) -> int | None:
    """The key of a result of a ``cond``."""
    linear = any(value.kind == Kind.LINEAR for value in cases)
    keys = [0 if linear and value.kind == Kind.FIXED else value.key for value in cases]
    if index.key is None or any(key is None for key in keys):
        return _unlike_any()
    return hash(("cond", index.key, *keys))


def _unlike_any() -> int:
    return hash(("fresh", next(_fresh)))


def _options(eqn: JaxprEqn) -> str:
    return str(sorted(eqn.params.items(), key=lambda pair: pair[0]))
