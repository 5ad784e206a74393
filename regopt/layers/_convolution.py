"""A convolution for many settings side by side: one matrix product of patches, and XLA's own operation on a TPU."""

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from regopt.layers._lane_convolution import lane_convolution


def convolution_by_product(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: jax.lax.ConvGeneralDilatedDimensionNumbers = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: jax.typing.DTypeLike | None = None,
    out_sharding: jax.sharding.NamedSharding | None = None,
) -> jax.Array:
    """``jax.lax.conv_general_dilated`` as a product of the kernel with patches of the input.

    Use it as the convolution of a flax layer::

        nnx.Conv(1, 16, (3, 3), conv_general_dilated=layers.convolution_by_product, rngs=rngs)

    When settings have their own kernels, ``vmap`` turns a convolution into a grouped one, for which XLA's CPU backend
    has only slow loops; a product of matrices remains a product. The patches take the memory of the input times the
    size of the window. On a TPU, without groups of features, it is XLA's own operation, with the settings as a further
    axis of space in place of groups: that needs no transposes between the convolution and dense layers.

    Args:
        lhs: the input, ``[batch, features, *space]`` unless ``dimension_numbers`` say otherwise.
        rhs: the kernel, ``[out features, features / groups, *window]`` unless ``dimension_numbers`` say otherwise.
        window_strides: strides of the window, one for each spatial dimension; static.
        padding: "SAME", "SAME_LOWER", "VALID", or the numbers of zeros before and after, for each spatial dimension;
            static.
        lhs_dilation: spacing of the input's elements; 1 by default; static.
        rhs_dilation: spacing of the kernel's elements; 1 by default; static.
        dimension_numbers: the layout of batch, features and space; see ``jax.lax.conv_dimension_numbers``; static.
        feature_group_count: number of groups of features that see only their own inputs; static.
        batch_group_count: must be 1.
        precision: precision of the product; static.
        preferred_element_type: dtype of the result; static.
        out_sharding: must be None.

    Returns:
        The convolution, in the layout of ``dimension_numbers``.

    Raises:
        ValueError: shapes or groups do not match, or an argument that must be 1 or None is not.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import layers
        >>> image, kernel = jnp.arange(9.0).reshape(1, 1, 3, 3), jnp.ones((1, 1, 2, 2))
        >>> layers.convolution_by_product(image, kernel, (1, 1), "VALID")[0, 0]
        Array([[ 8., 12.],
               [20., 24.]], dtype=float32)

    References:
        Chellapilla, K., Puri, S., & Simard, P. (2006). High performance convolutional neural networks for document
        processing. International Workshop on Frontiers in Handwriting Recognition.
    """
    if batch_group_count != 1:
        raise ValueError(f"batch_group_count must be 1, got {batch_group_count}")
    if out_sharding is not None:
        raise ValueError(f"out_sharding must be None, got {out_sharding}")
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    _check_features(lhs.shape, rhs.shape, numbers, feature_group_count)
    ones = (1,) * (lhs.ndim - 2)
    lhs_dilation, rhs_dilation = tuple(lhs_dilation or ones), tuple(rhs_dilation or ones)
    if isinstance(padding, str):
        space = _reach([lhs.shape[axis] for axis in numbers.lhs_spec[2:]], lhs_dilation)
        window = _reach([rhs.shape[axis] for axis in numbers.rhs_spec[2:]], rhs_dilation)
        padding = jax.lax.padtype_to_pads(space, window, window_strides, padding)
    how = window_strides, padding, lhs_dilation, rhs_dilation, numbers, precision, preferred_element_type
    if feature_group_count > 1:
        return _product(lhs, rhs, *how, feature_group_count)
    return jax.lax.platform_dependent(
        lhs,
        rhs,
        tpu=lambda lhs, rhs: lane_convolution(lhs, rhs, *how),
        default=lambda lhs, rhs: _product(lhs, rhs, *how, 1),
    )


def _check_features(lhs, rhs, numbers, groups):
    """The features of the input and of the kernel fit together."""
    features, inputs, outputs = lhs[numbers.lhs_spec[1]], rhs[numbers.rhs_spec[1]], rhs[numbers.rhs_spec[0]]
    if features != inputs * groups or outputs % groups:
        raise ValueError(
            f"lhs must have {inputs} x {groups} features, and rhs a multiple of {groups} output features, "
            f"got {features} and {outputs}"
        )


def _product(lhs, rhs, strides, padding, lhs_dilation, rhs_dilation, numbers, precision, dtype, groups):
    """The product of the kernel with patches of the input."""
    x = lhs.transpose(numbers.lhs_spec[0], *numbers.lhs_spec[2:], numbers.lhs_spec[1])
    kernel = rhs.transpose(*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0])
    *window, inputs, outputs = kernel.shape
    patches = _patches(x, window, strides, padding, lhs_dilation, rhs_dilation)
    product = {"precision": precision, "preferred_element_type": dtype}
    if groups == 1:
        y = jnp.matmul(patches.reshape(*patches.shape[:-2], -1), kernel.reshape(-1, outputs), **product)
    else:
        parts = patches.reshape(*patches.shape[:-1], groups, inputs)
        kernels = kernel.reshape(prod(window), inputs, groups, -1)
        y = jnp.einsum("...kgi,kigo->...go", parts, kernels, **product)
        y = y.reshape(*patches.shape[:-2], outputs)
    order = np.argsort([numbers.out_spec[0], *numbers.out_spec[2:], numbers.out_spec[1]])
    return y.transpose(*order.tolist())


def _patches(x, window, strides, padding, lhs_dilation, rhs_dilation):
    """``[batch, *space, features] -> [batch, *places, window, features]``: the content of the window at each place."""
    reach = _reach(window, rhs_dilation)
    margins = [(before, after, spacing - 1) for (before, after), spacing in zip(padding, lhs_dilation, strict=True)]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *margins, (0, 0, 0)])
    space = zip(x.shape[1:-1], reach, strides, strict=True)
    last = [(size - seen) // stride * stride for size, seen, stride in space]
    if min(last, default=0) < 0:
        raise ValueError(f"lhs must be at least as large as the window, {reach}, got {x.shape[1:-1]} with its padding")
    seen = []
    for offset in np.ndindex(*window):
        first = [at * spacing for at, spacing in zip(offset, rhs_dilation, strict=True)]
        end = [start + far + 1 for start, far in zip(first, last, strict=True)]
        seen.append(jax.lax.slice(x, (0, *first, 0), (x.shape[0], *end, x.shape[-1]), (1, *strides, 1)))
    return jnp.stack(seen, axis=-2)


def _reach(sizes: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """The sizes with the gaps of a dilation."""
    return [(size - 1) * spacing + 1 for size, spacing in zip(sizes, dilation, strict=True)]
