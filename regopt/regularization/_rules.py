"""The rules by which operations combine the classes of their arguments and their responses to a gradient of ones.

An operation that is not listed is nonlinear in what depends on the gradient.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import JaxprEqn

from regopt._core.jaxprs import shaped
from regopt.regularization._values import (
    HELD,
    PARAMS,
    Kind,
    Value,
    fixed,
    held,
    joined,
    linear,
    nonlinear,
    reason,
    scalar,
    sources_of,
)

_COPIES = {"copy", "copy_p", "convert_element_type", "reduce_precision", "sharding_constraint", "reshard"}
ALIASES = _COPIES | {"select_n"}  # the result is an argument, in another dtype or chosen among several
ENTRYWISE = _COPIES | {
    *("neg", "add", "sub", "mul", "div", "rem", "max", "min", "pow", "integer_pow", "sqrt", "rsqrt", "square", "exp"),
    *("log", "expm1", "log1p", "tanh", "abs", "sign", "floor", "ceil", "round", "is_finite", "clamp", "select_n"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "xor", "stop_gradient", "cbrt", "logistic", "add_any"),
}
_REASONS = {
    "sign": "takes the sign of the gradient",
    "abs": "takes the magnitude of the gradient",
    "clamp": "clips the entries of the gradient",
    "max": "clips the entries of the gradient",
    "min": "clips the entries of the gradient",
    "square": "takes a norm or a square of the gradient",
    "mul": "takes a norm or a square of the gradient",
    "integer_pow": "takes a norm or a square of the gradient",
}


def classified(eqn: JaxprEqn, values: Sequence[Value]) -> list[Value]:
    """The classes of the results of one operation, without those that hold a program of their own."""
    name, shapes = eqn.primitive.name, [shaped(var).shape for var in eqn.outvars]
    uniform = all(value.uniform for value in values)
    uniforms = [_is_uniform(name, shape, uniform) for shape in shapes]
    sources = sources_of(values)
    if _tells_whether_finite(eqn):
        return [fixed(each) for each in uniforms]
    if all(value.kind == Kind.FIXED for value in values):
        keeps = name in (*_COPIES, "neg", "broadcast_in_dim", "reshape", "mul")
        if keeps and any(value.zero for value in values):
            return [fixed(each)._replace(zero=True) for each in uniforms]
        if name in ("mul", "div") and PARAMS in sources:  # a decay at a rate that is held is a decay
            sources -= {HELD}
        why = next((value.why for value in values if value.why), "")
        return [fixed(each, sources)._replace(why=why) for each in uniforms]
    rule = _RULES.get(name)
    if rule is not None and (found := rule(eqn, values)) is not None:
        return [found]
    why = reason(values, _REASONS.get(name) or _other(name))
    # the responses to a gradient are equal for all its entries, functions of it are not
    uniform = uniform and not any(value.kind == Kind.LINEAR for value in values)
    results = [nonlinear(why, _is_uniform(name, shape, uniform), sources) for shape in shapes]
    remembers = all(value.kind == Kind.FIXED or value.kept for value in values)
    return [held(result) for result in results] if remembers else results


def response(eqn: JaxprEqn, values: Sequence[Value], result: Value) -> jax.Array | None:
    """The response of a result that is linear; it has shape () where it is uniform."""
    name = eqn.primitive.name
    if result.kind != Kind.LINEAR:
        return None
    if name in ("mul", "div"):
        line, other = values if values[0].kind == Kind.LINEAR else values[::-1]
        assert line.response is not None
        assert other.primal is not None
        factor = scalar(other.primal) if result.uniform else other.primal
        return line.response * factor if name == "mul" else line.response / factor
    if name in ("add", "add_any", "sub"):
        first, second = (value.response for value in values)
        if second is None:
            return first
        second = -second if name == "sub" else second
        return second if first is None else first + second
    if name == "neg":
        assert values[0].response is not None
        return -values[0].response
    if name == "convert_element_type":
        assert values[0].response is not None
        return jax.lax.convert_element_type(values[0].response, eqn.params["new_dtype"])
    if name == "select_n":
        return chosen(values[0], values[1:], result, shaped(eqn.outvars[0]))
    line = values[0].response
    assert line is not None
    return line if line.ndim == 0 else eqn.primitive.bind(line, **eqn.params)


def chosen(chooser: Value, cases: Sequence[Value], result: Value, aval: ShapedArray) -> jax.Array:
    """The response of a choice: that of the case which is chosen, 0 for a fixed one."""
    assert chooser.primal is not None
    which = scalar(chooser.primal) if result.uniform else chooser.primal
    return jax.lax.select_n(which, *(filled(case, result.uniform, aval) for case in cases))


def filled(value: Value, uniform: bool, aval: ShapedArray | jax.Array) -> jax.Array:
    """The response in the dtype of ``aval``: of shape () if uniform, else of its shape; 0 for a fixed value."""
    shape = () if uniform else aval.shape
    if value.response is None:
        return jnp.zeros(shape, aval.dtype)
    return jnp.broadcast_to(value.response, shape) if value.response.shape != shape else value.response


def _same(eqn: JaxprEqn, values: Sequence[Value]) -> Value | None:
    """One argument unchanged, or times a constant."""
    out, value = shaped(eqn.outvars[0]), values[0]
    smooth = jnp.issubdtype(out.dtype, jnp.floating) and jnp.issubdtype(shaped(eqn.invars[0]).dtype, jnp.floating)
    if value.kind != Kind.LINEAR or not smooth or out.shape != shaped(eqn.invars[0]).shape:
        return None
    if eqn.primitive.name == "integer_pow" and eqn.params["y"] != 1:
        return None
    fresh = linear(value.leaf, value.uniform, value.sources, value.factor)
    return fresh._replace(roots=value.roots) if eqn.primitive.name in _COPIES else fresh


def _sum(eqn: JaxprEqn, values: Sequence[Value]) -> Value | None:
    lines = [value for value in values if value.kind == Kind.LINEAR]
    if len({line.leaf for line in lines}) != 1 or any(value.kind == Kind.NONLINEAR for value in values):
        return None
    shapes = [shaped(var).shape for var, value in zip(eqn.invars, values, strict=True) if value in lines]
    if any(shape != shaped(eqn.outvars[0]).shape for shape in shapes):
        return None
    factor = next((line.factor for line in lines if line.factor), "")
    return linear(lines[0].leaf, all(line.uniform for line in lines), sources_of(values), factor)


def _product(eqn: JaxprEqn, values: Sequence[Value]) -> Value | None:
    divides = eqn.primitive.name == "div"
    if all(value.kind == Kind.LINEAR for value in values):
        return None
    at = 0 if values[0].kind == Kind.LINEAR else 1
    line, other = values[at], values[1 - at]
    if line.kind != Kind.LINEAR or (divides and at) or shaped(eqn.invars[at]).shape != shaped(eqn.outvars[0]).shape:
        return None
    if other.kind == Kind.NONLINEAR and not other.uniform:
        return None
    factor = other.why if other.kind == Kind.NONLINEAR else ""
    return linear(line.leaf, line.uniform and other.uniform, line.sources, line.factor or factor)


def _choice(eqn: JaxprEqn, values: Sequence[Value]) -> Value:
    del eqn
    return joined(values[1:], values[:1])


_RULES: dict[str, Callable[[JaxprEqn, Sequence[Value]], Value | None]] = {
    **dict.fromkeys((*_COPIES, "neg", "integer_pow", "reshape", "broadcast_in_dim"), _same),
    **dict.fromkeys(("add", "sub", "add_any"), _sum),
    **dict.fromkeys(("mul", "div"), _product),
    "select_n": _choice,
}


def _tells_whether_finite(eqn: JaxprEqn) -> bool:
    """Whether a comparison holds for all numbers that are finite, so that it is as good as fixed."""
    name = eqn.primitive.name
    return name == "is_finite" or (name in ("ne", "eq") and eqn.invars[0] is eqn.invars[1])


def _is_uniform(name: str, shape: tuple[int, ...], arguments: bool) -> bool:
    return shape == () or (arguments and (name in ENTRYWISE or name in ("broadcast_in_dim", "reshape")))


def _other(name: str) -> str:
    mixes = name.startswith(("reduce_", "cum", "arg")) or name in ("dot_general", "sort", "conv_general_dilated")
    if mixes or name in ("reshape", "concatenate", "transpose", "slice", "gather", "dynamic_slice"):
        return f"mixes the coordinates of the gradient ({name})"
    return f"takes a nonlinear function of the gradient ({name})"
