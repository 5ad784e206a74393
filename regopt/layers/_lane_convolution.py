"""A convolution whose lanes under ``vmap`` are a further spatial axis, in place of groups of features.

JAX's own rule makes lanes groups of features. A TPU then holds activations with the lanes between space and features,
and a dense layer after the convolution, whose lanes are outside, needs all of them transposed, forward and backward.
A spatial axis can stay outside. Dilated by the number of lanes, with a window as long as that and a stride of one less,
it pairs each lane's input with its own kernel, as XLA's TPU backend itself writes a batch of matrix products. Not for a
CPU or a GPU, whose convolutions would multiply the zeros of the dilation.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Pairs = tuple[tuple[int, int], ...]
Numbers = jax.lax.ConvDimensionNumbers
_DEFAULT_PRECISION = "jax_default_matmul_precision"  # an option of JAX


class _Form(NamedTuple):
    """What a convolution is beside its operands; see ``jax.lax.conv_general_dilated``."""

    strides: tuple[int, ...]
    padding: Pairs
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    numbers: Numbers
    precision: jax.lax.PrecisionLike
    dtype: jax.typing.DTypeLike  # of the result
    lanes: bool  # whether the first axis of both operands and of the result is that of lanes


def lane_convolution(
    lhs: jax.Array,
    rhs: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    numbers: Numbers,
    precision: jax.lax.PrecisionLike,
    dtype: jax.typing.DTypeLike | None,
) -> jax.Array:
    """``jax.lax.conv_general_dilated`` without groups, with another rule for lanes."""
    wide = jnp.result_type(lhs, rhs)
    if precision is None:  # that of the trace: the operation is written out later
        precision = getattr(jax.config, _DEFAULT_PRECISION)
    form = _Form(
        tuple(strides),
        tuple((before, after) for before, after in padding),
        tuple(lhs_dilation),
        tuple(rhs_dilation),
        numbers,
        precision,
        jnp.dtype(wide if dtype is None else dtype),
        lanes=False,
    )
    return _CONVOLUTION.bind(lhs.astype(wide), rhs.astype(wide), form=form)


def _compute(lhs, rhs, *, form: _Form):
    strides, padding, lhs_dilation, numbers, count = (
        form.strides,
        form.padding,
        form.lhs_dilation,
        form.numbers,
        len(lhs),
    )
    rhs_dilation = form.rhs_dilation
    if form.lanes:
        strides, padding = (max(count - 1, 1), *strides), ((0, 0), *padding)
        lhs_dilation, rhs_dilation = (count, *lhs_dilation), (1, *rhs_dilation)
        numbers = Numbers(*(tuple(axis + 1 for axis in (*spec[:2], -1, *spec[2:])) for spec in numbers))
    return jax.lax.conv_general_dilated(
        lhs,
        rhs,
        strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        numbers,
        precision=form.precision,
        preferred_element_type=form.dtype,
    )


def _shape(lhs, rhs, *, form):
    found = jax.eval_shape(partial(_compute, form=form), *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (lhs, rhs)))
    return ShapedArray(found.shape, found.dtype)


def _in_lanes(operands, axes, *, form: _Form):
    """The rule for ``vmap``; an operand that all lanes share is repeated."""
    count = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    lhs, rhs = (batching.bdim_at_front(x, axis, count) for x, axis in zip(operands, axes, strict=True))
    if not form.lanes:
        return _CONVOLUTION.bind(lhs, rhs, form=form._replace(lanes=True)), 0
    each = lhs.shape[1]
    lhs, rhs = (x.reshape(count * each, *x.shape[2:]) for x in (lhs, rhs))
    found = _CONVOLUTION.bind(lhs, rhs, form=form)
    return found.reshape(count, each, *found.shape[1:]), 0


def _slope_by_lhs(g, lhs, rhs, *, form: _Form):
    lhs_spec, rhs_spec, out_spec = form.numbers
    sizes = _sizes(form, lhs.aval, rhs, g)
    padding = []
    for (before, _), (inputs, window, outputs) in zip(form.padding, sizes, strict=True):
        first = window - before - 1
        padding.append((first, inputs + window - 1 - outputs - first))
    backward = form._replace(
        strides=form.lhs_dilation,
        padding=tuple(padding),
        lhs_dilation=form.strides,
        numbers=Numbers(out_spec, (rhs_spec[1], rhs_spec[0], *rhs_spec[2:]), lhs_spec),
        dtype=lhs.aval.dtype,
    )
    flipped = jax.lax.rev(rhs, [axis + form.lanes for axis in rhs_spec[2:]])
    return _CONVOLUTION.bind(g.astype(rhs.dtype), flipped, form=backward)


def _slope_by_rhs(g, lhs, rhs, *, form: _Form):
    padding = []
    for (before, _), (inputs, window, outputs) in zip(form.padding, _sizes(form, lhs, rhs.aval, g), strict=True):
        padding.append((before, outputs - inputs + window - before - 1))
    lhs_spec, rhs_spec, out_spec = ((spec[1], spec[0], *spec[2:]) for spec in form.numbers)
    backward = form._replace(
        strides=form.rhs_dilation,
        padding=tuple(padding),
        rhs_dilation=form.strides,
        numbers=Numbers(lhs_spec, out_spec, rhs_spec),
        dtype=rhs.aval.dtype,
    )
    return _CONVOLUTION.bind(lhs, g.astype(lhs.dtype), form=backward)


def _sizes(form: _Form, lhs, rhs, out) -> list[tuple[int, ...]]:
    """For each spatial axis the sizes of input, window and output with their dilation."""
    given = zip((lhs, rhs, out), form.numbers, (form.lhs_dilation, form.rhs_dilation, form.strides), strict=True)
    spread = []
    for x, spec, dilation in given:
        lengths = [x.shape[axis + form.lanes] for axis in spec[2:]]
        spread.append([(length - 1) * by + 1 if length else 0 for length, by in zip(lengths, dilation, strict=True)])
    return list(zip(*spread, strict=True))


_CONVOLUTION = Primitive("lane_convolution")
_CONVOLUTION.def_impl(jax.jit(_compute, static_argnames="form"))
_CONVOLUTION.def_abstract_eval(_shape)
mlir.register_lowering(_CONVOLUTION, mlir.lower_fun(_compute, multiple_results=False))
batching.primitive_batchers[_CONVOLUTION] = _in_lanes
ad.defbilinear(_CONVOLUTION, _slope_by_lhs, _slope_by_rhs)
