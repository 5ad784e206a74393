"""Matrix decompositions that are safe under ``vmap`` on several CPU devices.

On a CPU, XLA decomposes a batch of matrices in parts: one of its threads hands the parts to the other threads and waits
for them. With as many devices as cores all threads may wait at the same time, and the program never ends. One call for
each matrix has no such parts.

Reverse-mode differentiation does not pass through these functions; callers define their derivatives.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

Result = TypeVar("Result")


def eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Ascending eigenvalues ``[n]`` and eigenvectors ``[n, n]`` of a symmetric matrix, as ``jnp.linalg.eigh``."""
    return _one_by_one(lambda matrix: tuple(jnp.linalg.eigh(matrix)), matrix)


def svd(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``U [m, k]``, the singular values ``[k]`` and ``V' [k, n]`` of a matrix, ``k = min(m, n)``."""
    return _one_by_one(lambda matrix: tuple(jnp.linalg.svd(matrix, full_matrices=False)), matrix)


def singular_values(matrix: jax.Array) -> jax.Array:
    """The singular values of a matrix, descending, ``[k]``."""
    return _one_by_one(lambda matrix: jnp.linalg.svd(matrix, compute_uv=False), matrix)


def _one_by_one(function: Callable[[jax.Array], Result], matrix: jax.Array) -> Result:
    return jax.lax.platform_dependent(matrix, cpu=jax.custom_batching.sequential_vmap(function), default=function)
