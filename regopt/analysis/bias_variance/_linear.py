"""Bias and variance of least squares, ridge regression and nearest neighbours for a fixed design, in closed form."""

from typing import Literal

import jax
import jax.numpy as jnp

from regopt._core.checks import check_choice
from regopt._core.numerics import as_float, check_range, like, safe_divide, widen
from regopt._core.types import Number


def least_squares_variance(features: Number, examples: Number, noise: Number) -> jax.Array:
    """``noise * p / N``: the variance of the predictions of least squares, averaged over its N training inputs.

    Args:
        features: rank p of the design, >= 0; may be traced.
        examples: number N of examples, at least p; may be traced.
        noise: variance of a target, >= 0; may be traced.

    Returns:
        A scalar, in squared units of the targets.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> from regopt.analysis.bias_variance import least_squares_variance
        >>> least_squares_variance(5, 100, 2.0)
        Array(0.1, dtype=float32)

    References:
        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Equation (7.12).
    """
    check_range("features", features, "[0, inf)")
    check_range("examples", examples, "(0, inf)")
    check_range("noise", noise, "[0, inf)")
    return as_float(noise) * as_float(features) / as_float(examples)


def least_squares_optimism(features: Number, examples: Number, noise: Number) -> jax.Array:
    """``2 * noise * p / N``: the mean error at the training inputs with new noise, minus the mean training error.

    Args:
        features: rank p of the design, >= 0; may be traced.
        examples: number N of examples, at least p; may be traced.
        noise: variance of a target, >= 0; may be traced.

    Returns:
        A scalar, in squared units of the targets.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> from regopt.analysis.bias_variance import least_squares_optimism
        >>> least_squares_optimism(5, 100, 2.0)
        Array(0.2, dtype=float32)

    References:
        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Equation (7.24).
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

    For the coefficients they are ``sum (alpha / (l + alpha))**2 c**2`` and ``noise * sum l / (l + alpha)**2``; for the
    predictions each term is multiplied by l. At alpha = 0 the error of the coefficients has the slope
    ``-2 noise sum l**-2``, so a small positive alpha always reduces it.

    Args:
        eigenvalues: eigenvalues l of X'X, >= 0, ``[p]``.
        coefficients: components c of the true coefficients along the eigenvectors, ``[p]``.
        alpha: ridge parameter, >= 0, in units of the eigenvalues; may be traced.
        noise: variance of a target, >= 0; may be traced.
        of: "coefficients", or "predictions" for the error summed over the training inputs; static.

    Returns:
        Squared bias and variance, scalars. At alpha = 0 they are those of the solution of smallest norm.

    Raises:
        ValueError: a concrete number lies outside its range, or ``of`` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.bias_variance import ridge_error
        >>> ridge_error(jnp.array([1.0, 3.0]), jnp.array([2.0, 0.0]), 1.0, 1.0)
        (Array(1., dtype=float32), Array(0.4375, dtype=float32))

    References:
        Hoerl, A. E., & Kennard, R. W. (1970). Ridge regression: Biased estimation for nonorthogonal problems.
        Technometrics, 12(1), 55-67. Equations (4.4)-(4.5) and Theorem 4.3.
    """
    check_choice("of", of, ("coefficients", "predictions"))
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
    """``noise + (f(x) - mean f(x_i))**2 + noise / k``: the error of k nearest neighbours.

    Args:
        truth: value f(x) at the point; may be traced.
        neighbours: values of f at its k nearest training inputs, ``[k]``.
        noise: variance of a target, >= 0; may be traced.

    Returns:
        The expected squared error at the point, a scalar. The terms of the formula are noise, squared bias and
        variance.

    Raises:
        ValueError: ``noise`` is concrete and negative.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.bias_variance import nearest_neighbours_error
        >>> nearest_neighbours_error(1.0, jnp.array([1.0, 3.0]), 0.5)
        Array(1.75, dtype=float32)

    References:
        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Equation (7.10).
    """
    check_range("noise", noise, "[0, inf)")
    (neighbours,) = widen(neighbours)
    truth, noise = like(truth, neighbours), like(noise, neighbours)
    return noise + jnp.square(truth - jnp.mean(neighbours)) + noise / neighbours.size
