"""Damped least squares by singular values, and damped symmetric systems by eigenvalues, differentiable at any order.

Neither forms ``X'X``, whose condition number is the square of that of X. The derivatives are those of the solution and
not of the decomposition, so they are finite where singular values or eigenvalues coincide.
"""

import jax
import jax.numpy as jnp

from regopt._core.numerics import safe_divide
from regopt.analysis.quadratic._checks import rounding


@jax.custom_jvp
def ridge(x: jax.Array, y: jax.Array, alpha: jax.Array) -> jax.Array:
    """``(X'X + alpha I)^-1 X'y``; for alpha = 0 the least-squares solution of smallest norm.

    Singular values up to ``max(shape) * eps`` times the largest count as 0.
    """
    u, s, vt = _svd(x)
    inverse = safe_divide(jnp.ones_like(s), s + safe_divide(alpha, s))
    w = vt.T @ (inverse * (u.T @ y))
    # one step of iterative refinement restores the digits that a small singular value has cost
    rest = jnp.where(s > 0, u.T @ (y - x @ w) - safe_divide(alpha, s) * (vt @ w), 0)
    return w + vt.T @ (inverse * rest)


@jax.custom_jvp
def damped_gram(x: jax.Array, right: jax.Array, alpha: jax.Array) -> jax.Array:
    """``(X'X + alpha I)^-1 right`` for X with at least as many rows as columns, or the pseudo-inverse at alpha = 0."""
    _, s, vt = _svd(x)
    return vt.T @ (safe_divide(jnp.ones_like(s), jnp.square(s) + alpha) * (vt @ right))


@jax.custom_jvp
def damped(hessian: jax.Array, right: jax.Array, strength: jax.Array) -> jax.Array:
    """``(H + strength I)^-1 right`` for a positive semidefinite H, or the pseudo-inverse at strength 0."""
    values, vectors = _eigh(hessian)
    return vectors @ (safe_divide(jnp.ones_like(values), values + strength) * (vectors.T @ right))


@jax.custom_jvp
def shrunk(hessian: jax.Array, point: jax.Array, strength: jax.Array) -> jax.Array:
    """``(H + strength I)^-1 H point``; for strength 0 the projection of the point on the range of H."""
    values, vectors = _eigh(hessian)
    return vectors @ (safe_divide(values, values + strength) * (vectors.T @ point))


@ridge.defjvp
def _ridge_jvp(primals, tangents):
    (x, y, alpha), (dx, dy, dalpha) = primals, tangents
    w = ridge(x, y, alpha)
    moved, residual = dy - dx @ w, y - x @ w
    if x.shape[0] >= x.shape[1]:
        slope = ridge(x, moved, alpha) + damped_gram(x, dx.T @ residual - dalpha * w, alpha)
    else:  # through the dual variables z of w = X'z, which are as many as there are examples
        z = damped_gram(x.T, y, alpha)
        slope = dx.T @ z + ridge(x, moved - x @ (dx.T @ z) - dalpha * z, alpha)
    # the derivative of a pseudo-inverse of constant rank (Golub & Pereyra 1973), which X may not have in full
    turned = dx.T @ ridge(x.T, w, alpha)
    of_pinv = ridge(x, moved + ridge(x.T, dx.T @ residual - dalpha * w, alpha), alpha) + turned
    return w, jnp.where(alpha == 0, of_pinv - ridge(x, x @ turned, alpha), slope)


@damped_gram.defjvp
def _damped_gram_jvp(primals, tangents):
    (x, right, alpha), (dx, dright, dalpha) = primals, tangents
    found = damped_gram(x, right, alpha)
    return found, damped_gram(x, dright - dx.T @ (x @ found) - x.T @ (dx @ found) - dalpha * found, alpha)


@damped.defjvp
def _damped_jvp(primals, tangents):
    (hessian, right, strength), (dhessian, dright, dstrength) = primals, tangents
    found = damped(hessian, right, strength)
    return found, damped(hessian, dright - dhessian @ found - dstrength * found, strength)


@shrunk.defjvp
def _shrunk_jvp(primals, tangents):
    (hessian, point, strength), (dhessian, dpoint, dstrength) = primals, tangents
    w = shrunk(hessian, point, strength)
    slope = shrunk(hessian, dpoint, strength)
    slope += damped(hessian, dhessian @ (point - w) - dstrength * w, strength)
    turned = dhessian @ damped(hessian, w, strength)  # the range of a singular H turns, as above
    return w, slope + jnp.where(strength == 0, turned - shrunk(hessian, turned, strength), 0)


def _svd(x):
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    return u, jnp.where(s > max(x.shape) * jnp.finfo(x.dtype).eps * jnp.max(s, initial=0), s, 0), vt


def _eigh(hessian):
    values, vectors = jnp.linalg.eigh(hessian)
    return jnp.where(values <= rounding(values), 0, values), vectors
