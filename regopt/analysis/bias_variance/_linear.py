"""Bias and variance of least squares, ridge and nearest neighbours, in closed form for a fixed design."""

from typing import Literal

import jax
import jax.numpy as jnp

from regopt._core.numerics import as_float, check_range, like, safe_divide, widen
from regopt._core.types import Number


def least_squares_variance(features: Number, examples: Number, noise: Number) -> jax.Array:
    """``noise * p / N``: variance of least squares' predictions, averaged over its own N inputs.

    Args:
        features: p, the rank of the design, >= 0.
        examples: N >= p.
        noise: variance of a target, >= 0.

    Returns:
        A scalar, in squared units of the targets.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Hastie, Tibshirani & Friedman (2009), (7.12).

    >>> least_squares_variance(5, 100, 2.0)
    Array(0.1, dtype=float32)
    """
    check_range("features", features, "[0, inf)")
    check_range("examples", examples, "(0, inf)")
    check_range("noise", noise, "[0, inf)")
    return as_float(noise) * as_float(features) / as_float(examples)


def least_squares_optimism(features: Number, examples: Number, noise: Number) -> jax.Array:
    """``2 * noise * p / N``: by how much the training error is below the error at the same inputs with new noise.

    Args:
        features: p, the rank of the design, >= 0.
        examples: N >= p.
        noise: variance of a target, >= 0.

    Returns:
        A scalar, in squared units of the targets.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Hastie, Tibshirani & Friedman (2009), (7.24).

    >>> least_squares_optimism(5, 100, 2.0)
    Array(0.2, dtype=float32)
    """
    return 2 * least_squares_variance(features, examples, noise)


def ridge_error(
    eigenvalues: jax.Array,
    coefficients: jax.Array,
    alpha: Number,
    noise: Number,
    *,
    of: Literal["coefficients", "predictions"] = "coefficients",
) -> tuple[jax.Array, jax.Array]:
    """Squared bias and variance of ``(X'X + alpha I)^-1 X'y``.

    ``sum (alpha / (l + alpha))**2 c**2`` and ``noise * sum l / (l + alpha)**2``, each term times l for the predictions.
    At alpha = 0 the error of the coefficients falls with slope ``-2 noise sum l**-2``: some ridge is always better than
    none.

    Args:
        eigenvalues: l of X'X, >= 0, ``[p]``.
        coefficients: c, the true ones along its eigenvectors, ``[p]``.
        alpha: >= 0, in units of the eigenvalues.
        noise: variance of a target, >= 0.
        of: the error of the coefficients, or of the predictions, summed over the training inputs.

    Returns:
        Squared bias and variance, scalars; at alpha = 0 those of the solution of smallest norm.

    Raises:
        ValueError: a concrete number lies outside its range, or ``of`` is unknown.

    References: Hoerl & Kennard (1970), (4.4)-(4.5) and theorem 4.3.

    >>> ridge_error(jnp.array([1.0, 3.0]), jnp.array([2.0, 0.0]), 1.0, 1.0)
    (Array(1., dtype=float32), Array(0.4375, dtype=float32))
    """
    if of not in ("coefficients", "predictions"):
        raise ValueError(f"of must be 'coefficients' or 'predictions', got {of!r}")
    check_range("eigenvalues", eigenvalues, "[0, inf)")
    check_range("alpha", alpha, "[0, inf)")
    check_range("noise", noise, "[0, inf)")
    (eigenvalues,) = widen(eigenvalues)
    coefficients, alpha, noise = (like(number, eigenvalues) for number in (coefficients, alpha, noise))
    shrinkage = safe_divide(eigenvalues, eigenvalues + alpha)
    weight = eigenvalues if of == "predictions" else jnp.ones_like(eigenvalues)
    variance = noise * jnp.sum(weight * safe_divide(jnp.square(shrinkage), eigenvalues))
    return jnp.sum(weight * jnp.square((1 - shrinkage) * coefficients)), variance


def nearest_neighbours_error(truth: Number, neighbours: jax.Array, noise: Number) -> jax.Array:
    """``noise + (f(x) - mean f(x_i))**2 + noise / k``: expected squared error of k nearest neighbours at a point.

    Args:
        truth: f(x) at the point.
        neighbours: f at its k nearest training inputs, ``[k]``.
        noise: variance of a target, >= 0.

    Returns:
        A scalar: noise, squared bias and variance in this order in the formula.

    Raises:
        ValueError: ``noise`` is concrete and negative.

    References: Hastie, Tibshirani & Friedman (2009), (7.10).

    >>> nearest_neighbours_error(1.0, jnp.array([1.0, 3.0]), 0.5)
    Array(1.75, dtype=float32)
    """
    check_range("noise", noise, "[0, inf)")
    (neighbours,) = widen(neighbours)
    truth, noise = like(truth, neighbours), like(noise, neighbours)
    return noise + jnp.square(truth - jnp.mean(neighbours)) + noise / neighbours.size
