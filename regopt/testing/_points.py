"""The points at which the laws try a factory: small parameters, gradients, a least-squares problem and an input.

Some entries are exactly zero, where slopes are most often lost.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from regopt._core.types import Number, Tree


def parameters(dtype: DTypeLike) -> Tree:
    """A small parameter tree; one weight is exactly zero.

    Args:
        dtype: of its leaves.

    Returns:
        A nested dict of a kernel ``[2, 3]`` and a bias ``[3]``.

    Example:
        >>> from regopt import testing
        >>> testing.parameters("float32")["layer"]["bias"]
        Array([ 0.5, -1. ,  2. ], dtype=float32)
    """
    kernel = jnp.array([[1.0, -2.0, 0.5], [0.0, 0.25, -0.125]], dtype)
    return {"layer": {"kernel": kernel, "bias": jnp.array([0.5, -1.0, 2.0], dtype)}}


def gradients(dtype: DTypeLike, size: Number = 1.0) -> Tree:
    """Gradients for ``parameters``; one coordinate is exactly zero.

    Args:
        dtype: of the leaves.
        size: a factor of all of them.

    Returns:
        A tree like ``parameters``.

    Example:
        >>> from regopt import testing
        >>> testing.gradients("float32", size=2.0)["layer"]["bias"]
        Array([ 2. , -1. ,  0.4], dtype=float32)
    """
    kernel = jnp.array([[0.1, -0.3, 0.0], [2.0, 0.7, -0.05]], dtype)
    return {"layer": {"kernel": kernel * size, "bias": jnp.array([1.0, -0.5, 0.2], dtype) * size}}


def residuals(params: Tree) -> jax.Array:
    """Residuals whose sum of squares is a coupled quadratic plus a quartic, whose minimum is not at round numbers.

    Args:
        params: a tree like ``parameters``.

    Returns:
        The residuals, ``[18]``.

    Example:
        >>> from regopt import testing
        >>> testing.residuals(testing.parameters("float32")).shape
        (18,)
    """
    kernel, bias = params["layer"]["kernel"], params["layer"]["bias"]
    gaps = kernel - jnp.array([[0.5, -1.0, 0.75], [0.25, 0.5, -0.5]], kernel.dtype)
    parts = [gaps, 0.5 * gaps**2, bias - 0.3, 0.5 * (kernel[0] * bias - kernel[1])]
    return jnp.concatenate([part.ravel() for part in parts])


def half_squares(residual_fn: Callable[[Tree], jax.Array]) -> Callable[[Tree], jax.Array]:
    """Half the sum of squares of residuals, as a function of the parameters."""
    return lambda params: jnp.sum(jnp.square(residual_fn(params))) / 2


def inputs(dtype: DTypeLike) -> jax.Array:
    """Four examples of three features, for noise and layers."""
    return jnp.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0], [0.0, 1.0, 1.5], [2.0, -0.5, 1.0]], dtype)


def matrix(dtype: DTypeLike) -> jax.Array:
    """The point that is projected; outside of most sets."""
    return jnp.array([[1.0, -2.0, 0.5, 0.0], [0.0, 0.25, -0.125, 3.0], [0.75, 1.5, -0.5, 0.1]], dtype)
