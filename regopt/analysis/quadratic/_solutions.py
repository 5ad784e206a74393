"""The minima of regularised quadratic objectives, and the iterates of gradient descent on a quadratic objective."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, like, safe_norm, widen
from regopt._core.types import Number
from regopt.analysis.quadratic._checks import Hessian, checked_eigenvalues, checked_hessian, checked_point, rounding
from regopt.analysis.quadratic._shrinkage import early_stopping_shrinkage, gradient_flow_shrinkage, l2_shrinkage
from regopt.analysis.quadratic._solve import shrunk


def l2_solution(hessian: Hessian, w_star: jax.Array, strength: Number) -> jax.Array:
    """``(H + strength I)^-1 H w*``: the minimum of ``J(w) + strength / 2 * |w|**2``.

    Args:
        hessian: ``[n, n]`` or its eigendecomposition.
        w_star: the minimum without a penalty, ``[n]``.
        strength: strength of the L2 penalty, in [0, inf], in units of the eigenvalues; a number, or ``[n]`` with one
            for each eigendirection; may be traced.

    Returns:
        The minimum, ``[n]``. At strength 0 it is the limit of a vanishing penalty, with no component in directions of
        eigenvalue 0. Eigenvalues of a matrix up to 4 n roundings of the largest count as 0, at every strength.

    Raises:
        ValueError: a concrete Hessian is not symmetric and positive semidefinite, a shape does not fit, or a number
            lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import l2_solution
        >>> l2_solution(jnp.array([[2.0, 0.0], [0.0, 6.0]]), jnp.array([1.0, 1.0]), 2.0)
        Array([0.5 , 0.75], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation (7.10).
    """
    check_range("strength", strength, "[0, inf]")
    if isinstance(hessian, tuple) or jnp.ndim(strength):
        values, vectors = eigendecomposition(hessian)
        return vectors @ (l2_shrinkage(values, strength) * (vectors.T @ checked_point("w_star", w_star, vectors)))
    hessian = checked_hessian(hessian)
    return shrunk(hessian, checked_point("w_star", w_star, hessian), like(strength, hessian))


def l1_solution(diagonal: jax.Array, w_star: jax.Array, strength: Number) -> jax.Array:
    """``sign(w*) max(|w*| - strength / H_ii, 0)``: the minimum of ``J(w) + strength * |w|_1`` for a diagonal H.

    Args:
        diagonal: diagonal entries H_ii, >= 0, ``[n]``.
        w_star: the minimum without a penalty, ``[n]``.
        strength: strength of the L1 penalty, >= 0, in loss units per parameter unit; a number or ``[n]``; may be
            traced.

    Returns:
        The minimum, ``[n]``, with exact zeros. Where H_ii is 0, it is 0 unless the strength is 0.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import l1_solution
        >>> l1_solution(jnp.array([1.0, 2.0, 1.0]), jnp.array([2.0, -2.0, 0.5]), 1.0)
        Array([ 1. , -1.5,  0. ], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation (7.23).
    """
    check_range("diagonal", diagonal, "[0, inf)")
    (diagonal,) = widen(diagonal)
    if diagonal.ndim != 1:
        raise ValueError(f"diagonal must have shape [n], got {diagonal.shape}")
    check_range("strength", strength, "[0, inf)")
    w_star, strength = checked_point("w_star", w_star, diagonal), like(strength, diagonal)
    flat = (diagonal == 0) & (strength > 0)
    reach = strength / jnp.where(diagonal > 0, diagonal, 1)
    return jnp.where(flat, 0, w_star - jnp.clip(w_star, -reach, reach))


def gradient_descent_path(
    hessian: Hessian, w_star: jax.Array, learning_rate: Number, steps: Number, w0: jax.Array | None = None
) -> jax.Array:
    """``w* + (I - learning_rate H)**steps (w0 - w*)``: the iterate of gradient descent on J.

    Args:
        hessian: ``[n, n]`` or its eigendecomposition.
        w_star: a minimum, ``[n]``.
        learning_rate: learning rate, in (0, 2 / max(l)]; may be traced.
        steps: numbers of steps, >= 0, of any shape; may be traced. They must be whole where ``learning_rate * l > 1``.
        w0: the starting point, ``[n]``; the origin by default.

    Returns:
        The iterates, ``[*steps.shape, n]``.

    Raises:
        ValueError: a concrete Hessian is not symmetric and positive semidefinite, a shape does not fit, or a number
            lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import gradient_descent_path
        >>> gradient_descent_path((jnp.array([1.0]), jnp.eye(1)), jnp.array([4.0]), 0.5, jnp.array([0, 1, 2]))
        Array([[0.],
               [2.],
               [3.]], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (7.35)-(7.40).
    """

    def shrinkage(values, steps):
        return early_stopping_shrinkage(values, learning_rate, steps)

    return _path(hessian, w_star, w0, "steps", steps, shrinkage)


def gradient_flow_path(hessian: Hessian, w_star: jax.Array, time: Number, w0: jax.Array | None = None) -> jax.Array:
    """``w* + exp(-H time) (w0 - w*)``: the solution of ``dw/dt = -grad J(w)``.

    Args:
        hessian: ``[n, n]`` or its eigendecomposition.
        w_star: a minimum, ``[n]``.
        time: times, >= 0, in units of 1 / eigenvalue, of any shape; may be traced.
        w0: the starting point, ``[n]``; the origin by default.

    Returns:
        The points, ``[*time.shape, n]``.

    Raises:
        ValueError: a concrete Hessian is not symmetric and positive semidefinite, a shape does not fit, or a number
            lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import gradient_flow_path
        >>> gradient_flow_path((jnp.array([1.0]), jnp.eye(1)), jnp.array([1.0]), 1.0)
        Array([0.63212055], dtype=float32)

    References:
        Ali, A., Kolter, J. Z., & Tibshirani, R. J. (2019). A continuous-time view of early stopping for least squares
        regression. AISTATS. Equation (6).
    """
    return _path(hessian, w_star, w0, "time", time, gradient_flow_shrinkage)


def penalty_radius(hessian: Hessian, w_star: jax.Array, strength: Number) -> jax.Array:
    """``|(H + strength I)^-1 H w*|``: the radius of the equivalent constraint ``|w| <= radius``.

    For this convex J the penalty and the constraint are equivalent: the radius falls strictly from ``|w*|`` to 0 as the
    strength grows. A nonconvex objective may have constrained minima that no penalty gives.

    Args:
        hessian: ``[n, n]`` or its eigendecomposition.
        w_star: the minimum without a penalty, ``[n]``.
        strength: strength of the L2 penalty, in [0, inf], in units of the eigenvalues; a number or ``[n]``; may be
            traced.

    Returns:
        A scalar, in parameter units.

    Raises:
        ValueError: a concrete Hessian is not symmetric and positive semidefinite, a shape does not fit, or a number
            lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import penalty_radius
        >>> penalty_radius((jnp.array([1.0, 1.0]), jnp.eye(2)), jnp.array([3.0, 4.0]), 4.0)
        Array(1., dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (7.26)-(7.28).

        Boyd, S., & Vandenberghe, L. (2004). Convex Optimization. Cambridge University Press. Section 5.5.3.
    """
    return safe_norm(l2_solution(hessian, w_star, strength))


def eigendecomposition(hessian: Hessian) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues in ascending order and eigenvectors in columns; eigenvalues that are 0 up to rounding are exactly 0.

    Args:
        hessian: ``[n, n]``; a pair of eigenvalues and eigenvectors is returned unchanged.

    Returns:
        The eigenvalues, ``[n]``, and the eigenvectors, ``[n, n]``.

    Raises:
        ValueError: a concrete Hessian is not symmetric and positive semidefinite.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import eigendecomposition
        >>> eigendecomposition(jnp.array([[1.0, 1.0], [1.0, 1.0]]))[0]
        Array([0., 2.], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation (7.11).
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
    """The points between w0 and w* that a shrinkage gives for each entry of ``when``."""
    values, vectors = eigendecomposition(hessian)
    when = jnp.asarray(when)
    check_range(name, when, "[0, inf)")
    w_star = checked_point("w_star", w_star, vectors)
    start = jnp.zeros_like(w_star) if w0 is None else checked_point("w0", w0, vectors)
    way = vectors.T @ (w_star - start)
    points = jax.vmap(lambda moment: start + vectors @ (shrinkage(values, moment) * way))(when.ravel())
    return points.reshape(*when.shape, -1)
