"""Decompositions of a matrix that are safe in the lanes of a sweep on CPU devices.

There a batch of matrices is decomposed in parts that are handed to XLA's threads by one of these threads, which waits
for them: where all threads wait so at once, as with as many devices as cores, none is left to work, and the program
never ends. One matrix after the other, each in its own call, has no parts.

Callers bring rules for their slopes: reverse mode does not go through these.
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
    """Of a matrix, descending, ``[k]``."""
    return _one_by_one(lambda matrix: jnp.linalg.svd(matrix, compute_uv=False), matrix)


def _one_by_one(function: Callable[[jax.Array], Result], matrix: jax.Array) -> Result:
    return jax.lax.platform_dependent(matrix, cpu=jax.custom_batching.sequential_vmap(function), default=function)
