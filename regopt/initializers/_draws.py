"""Random kernels with a stated variance by fan or orthogonal columns, PyTorch's defaults, and a positive bias.

A factory takes numbers and returns an initializer of JAX's form, ``(key, shape, dtype) -> array``, for every module
that takes one. Kernels have the shape ``(..., in, out)`` unless the axes are named; all other axes count into both
fans, as in a convolution. What is drawn is drawn in at least float32 and cast last: a uniform draw in bfloat16 has
steps of 1/64 on [-1, 1) and a mean of -1/128.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from regopt._core.numerics import check_range, like, safe_sqrt, widen
from regopt._core.types import Number

Axes: TypeAlias = int | Sequence[int]
Distribution: TypeAlias = Literal["normal", "truncated_normal", "uniform"]


def glorot(
    gain: Number = 1.0, *, distribution: Distribution = "uniform", in_axis: Axes = -2, out_axis: Axes = -1
) -> Initializer:
    """Mean 0 and variance ``2 gain^2 / (fan_in + fan_out)``; uniform on ``+-gain sqrt(6 / (fan_in + fan_out))``.

    Between keeping the variance forward, ``fan_in v = 1``, and backward, ``fan_out v = 1``, for units that are
    linear near 0. Also called Xavier initialization.

    Args:
        gain: factor on the kernel, >= 0, dimensionless; may be traced.
        distribution: "uniform", "normal", or "truncated_normal" at two of its own deviations, with the same variance.
        in_axis: axis or axes of the input.
        out_axis: axis or axes of the output.

    Returns:
        ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: a concrete gain lies outside [0, inf).

    References: Glorot & Bengio (2010), (12) and (16); Goodfellow et al. (2016), (8.23).
    """
    check_range("gain", gain, "[0, inf)")
    return _scaled(gain, jax.nn.initializers.variance_scaling(1.0, "fan_avg", distribution, in_axis, out_axis))


def he(
    gain: Number = 1.0,
    *,
    negative_slope: Number = 0.0,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    distribution: Distribution = "normal",
    in_axis: Axes = -2,
    out_axis: Axes = -1,
) -> Initializer:
    """Mean 0 and variance ``2 gain^2 / ((1 + negative_slope^2) fan)``: keeps the variance of (leaky) ReLU units.

    Args:
        gain: factor on the kernel, >= 0, dimensionless; may be traced.
        negative_slope: of the leaky ReLU, dimensionless: 0 for the ReLU, 1 for linear units; may be traced.
        mode: "fan_in" keeps the variance forward, "fan_out" backward.
        distribution: "normal", "uniform", or "truncated_normal" at two of its own deviations.
        in_axis: axis or axes of the input.
        out_axis: axis or axes of the output.

    Returns:
        ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: a concrete gain lies outside [0, inf), or the slope is not finite.

    References: He et al. (2015), (10), (14) and (15).
    """
    check_range("gain", gain, "[0, inf)")
    check_range("negative_slope", negative_slope, "(-inf, inf)")
    unit = jax.nn.initializers.variance_scaling(2.0, mode, distribution, in_axis, out_axis)
    return _scaled(gain, unit, lambda draw: draw / safe_sqrt(1 + jnp.square(like(negative_slope, draw))))


def torch_kernel(gain: Number = 1.0, *, in_axis: Axes = -2, out_axis: Axes = -1) -> Initializer:
    """Uniform on ``+-gain / sqrt(fan_in)``, variance ``gain^2 / (3 fan_in)``: the kernel of PyTorch's Linear and Conv.

    Args:
        gain: factor on the kernel, >= 0, dimensionless; may be traced.
        in_axis: axis or axes of the input.
        out_axis: axis or axes of the output.

    Returns:
        ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: a concrete gain lies outside [0, inf).

    References: PyTorch's documentation of ``torch.nn.Linear``. LeCun et al. (1998), section 4.6, have three times
        the variance.
    """
    check_range("gain", gain, "[0, inf)")
    return _scaled(gain, jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis, out_axis))


def torch_bias(fan_in: int, gain: Number = 1.0) -> Initializer:
    """Uniform on ``+-gain / sqrt(fan_in)``: the bias of PyTorch's Linear and Conv.

    Args:
        fan_in: of the kernel beside it, which a bias's shape does not tell; at least 1.
        gain: factor on the bias, >= 0, dimensionless; may be traced.

    Returns:
        ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: fewer than one input, or a concrete gain outside [0, inf).

    References: PyTorch's documentation of ``torch.nn.Linear``.
    """
    if fan_in < 1:
        raise ValueError(f"fan_in must be at least 1, got {fan_in}")
    check_range("gain", gain, "[0, inf)")
    bound = fan_in**-0.5
    return _scaled(gain, lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound))


def orthogonal(gain: Number = 1.0, *, column_axis: int = -1) -> Initializer:
    """``gain * Q``, Q with orthonormal columns, or rows if these are fewer; uniform among such matrices.

    A square kernel with gain g multiplies the length of every vector by g, forward and backward.

    Args:
        gain: factor on the kernel, >= 0, dimensionless; may be traced.
        column_axis: the axis of the columns; all others together are the rows.

    Returns:
        ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: a concrete gain lies outside [0, inf).

    References: Saxe, McClelland & Ganguli (2014), section 3.
    """
    check_range("gain", gain, "[0, inf)")
    return _scaled(gain, jax.nn.initializers.orthogonal(column_axis=column_axis))


def relu_bias(value: Number = 0.1) -> Initializer:
    """A positive constant: the hidden ReLU units start active for most inputs, and have a gradient.

    Args:
        value: > 0, in units of the pre-activation; may be traced.

    Returns:
        ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: a concrete value lies outside (0, inf).

    References: Goodfellow et al. (2016), section 8.4.

    >>> relu_bias(0.25)(jax.random.key(0), (2,), jnp.float32)
    Array([0.25, 0.25], dtype=float32)
    """
    check_range("value", value, "(0, inf)")
    return _scaled(value, lambda _, shape, dtype: jnp.ones(shape, dtype))


def _scaled(
    gain: Number, unit: Callable[..., jax.Array], also: Callable[[jax.Array], jax.Array] = lambda draw: draw
) -> Initializer:
    """``gain`` times an initializer, drawn in at least float32 and cast last."""

    def init(key, shape, dtype=None, out_sharding=None):
        del out_sharding
        dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
        (wide,) = widen(jnp.zeros((), dtype))
        draw = also(unit(key, shape, wide.dtype))
        return (like(gain, draw) * draw).astype(dtype)

    return init
