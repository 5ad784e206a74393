"""Gradient steps near a critical point: the terms of the Taylor series, and the time that a saddle holds them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from regopt._core.numerics import as_float, check_number, check_whole, like, safe_divide, widen
from regopt._core.types import Number, Tree
from regopt.curvature import hessian_product


class TaylorTerms(NamedTuple):
    """The change of the loss in a gradient step, to second order: ``first + second``."""

    first: jax.Array  # shape (): -learning_rate g'g, never positive
    second: jax.Array  # shape (): learning_rate**2 / 2 g'Hg
    best_rate: jax.Array  # shape (): g'g / g'Hg, the rate of the least sum; inf where g'Hg <= 0


def taylor_terms(objective: Callable[[Tree], jax.Array], params: Tree, learning_rate: Number) -> TaylorTerms:
    """``-r g'g`` and ``r**2 / 2 g'Hg``: what a gradient step of rate r gains, and what curvature takes of it.

    Where the second term exceeds the first in size, the step raises the loss, to second order: the learning rate is
    then more than twice ``best_rate``.

    Args:
        objective: ``params -> scalar``, twice differentiable; static.
        params: the point; may be traced.
        learning_rate: r >= 0, in parameter units per gradient unit; may be traced.

    Returns:
        Both terms and the best rate, in at least float32.

    Raises:
        ValueError: a concrete learning rate is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.critical_points import taylor_terms
        >>> terms = taylor_terms(lambda w: 2 * jnp.sum(w**2), jnp.array([1.0]), 0.5)  # exact for a quadratic
        >>> float(terms.first), float(terms.second), float(terms.best_rate)
        (-8.0, 8.0, 0.25)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (4.9) and (8.10).
    """
    check_number("learning_rate", learning_rate, "[0, inf)")
    flat, unravel = ravel_pytree(params)

    def function(w):
        return objective(unravel(w))

    g = jax.grad(function)(flat)
    gradient, curved = widen(g, hessian_product(function, flat)(g))
    squares, bend = jnp.vdot(gradient, gradient), jnp.vdot(gradient, curved)
    rate = like(learning_rate, squares)
    best = jnp.where(bend > 0, safe_divide(squares, bend), jnp.inf)
    return TaylorTerms(-rate * squares, jnp.square(rate) / 2 * bend, best)


def escape_time(learning_rate: Number, curvature: Number, start: Number, distance: Number = 1.0) -> jax.Array:
    """``ceil(log(distance / start) / log(1 + r c))``: gradient steps from a saddle's ridge to a distance from it.

    In a direction with the eigenvalue -c of the Hessian a step multiplies the coordinate by ``1 + r c``, so the time
    grows with the logarithm of how near the start is to the ridge.

    Args:
        learning_rate: r > 0, in parameter units per gradient unit; may be traced.
        curvature: c > 0, minus the negative eigenvalue; may be traced.
        start: distance from the ridge at the start, > 0; may be traced.
        distance: at least this far is away, > 0; may be traced.

    Returns:
        The number of steps, a float; 0 if the start is away.

    Raises:
        ValueError: a concrete number is not positive.

    Example:
        >>> from regopt.analysis.critical_points import escape_time
        >>> escape_time(0.05, curvature=1.0, start=1e-6)
        Array(284., dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 8.2.3.
    """
    for name, number in (("learning_rate", learning_rate), ("curvature", curvature), ("start", start)):
        check_number(name, number, "(0, inf)")
    check_number("distance", distance, "(0, inf)")
    rate, c, near, far = (as_float(number) for number in (learning_rate, curvature, start, distance))
    return jnp.maximum(jnp.ceil(jnp.log(far / near) / jnp.log1p(rate * c)), 0)


def matrix_power(matrix: np.ndarray | jax.Array, power: int) -> tuple[np.ndarray, np.ndarray]:
    """``W**t = V diag(l**t) V**-1``: a direction vanishes if ``|l| < 1``, explodes if ``|l| > 1``, whatever the sign.

    Args:
        matrix: W, ``[n, n]``, concrete, with n independent eigenvectors.
        power: t >= 0.

    Returns:
        The power ``[n, n]``, real for a real matrix, and the factors ``|l|**t`` of the directions, descending, ``[n]``.

    Raises:
        ValueError: ``power`` is no whole number >= 0, or the matrix is not square.

    Example:
        >>> import numpy as np
        >>> from regopt.analysis.critical_points import matrix_power
        >>> power, factors = matrix_power(np.diag([-1.5, 0.5]), 20)
        >>> factors.round(6).tolist()  # below 1, and yet -1.5 explodes
        [3325.25673, 1e-06]

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (8.11) to (8.13).
    """
    check_whole("power", power, "[0, inf)")
    values = np.asarray(matrix)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"matrix must be square, got the shape {values.shape}")
    eigenvalues, vectors = np.linalg.eig(values)
    result = (vectors * eigenvalues**power) @ np.linalg.inv(vectors)
    factors = np.sort(np.abs(eigenvalues) ** power)[::-1]
    return (result.real if np.isrealobj(values) else result), factors
