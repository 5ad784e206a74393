"""Numerics of scalars: how a number meets an array, ``1 - b`` and ``1 - b**t``, and functions with finite derivatives.

The hyperparameter contract rests on these: a number may be a Python float or a tracer of another dtype, and values and
derivatives are finite at 0. Functions of trees are in ``trees.py``.
"""

import math
import re
from collections.abc import Sequence
from functools import reduce
from typing import TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core.messages import brief, cut
from regopt._core.sums import largest_of_vector, sum_vector
from regopt._core.types import Number, ScheduledNumber, Tree

_EXTENDED_FLOATS = "V"  # how NumPy sees bfloat16
_INTERVAL = re.compile(r"([\[(])(\S+), (\S+)([\])])")


def like(number: ScheduledNumber, leaf: jax.Array) -> jax.Array:
    """The number in the dtype of ``leaf`` with its own shape; every number meets an array through this function.

    A float32 tracer would otherwise widen bfloat16 state and change the dtypes in the carry of a scan.

    >>> like(0.5, jnp.ones(3, jnp.bfloat16)).dtype
    dtype(bfloat16)
    """
    return jnp.asarray(number).astype(leaf.dtype) if _is_traced(number) else jnp.asarray(number, leaf.dtype)


def widen(*arrays: ScheduledNumber) -> tuple[jax.Array, ...]:
    """The arrays in one common floating dtype of at least float32.

    >>> [x.dtype.name for x in widen(jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float16))]
    ['float32', 'float32']
    """
    arrays = tuple(jnp.asarray(x) for x in arrays)
    with jax.numpy_dtype_promotion("standard"):
        dtype = reduce(jnp.promote_types, [x.dtype for x in arrays], jnp.dtype(jnp.float32))
    return tuple(x.astype(dtype) for x in arrays)


def as_float(number: ScheduledNumber) -> jax.Array:
    """The number as an array of JAX's default float dtype (float32, or float64 with x64 on).

    >>> as_float(3).dtype
    dtype('float32')
    """
    number = float(number) if isinstance(number, int) else number  # a Python int may exceed an int32
    return jnp.asarray(number).astype(jnp.result_type(float))


def one_minus(b: ScheduledNumber) -> Number:
    """``1 - b``, in double precision for a concrete scalar and in the default float dtype for a tracer.

    Args:
        b: a decay rate, dimensionless; may be traced.

    Returns:
        A Python float for a concrete ``b``, else an array of shape ().

    >>> one_minus(0.75)
    0.25
    """
    return 1 - as_float(b) if _is_traced(b) else 1.0 - float(np.asarray(b))


def one_minus_power(b: ScheduledNumber, t: Number) -> jax.Array:
    """``1 - b**t = -expm1(t log1p(-c))`` with ``c = one_minus(b)``: the bias correction of a moving average.

    It uses the same ``c`` as the average itself, so that ``one_minus(b) / one_minus_power(b, 1)`` is 1 to rounding for
    every ``b``, static or traced. The derivative with respect to ``b`` is finite on [0, 1), including 0.

    Args:
        b: a decay rate in [0, 1), dimensionless; may be traced.
        t: number of steps, >= 0; may be traced.

    Returns:
        An array of the default float dtype.

    >>> one_minus_power(0.9, 2)
    Array(0.19, dtype=float32)
    """
    return one_minus_complement_power(as_float(one_minus(b)), as_float(t))


@jax.custom_jvp
def one_minus_complement_power(c: jax.Array, t: jax.Array) -> jax.Array:
    """``1 - (1 - c)**t`` for c in [0, 1] and t >= 0, accurate to rounding for tiny c, with finite derivatives."""
    safe = jnp.where(c < 1, c, 0.5)
    return jnp.where(c < 1, -jnp.expm1(t * jnp.log1p(-safe)), jnp.where(t > 0, 1.0, 0.0).astype(c.dtype))


@one_minus_complement_power.defjvp
def _one_minus_complement_power_jvp(primals, tangents):
    (c, t), (dc, dt) = primals, tangents
    b = 1 - c
    log_b = jnp.log(jnp.where(b > 0, b, 1))
    before = jnp.where(t > 0, b ** jnp.maximum(t - 1, 0), 0)  # b**(t-1), 0**0 = 1
    return one_minus_complement_power(c, t), t * before * dc - b**t * log_b * dt


def safe_sqrt(x: jax.Array) -> jax.Array:
    """``sqrt(x)`` for x >= 0, with derivative 0 (not inf) at 0.

    >>> jax.grad(safe_sqrt)(jnp.float32(0.0))
    Array(0., dtype=float32)
    """
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def safe_divide(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """``numerator / denominator``, and 0 with derivative 0 where the denominator is 0.

    >>> safe_divide(jnp.array([1.0, 0.0]), jnp.array([2.0, 0.0]))
    Array([0.5, 0. ], dtype=float32)
    """
    nonzero = denominator != 0
    return jnp.where(nonzero, numerator, 0) / jnp.where(nonzero, denominator, 1)


@jax.custom_jvp
def safe_power(base: jax.Array, exponent: jax.Array) -> jax.Array:
    """``base**exponent`` for base >= 0, with 0**0 = 1; it saturates at the largest float, with derivative 0 there.

    An infinite derivative at 0 is replaced by 0.
    """
    return _saturate(base**exponent)


@safe_power.defjvp
def _safe_power_jvp(primals, tangents):
    (base, exponent), (base_dot, exponent_dot) = primals, tangents
    value = safe_power(base, exponent)
    limits = jnp.finfo(value.dtype)
    steep, flat = (base == 0) & (exponent < 1), value >= limits.max
    by_base = jnp.where(steep | flat, 0, exponent * safe_power(jnp.where(steep, 1, base), exponent - 1))
    by_exponent = jnp.where(flat, 0, value * jnp.log(jnp.where(base < limits.tiny, 1, base)))
    return value, _saturate(by_base) * base_dot + _saturate(by_exponent) * exponent_dot


def _saturate(x: jax.Array) -> jax.Array:
    largest = jnp.finfo(x.dtype).max
    return jnp.clip(x, -largest, largest)


@jax.custom_jvp
def exprel(x: jax.Array) -> jax.Array:
    """``(exp(x) - 1) / x``, and 1 at 0, with an accurate derivative there; SciPy's function of this name.

    >>> exprel(jnp.array([0.0, 1.0]))
    Array([1.       , 1.7182817], dtype=float32)
    """
    small = jnp.abs(x) < jnp.finfo(x.dtype).eps
    return jnp.where(small, 1 + x / 2, jnp.expm1(x) / jnp.where(small, 1, x))


@exprel.defjvp
def _exprel_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    # the quotient loses digits to cancellation near 0, where eight terms of the series are exact to rounding
    near = jnp.abs(x) < 0.1
    series = sum(x**k / (math.factorial(k) * (k + 2)) for k in range(8))
    safe = jnp.where(near, 1, x)
    slope = jnp.where(near, series, (jnp.exp(safe) - exprel(safe)) / safe)
    return exprel(x), slope * x_dot


def safe_norm(x: jax.Array) -> jax.Array:
    """Euclidean norm of all entries, in at least float32, with derivative 0 at the origin.

    The squares neither overflow nor underflow, because the largest magnitude is factored out first.

    >>> safe_norm(jnp.array([3e30, 4e30])) / 1e30
    Array(5., dtype=float32)
    """
    return direction_and_norm((x,))[1]


def direction_and_norm(
    arrays: Sequence[jax.Array], axis: tuple[int, ...] | None = None
) -> tuple[list[jax.Array], jax.Array]:
    """The arrays divided by their common Euclidean norm, and that norm; for a norm of 0, zeros with derivative 0.

    The direction is accurate even where the norm exceeds the largest float or its square is below the smallest.

    Args:
        arrays: floating-point arrays of any shapes.
        axis: for a single array, the axes of the norm; None for all entries of all arrays.

    Returns:
        The directions, in one common dtype of at least float32; the norm, of shape (), or with ``axis`` the shape of
        the array with these axes of length 1.
    """
    wide, keep = widen(*arrays), axis is not None
    peaks = [jnp.max(jnp.abs(x), axis=axis, keepdims=keep, initial=0) for x in wide]
    smallest = 2 * jnp.finfo(wide[0].dtype).tiny  # XLA multiplies by the reciprocal, which must be a normal number
    peak = peaks[0] if len(peaks) == 1 else largest_of_vector(jnp.stack(peaks))
    inside = jnp.where(peak == 0, 1, jnp.clip(peak, smallest, 1 / smallest))  # 0: it squares a constant's reciprocal
    scale = jax.lax.stop_gradient(inside)
    scaled = [x / scale for x in wide]
    squares = [jnp.sum(jnp.square(x), axis=axis, keepdims=keep) for x in scaled]
    length = safe_sqrt(squares[0] if len(squares) == 1 else sum_vector(jnp.stack(squares)))
    return [safe_divide(x, length) for x in scaled], scale * length


def check_range(name: str, value: object, interval: str) -> None:
    """Check that a concrete number, or every number of a tree, lies in an interval; tracers and schedules pass.

    Args:
        name: name of the argument, for the message.
        value: a number, a schedule, or a tree of these.
        interval: in mathematical notation, ``"[0, 1)"`` or ``"(0, inf)"``.

    Raises:
        ValueError: a concrete number lies outside or is NaN, as in "momentum must lie in [0, 1), got 1.5".
    """
    # a None in a tree stands where the parameters have no leaf
    for number in jax.tree.leaves(value) or [value]:
        if _is_traced(number) or (callable(number) and not isinstance(number, type)):
            continue
        if not _is_real(number):
            raise ValueError(f"{name} must be a number in {interval}, got {brief(number)}")
        if not _inside(np.asarray(number, dtype=np.float64), interval):
            raise ValueError(f"{name} must lie in {interval}, got {cut(str(number))}")


def check_number(name: str, value: object, interval: str) -> None:
    """Like ``check_range``, for a single number: schedules and trees are refused, a tracer passes.

    Args:
        name: name of the argument, for the message.
        value: a number.
        interval: in mathematical notation, ``"[0, 1)"`` or ``"(0, inf)"``.

    Raises:
        ValueError: the value is not a number, lies outside or is NaN.
    """
    if not (_is_traced(value) or _is_real(value)) or np.ndim(value):
        raise ValueError(f"{name} must be a number in {interval}, got {brief(value)}")
    check_range(name, value, interval)


def check_schedulable(name: str, value: object, interval: str) -> None:
    """Like ``check_number``, for a number or a schedule."""
    if not callable(value) or isinstance(value, type):
        check_number(name, value, interval)


def check_whole(name: str, value: object, interval: str) -> None:
    """Check that a static argument is an integer in an interval and below 2**31; True and 2.0 are refused.

    Args:
        name: name of the argument, for the message.
        value: the argument.
        interval: in mathematical notation, ``"[1, inf)"``.

    Raises:
        ValueError: the value is not an integer, or lies outside.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not _inside(min(value, 2**31), interval):
        static = "a traced number: make it static, in a sweep by sweep.static([...])"
        got = static if _is_traced(value) else brief(value)
        raise ValueError(f"{name} must be a whole number in {interval}, got {got}")
    if value >= 2**31:
        raise ValueError(f"{name} must be a whole number below 2**31, got {brief(value)}")


def _is_real(number: object) -> TypeGuard[Number]:
    """Whether a leaf holds integers or floats, at least one; a bool and what else NumPy would convert is none."""
    if isinstance(number, int | float):
        return not isinstance(number, bool)
    if not isinstance(number, np.number | np.ndarray | jax.Array):
        return False
    return number.size > 0 and number.dtype.kind in "iuf" + _EXTENDED_FLOATS


def _inside(numbers: int | np.integer | np.ndarray, interval: str) -> bool:
    match = _INTERVAL.fullmatch(interval)
    assert match, interval
    low, high = float(match[2]), float(match[3])
    above = numbers >= low if match[1] == "[" else numbers > low
    below = numbers <= high if match[4] == "]" else numbers < high
    return bool(np.all(above & below))


def _is_traced(number: object) -> TypeGuard[Tracer]:
    return isinstance(number, Tracer)


def at_count(number: Tree, count: Number) -> Tree:
    """The value of a schedule at ``count``; a number is returned unchanged. In a tree this holds for each entry."""
    return jax.tree.map(lambda each: each(count) if callable(each) else each, number)
