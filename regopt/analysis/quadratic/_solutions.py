"""Where a regularised quadratic objective has its minimum, and where gradient descent on it has come to."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, like, safe_norm
from regopt._core.types import Number
from regopt.analysis.quadratic._checks import Hessian, checked_eigenvalues, checked_hessian, rounding
from regopt.analysis.quadratic._shrinkage import early_stopping_shrinkage, gradient_flow_shrinkage, l2_shrinkage


def l2_solution(hessian: Hessian, w_star: jax.Array, strength: Number) -> jax.Array:
    """``(H + strength I)^-1 H w*``: the minimum of ``J(w) + strength / 2 * |w|**2``.

    Args:
        hessian: ``[n, n]`` or its eigendecomposition.
        w_star: the minimum without a penalty, ``[n]``.
        strength: >= 0, in units of the eigenvalues; a number, or one for each eigendirection, ``[n]``.

    Returns:
        ``[n]``; at strength 0 the minimum that a vanishing penalty selects, without any part in the flat directions.

    Raises:
        ValueError: a concrete Hessian is not symmetric and positive semidefinite, or a number lies outside its range.

    References: Goodfellow et al. (2016), (7.10).

    >>> l2_solution(jnp.array([[2.0, 0.0], [0.0, 6.0]]), jnp.array([1.0, 1.0]), 2.0)
    Array([0.5 , 0.75], dtype=float32)
    """
    check_range("strength", strength, "[0, inf]")
    if isinstance(hessian, tuple) or jnp.ndim(strength):
        values, vectors = eigendecomposition(hessian)
        return vectors @ (l2_shrinkage(values, strength) * (vectors.T @ like(w_star, vectors)))
    hessian = checked_hessian(hessian)
    damped = hessian + like(strength, hessian) * jnp.eye(len(hessian), dtype=hessian.dtype)
    # the pseudo-inverse is differentiable where eigenvalues coincide, and serves singular matrices
    return jnp.linalg.pinv(damped, hermitian=True) @ (hessian @ like(w_star, hessian))


def l1_solution(diagonal: jax.Array, w_star: jax.Array, strength: Number) -> jax.Array:
    """``sign(w*) max(|w*| - strength / H_ii, 0)``: the minimum of ``J(w) + strength * |w|_1`` for a diagonal H.

    Args:
        diagonal: H_ii >= 0, ``[n]``.
        w_star: the minimum without a penalty, ``[n]``.
        strength: >= 0, in loss units per parameter unit; a number or ``[n]``.

    Returns:
        ``[n]``, with exact zeros; 0 in a flat direction unless the strength is 0.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), (7.23).

    >>> l1_solution(jnp.array([1.0, 2.0, 1.0]), jnp.array([2.0, -2.0, 0.5]), 1.0)
    Array([ 1. , -1.5,  0. ], dtype=float32)
    """
    diagonal = checked_eigenvalues(diagonal)
    check_range("strength", strength, "[0, inf)")
    w_star, strength = like(w_star, diagonal), like(strength, diagonal)
    flat = (diagonal == 0) & (strength > 0)
    reach = strength / jnp.where(diagonal > 0, diagonal, 1)
    return jnp.where(flat, 0, w_star - jnp.clip(w_star, -reach, reach))


def gradient_descent_path(
    hessian: Hessian, w_star: jax.Array, learning_rate: Number, steps: Number, w0: jax.Array | None = None
) -> jax.Array:
    """``w* + (I - learning_rate H)**steps (w0 - w*)``: where gradient descent on J is after so many steps.

    Args:
        hessian: ``[n, n]`` or its eigendecomposition.
        w_star: a minimum, ``[n]``.
        learning_rate: > 0, at most 2 / max(l).
        steps: >= 0, of any shape; whole where ``learning_rate * l > 1``.
        w0: the starting point, ``[n]``; the origin by default.

    Returns:
        ``[*steps.shape, n]``.

    Raises:
        ValueError: a concrete Hessian is not symmetric and positive semidefinite, or a number lies outside its range.

    References: Goodfellow et al. (2016), (7.35)-(7.40).

    >>> gradient_descent_path((jnp.array([1.0]), jnp.eye(1)), jnp.array([4.0]), 0.5, jnp.array([0, 1, 2]))
    Array([[0.],
           [2.],
           [3.]], dtype=float32)
    """

    def shrinkage(values, steps):
        return early_stopping_shrinkage(values, learning_rate, steps)

    return _path(hessian, w_star, w0, "steps", steps, shrinkage)


def gradient_flow_path(hessian: Hessian, w_star: jax.Array, time: Number, w0: jax.Array | None = None) -> jax.Array:
    """``w* + exp(-H time) (w0 - w*)``: the solution of ``dw/dt = -grad J(w)``.

    Args:
        hessian: ``[n, n]`` or its eigendecomposition.
        w_star: a minimum, ``[n]``.
        time: >= 0, in units of 1 / eigenvalue, of any shape.
        w0: the starting point, ``[n]``; the origin by default.

    Returns:
        ``[*time.shape, n]``.

    Raises:
        ValueError: a concrete Hessian is not symmetric and positive semidefinite, or a number lies outside its range.

    References: Ali, Kolter & Tibshirani (2019), (6).

    >>> gradient_flow_path((jnp.array([1.0]), jnp.eye(1)), jnp.array([1.0]), 1.0)
    Array([0.63212055], dtype=float32)
    """
    return _path(hessian, w_star, w0, "time", time, gradient_flow_shrinkage)


def penalty_radius(hessian: Hessian, w_star: jax.Array, strength: Number) -> jax.Array:
    """``|(H + strength I)^-1 H w*|``: the constraint ``|w| <= radius`` with the same solution as the L2 penalty.

    For this convex J the penalty and the constraint are one: the radius falls strictly from ``|w*|`` to 0 as the
    strength grows. A non-convex objective may have constrained minima that no penalty gives.

    Args:
        hessian: ``[n, n]`` or its eigendecomposition.
        w_star: the minimum without a penalty, ``[n]``.
        strength: >= 0, in units of the eigenvalues; a number, or ``[n]``.

    Returns:
        A scalar, in parameter units.

    Raises:
        ValueError: as ``l2_solution``.

    References: Goodfellow et al. (2016), (7.26)-(7.28); Boyd & Vandenberghe (2004), section 5.5.3.

    >>> penalty_radius((jnp.array([1.0, 1.0]), jnp.eye(2)), jnp.array([3.0, 4.0]), 4.0)
    Array(1., dtype=float32)
    """
    return safe_norm(l2_solution(hessian, w_star, strength))


def eigendecomposition(hessian: Hessian) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues, ascending, and eigenvectors in columns; those that are 0 but for rounding are 0 exactly.

    Args:
        hessian: ``[n, n]``; a pair comes back as it is.

    Returns:
        ``[n]`` and ``[n, n]``.

    Raises:
        ValueError: a concrete Hessian is not symmetric and positive semidefinite.

    >>> eigendecomposition(jnp.array([[1.0, 1.0], [1.0, 1.0]]))[0]
    Array([0., 2.], dtype=float32)
    """
    if isinstance(hessian, tuple):
        values, vectors = hessian
        values = checked_eigenvalues(values)
        return values, like(vectors, values)
    hessian = checked_hessian(hessian)
    values, vectors = jnp.linalg.eigh(hessian)
    return jnp.where(values <= rounding(values), 0, values), vectors


def _path(
    hessian: Hessian,
    w_star: jax.Array,
    w0: jax.Array | None,
    name: str,
    when: Number,
    shrinkage: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    """From w0 towards w*, by a shrinkage for each entry of ``when``."""
    values, vectors = eigendecomposition(hessian)
    when = jnp.asarray(when)
    check_range(name, when, "[0, inf)")
    w_star = like(w_star, vectors)
    start = jnp.zeros_like(w_star) if w0 is None else like(w0, vectors)
    way = vectors.T @ (w_star - start)
    points = jax.vmap(lambda moment: start + vectors @ (shrinkage(values, moment) * way))(when.ravel())
    return points.reshape(*when.shape, -1)
