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

from regopt._core.numerics import safe_divide

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


def as_matrix(w: jax.Array) -> jax.Array:
    """The array as a matrix whose columns run along its last axis; an array of fewer than two axes is one column."""
    return w.reshape(-1, w.shape[-1]) if w.ndim > 1 else w.reshape(-1, 1)


def map_singular_values(
    rule: Callable[[jax.Array, jax.Array], jax.Array], matrix: jax.Array, number: jax.Array
) -> jax.Array:
    """``U rule(S, number) V'`` for ``matrix = U S V'``, with derivatives that are finite for all singular values.

    Args:
        rule: function of the singular values, ``[k]``, and a number; nondecreasing, 0 at 0, and never larger than its
            argument.
        matrix: ``[m, n]``, floating point.
        number: the second argument of the rule, shape ().

    Returns:
        An array like ``matrix``; where the rule changes nothing, the matrix itself.

    References:
        Lewis, A. S., & Sendov, H. S. (2005). Nonsmooth analysis of singular values. Part I: Theory. Set-Valued
        Analysis, 13, 213-241. Section 7, for the derivative.
    """

    @jax.custom_jvp
    def mapped(matrix, number):
        u, s, vh = svd(matrix)
        after = rule(s, number)
        return jnp.where(jnp.all(after == s), matrix, (u * after[None]) @ vh)

    @mapped.defjvp
    def slope(primals, tangents):
        (matrix, number), (matrix_dot, number_dot) = primals, tangents
        u, s, vh = svd(matrix)
        along = u.T @ matrix_dot @ vh.T  # [k, k]
        after, after_dot = jax.jvp(rule, (s, number), (jnp.diagonal(along), number_dot))
        jacobian = jax.jacfwd(rule)(s, number)
        inside = _between(s, after, jacobian, along) * (1 - jnp.eye(s.size, dtype=s.dtype)) + jnp.diag(after_dot)
        kept = safe_divide(after, s)  # the limit at a singular value of 0 is taken as 0
        left = (matrix_dot @ vh.T - u @ along) * kept[None]  # the component that rotates u out of its span
        right = (u.T @ matrix_dot - along @ vh) * kept[:, None]
        return mapped(matrix, number), u @ (inside @ vh + right) + left @ vh

    return mapped(matrix, number)


def _between(s: jax.Array, after: jax.Array, jacobian: jax.Array, along: jax.Array) -> jax.Array:
    """The off-diagonal part of the derivative, in the bases of the singular vectors, along a change ``along``."""
    gap = s[:, None] - s[None]
    near = jnp.abs(gap) <= 1e-5 * s[0]
    own = jnp.diagonal(jacobian)
    limit = (own[:, None] + own[None] - jacobian - jacobian.T) / 2  # of the quotient, for values that meet
    divided = jnp.where(near, limit, (after[:, None] - after[None]) / jnp.where(near, 1, gap))
    turned = safe_divide(after[:, None] + after[None], s[:, None] + s[None])
    return divided * (along + along.T) / 2 + turned * (along - along.T) / 2
