"""Random kernels with a stated variance by fan or orthogonal columns, PyTorch's defaults, and a positive bias.

A factory takes numbers and returns an initializer ``(key, shape, dtype) -> array`` as in ``jax.nn.initializers``.
Kernels have the shape ``(..., in, out)`` unless the axes are given; all other axes count into both fans, as in a
convolution. The draws are made in at least float32 and cast last, because a uniform draw in bfloat16 has steps of 1/64
on [-1, 1) and a mean of -1/128.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from regopt._core.checks import check_choice, check_index
from regopt._core.numerics import check_number, like, safe_sqrt, widen
from regopt._core.types import Number

Axes: TypeAlias = int | Sequence[int]
Distribution: TypeAlias = Literal["normal", "truncated_normal", "uniform"]


def glorot(
    gain: Number = 1.0, *, distribution: Distribution = "uniform", in_axis: Axes = -2, out_axis: Axes = -1
) -> Initializer:
    """Mean 0 and variance ``2 gain^2 / (fan_in + fan_out)``; uniform on ``+-gain sqrt(6 / (fan_in + fan_out))``.

    The variance v is a compromise between ``fan_in v = 1``, which preserves the variance of the forward pass, and
    ``fan_out v = 1``, which preserves that of the backward pass, for units that are linear near 0. It is also called
    Xavier initialization.

    Args:
        gain: factor on the kernel, >= 0, dimensionless; may be traced.
        distribution: "uniform", "normal", or "truncated_normal", truncated at two of its own standard deviations; all
            have the same variance; static.
        in_axis: axis or axes of the input; static.
        out_axis: axis or axes of the output; static.

    Returns:
        The initializer ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: a concrete gain lies outside [0, inf).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.initializers import glorot
        >>> kernel = glorot()(jax.random.key(0), (300, 100), jnp.float32)
        >>> round(float(kernel.var() * (300 + 100)), 1)
        2.0

    References:
        Glorot, X., & Bengio, Y. (2010). Understanding the difficulty of training deep feedforward neural networks.
        AISTATS. Equations (12) and (16).

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation (8.23).
    """
    check_choice("distribution", distribution, get_args(Distribution))
    check_number("gain", gain, "[0, inf)")
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
    """Mean 0 and variance ``2 gain^2 / ((1 + negative_slope^2) fan)``, which preserves the variance of (leaky) ReLUs.

    Args:
        gain: factor on the kernel, >= 0, dimensionless; may be traced.
        negative_slope: slope of the leaky ReLU for negative inputs, finite, dimensionless; 0 for the ReLU and 1 for
            linear units; may be traced.
        mode: "fan_in" preserves the variance of the forward pass, "fan_out" that of the backward pass; static.
        distribution: "normal", "uniform", or "truncated_normal", truncated at two of its own standard deviations;
            static.
        in_axis: axis or axes of the input; static.
        out_axis: axis or axes of the output; static.

    Returns:
        The initializer ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: a concrete gain lies outside [0, inf), or a concrete slope is not finite.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.initializers import he
        >>> kernel = he()(jax.random.key(0), (300, 100), jnp.float32)
        >>> round(float(kernel.var() * 300), 1)
        2.0

    References:
        He, K., Zhang, X., Ren, S., & Sun, J. (2015). Delving deep into rectifiers: Surpassing human-level performance
        on ImageNet classification. ICCV. Equations (10), (14) and (15).
    """
    check_choice("mode", mode, ("fan_in", "fan_out"))
    check_choice("distribution", distribution, get_args(Distribution))
    check_number("gain", gain, "[0, inf)")
    check_number("negative_slope", negative_slope, "(-inf, inf)")
    unit = jax.nn.initializers.variance_scaling(2.0, mode, distribution, in_axis, out_axis)
    return _scaled(gain, unit, lambda draw: draw / safe_sqrt(1 + jnp.square(like(negative_slope, draw))))


def torch_kernel(gain: Number = 1.0, *, in_axis: Axes = -2, out_axis: Axes = -1) -> Initializer:
    """Uniform on ``+-gain / sqrt(fan_in)``, variance ``gain^2 / (3 fan_in)``: the default of PyTorch.

    Args:
        gain: factor on the kernel, >= 0, dimensionless; may be traced.
        in_axis: axis or axes of the input; static.
        out_axis: axis or axes of the output; static.

    Returns:
        The initializer ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: a concrete gain lies outside [0, inf).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.initializers import torch_kernel
        >>> kernel = torch_kernel()(jax.random.key(0), (400, 100), jnp.float32)
        >>> bool(jnp.abs(kernel).max() <= 1 / 20)
        True

    References:
        PyTorch documentation. ``torch.nn.Linear``.

        LeCun, Y., Bottou, L., Orr, G. B., & Müller, K.-R. (1998). Efficient BackProp. In Neural Networks: Tricks of the
        Trade. Springer. Section 4.6, with three times the variance.
    """
    check_number("gain", gain, "[0, inf)")
    return _scaled(gain, jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis, out_axis))


def torch_bias(fan_in: int, gain: Number = 1.0) -> Initializer:
    """Uniform on ``+-gain / sqrt(fan_in)``: the default for the bias of Linear and Conv in PyTorch.

    Args:
        fan_in: fan-in of the kernel of the same layer, at least 1; static.
        gain: factor on the bias, >= 0, dimensionless; may be traced.

    Returns:
        The initializer ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: ``fan_in`` is below 1, or a concrete gain lies outside [0, inf).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.initializers import torch_bias
        >>> bias = torch_bias(fan_in=400)(jax.random.key(0), (100,), jnp.float32)
        >>> bool(jnp.abs(bias).max() <= 1 / 20)
        True

    References:
        PyTorch documentation. ``torch.nn.Linear``.
    """
    check_index("fan_in", fan_in)
    if fan_in < 1:
        raise ValueError(f"fan_in must be at least 1, got {fan_in}")
    check_number("gain", gain, "[0, inf)")
    bound = fan_in**-0.5
    return _scaled(gain, lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound))


def orthogonal(gain: Number = 1.0, *, column_axis: int = -1) -> Initializer:
    """``gain * Q`` with a uniformly distributed Q that has orthonormal columns, or orthonormal rows if these are fewer.

    A square kernel with gain g multiplies the length of every vector by g, in the forward and in the backward pass.

    Args:
        gain: factor on the kernel, >= 0, dimensionless; may be traced.
        column_axis: the axis of the columns; all other axes together are the rows; static.

    Returns:
        The initializer ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: a concrete gain lies outside [0, inf).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.initializers import orthogonal
        >>> kernel = orthogonal(gain=2.0)(jax.random.key(0), (3, 3), jnp.float32)
        >>> bool(jnp.allclose(kernel.T @ kernel, 4 * jnp.eye(3), atol=1e-5))
        True

    References:
        Saxe, A. M., McClelland, J. L., & Ganguli, S. (2014). Exact solutions to the nonlinear dynamics of learning in
        deep linear neural networks. ICLR. Section 3.
    """
    check_index("column_axis", column_axis)
    check_number("gain", gain, "[0, inf)")
    return _scaled(gain, jax.nn.initializers.orthogonal(column_axis=column_axis))


def relu_bias(value: Number = 0.1) -> Initializer:
    """``value`` in every entry: a positive bias with which hidden ReLUs are active for most inputs at the start.

    Args:
        value: the bias, > 0, in units of the pre-activation; may be traced.

    Returns:
        The initializer ``(key, shape, dtype) -> array``.

    Raises:
        ValueError: a concrete value lies outside (0, inf).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.initializers import relu_bias
        >>> relu_bias(0.25)(jax.random.key(0), (2,), jnp.float32)
        Array([0.25, 0.25], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 8.4.
    """
    check_number("value", value, "(0, inf)")
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
