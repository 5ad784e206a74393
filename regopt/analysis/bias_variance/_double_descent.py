"""The error of minimum-norm least squares and of ridge regression for isotropic inputs, beyond interpolation.

There are n examples and p features with ``gamma = p / n``. The inputs are independent with mean 0 and variance 1, and
the targets are ``x'b + noise``. Unless stated otherwise, errors are measured on new inputs against the noiseless truth,
so that they do not contain the noise itself.
"""

import jax
import jax.numpy as jnp

from regopt._core import linalg
from regopt._core.numerics import as_float, check_range, like, safe_divide, widen
from regopt._core.types import Number


def min_norm_error(gamma: Number, signal: Number, noise: Number) -> tuple[jax.Array, jax.Array]:
    """Squared bias and variance of minimum-norm least squares as n and p grow at a fixed ratio.

    They are ``0`` and ``noise g / (1 - g)`` for g < 1, and ``signal (1 - 1/g)`` and ``noise / (g - 1)`` for g > 1. The
    variance tends to infinity at g = 1 and falls again beyond it.

    Args:
        gamma: ratio g = p / n, > 0; may be traced.
        signal: ``|b|**2``, >= 0; may be traced.
        noise: variance of a target, >= 0; may be traced.

    Returns:
        Squared bias and variance, in squared units of the targets; the variance is inf at g = 1.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> from regopt.analysis.bias_variance import min_norm_error
        >>> min_norm_error(2.0, 4.0, 1.0)
        (Array(2., dtype=float32), Array(1., dtype=float32))

    References:
        Hastie, T., Montanari, A., Rosset, S., & Tibshirani, R. J. (2022). Surprises in high-dimensional ridgeless least
        squares interpolation. Annals of Statistics, 50(2), 949-986. Theorem 1.
    """
    gamma, signal, noise = _checked(gamma=gamma, signal=signal, noise=noise)
    over = gamma > 1
    bias = jnp.where(over, signal * (1 - 1 / jnp.maximum(gamma, 1)), 0)
    apart = jnp.abs(gamma - 1)
    variance = noise * jnp.where(over, 1, gamma) / jnp.where(apart > 0, apart, 1)
    return bias, jnp.where((apart > 0) | (noise == 0), variance, jnp.inf)


def min_norm_error_exact(
    features: Number, examples: Number, signal: Number, missing: Number, noise: Number
) -> jax.Array:
    """Expected error of minimum-norm least squares on p of D Gaussian features, exact for finite n.

    With ``u = missing + noise``, because a feature that is left out acts as noise, the error is ``u (1 + p / (n - p -
    1))`` for p <= n - 2, ``signal (1 - n/p) + u (1 + n / (p - n - 1))`` for p >= n + 2, and inf in between. This error
    is measured against noisy targets.

    Args:
        features: number p of features that are used, a whole number >= 0; may be traced.
        examples: number n of examples, a whole number >= 1; may be traced.
        signal: ``|b|**2`` over the features that are used, >= 0; may be traced.
        missing: ``|b|**2`` over the features that are left out, >= 0; may be traced.
        noise: variance of a target, >= 0; may be traced.

    Returns:
        Expected squared error on a new, noisy example.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> from regopt.analysis.bias_variance import min_norm_error_exact
        >>> min_norm_error_exact(10, 41, 0.5, 0.5, 0.5)
        Array(1.3333334, dtype=float32)

    References:
        Belkin, M., Hsu, D., & Xu, J. (2020). Two models of double descent for weak features. SIAM Journal on
        Mathematics of Data Science, 2(4), 1167-1180. Theorem 1.
    """
    check_range("features", features, "[0, inf)")
    check_range("examples", examples, "[1, inf)")
    check_range("missing", missing, "[0, inf)")
    _, signal, noise = _checked(gamma=1.0, signal=signal, noise=noise)
    p, n, unexplained = as_float(features), as_float(examples), as_float(missing) + noise
    under, over = n - p - 1, p - n - 1
    below = unexplained * (1 + p / jnp.where(under > 0, under, 1))
    safe = jnp.where(over > 0, p, 1)
    above = signal * (1 - n / safe) + unexplained * (1 + n / jnp.where(over > 0, over, 1))
    return jnp.where(under > 0, below, jnp.where(over > 0, above, jnp.inf))


def stieltjes(gamma: Number, strength: Number) -> jax.Array:
    """``m(-a) = (sqrt((1 - g + a)**2 + 4 g a) - (1 - g + a)) / (2 g a)``, for Marchenko-Pastur.

    This is the Stieltjes transform of the Marchenko-Pastur law at ratio g, the limit of
    ``trace((X'X/n + a I)^-1) / p``.

    Args:
        gamma: ratio g = p / n, > 0; may be traced.
        strength: strength a of the ridge penalty, > 0; may be traced.

    Returns:
        A scalar, > 0.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> from regopt.analysis.bias_variance import stieltjes
        >>> stieltjes(1.0, 2.0)
        Array(0.3660254, dtype=float32)

    References:
        Bai, Z., & Silverstein, J. W. (2010). Spectral Analysis of Large Dimensional Random Matrices (2nd ed.).
        Springer. Equation (3.3.1).
    """
    check_range("gamma", gamma, "(0, inf)")
    check_range("strength", strength, "(0, inf)")
    g, a = as_float(gamma), as_float(strength)
    b, root = _quadratic(g, a)
    # the two forms are equal, and each is free of cancellation for one sign of b
    positive = b > 0
    return jnp.where(positive, 2 / (root + jnp.where(positive, b, 0)), (root - jnp.where(positive, 0, b)) / (2 * g * a))


def ridge_error_limit(gamma: Number, signal: Number, noise: Number, strength: Number) -> tuple[jax.Array, jax.Array]:
    """Squared bias and variance of ``(X'X/n + a I)^-1 X'y/n`` as n and p grow at a fixed ratio.

    They are ``signal a**2 m'(-a)`` and ``noise g (m(-a) - a m'(-a))``, where m is the ``stieltjes`` transform. With
    ``R = sqrt((1 - g + a)**2 + 4 g a)`` the variance is computed as ``2 noise g / (R (1 + g + a + R))``, which has no
    difference that cancels at small strengths.

    Args:
        gamma: ratio g = p / n, > 0; may be traced.
        signal: ``|b|**2``, >= 0; may be traced.
        noise: variance of a target, >= 0; may be traced.
        strength: strength a of the ridge penalty, > 0; may be traced.

    Returns:
        Squared bias and variance, in squared units of the targets.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> from regopt.analysis.bias_variance import ridge_error_limit
        >>> bias, variance = ridge_error_limit(1.0, signal=5.0, noise=1.0, strength=0.2)
        >>> round(float(bias + variance), 4)
        1.7913

    References:
        Dobriban, E., & Wager, S. (2018). High-dimensional asymptotics of prediction: Ridge regression and
        classification. Annals of Statistics, 46(1), 247-279. Theorem 2.1.

        Hastie, T., Montanari, A., Rosset, S., & Tibshirani, R. J. (2022). Surprises in high-dimensional ridgeless least
        squares interpolation. Annals of Statistics, 50(2), 949-986. Theorem 5.
    """
    gamma, signal, noise = _checked(gamma=gamma, signal=signal, noise=noise)
    a = as_float(strength)
    check_range("strength", strength, "(0, inf)")
    b, root = _quadratic(gamma, a)
    total = 1 + gamma + a + root
    positive = b > 0
    # a m(-a) / 2 in the two forms of ``stieltjes``
    half = jnp.where(positive, a / (root + jnp.where(positive, b, 0)), (root - jnp.where(positive, 0, b)) / (4 * gamma))
    return signal * 2 * total / root * half**2, noise * 2 * gamma / (root * total)


def optimal_ridge_error(gamma: Number, signal: Number, noise: Number) -> jax.Array:
    """``noise g m(-a)`` at the optimal strength ``a = noise g / signal``, which increases with g and has no peak at 1.

    Args:
        gamma: ratio g = p / n, > 0; may be traced.
        signal: ``|b|**2``, > 0; may be traced.
        noise: variance of a target, > 0; may be traced.

    Returns:
        The sum of squared bias and variance, a scalar.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> from regopt.analysis.bias_variance import optimal_ridge_error
        >>> optimal_ridge_error(1.0, 5.0, 1.0)
        Array(1.7912878, dtype=float32)

    References:
        Dobriban, E., & Wager, S. (2018). High-dimensional asymptotics of prediction: Ridge regression and
        classification. Annals of Statistics, 46(1), 247-279. Theorem 2.1.

        Nakkiran, P., Venkat, P., Kakade, S., & Ma, T. (2021). Optimal regularization can mitigate double descent. ICLR.
        Section 3.
    """
    check_range("signal", signal, "(0, inf)")
    check_range("noise", noise, "(0, inf)")
    gamma, signal, noise = _checked(gamma=gamma, signal=signal, noise=noise)
    return noise * gamma * stieltjes(gamma, noise * gamma / signal)


def conditional_error(
    x: jax.Array, signal: Number, noise: Number, strength: Number = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Squared bias and variance on new isotropic inputs, given the training inputs, averaged over the direction of b.

    They are ``signal / p * sum (a / (d + a))**2`` and ``noise / n * sum d / (d + a)**2`` with the eigenvalues d of
    ``X'X/n``. The limits of ``min_norm_error`` and ``ridge_error_limit`` are limits of these values, which have no
    error from a finite test set.

    Args:
        x: inputs, ``[n, p]``.
        signal: ``|b|**2``, >= 0; may be traced.
        noise: variance of a target, >= 0; may be traced.
        strength: strength a of the ridge penalty, >= 0; 0 is minimum-norm least squares; may be traced.

    Returns:
        Squared bias and variance, in squared units of the targets.

    Raises:
        ValueError: ``x`` is not a matrix, or a concrete number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.bias_variance import conditional_error
        >>> conditional_error(jnp.array([[2.0, 0.0]]), 4.0, 1.0)
        (Array(2., dtype=float32), Array(0.25, dtype=float32))

    References:
        Hastie, T., Montanari, A., Rosset, S., & Tibshirani, R. J. (2022). Surprises in high-dimensional ridgeless least
        squares interpolation. Annals of Statistics, 50(2), 949-986. Lemma 1.
    """
    (x,) = widen(x)
    if x.ndim != 2:
        raise ValueError(f"x must have shape [examples, features], got {x.shape}")
    check_range("strength", strength, "[0, inf)")
    n, p = x.shape
    singular = jnp.square(linalg.singular_values(x)) / n
    rounding = max(n, p) * jnp.finfo(x.dtype).eps * jnp.max(singular)
    d = jnp.where(singular > rounding, singular, 0)
    signal, noise, a = (like(number, x) for number in (signal, noise, strength))
    shrinkage = safe_divide(d, d + a)
    bias = signal / p * (jnp.sum(jnp.square(1 - shrinkage)) + max(p - n, 0))
    return bias, noise / n * jnp.sum(safe_divide(jnp.square(shrinkage), d))


def _quadratic(g, a):
    """``b = 1 - g + a`` and ``sqrt(b**2 + 4 g a)``, the coefficient and the root of the quadratic equation of m."""
    b = 1 - g + a
    return b, jnp.sqrt(b * b + 4 * g * a)


def _checked(*, gamma, signal, noise):
    check_range("gamma", gamma, "(0, inf)")
    check_range("signal", signal, "[0, inf)")
    check_range("noise", noise, "[0, inf)")
    return as_float(gamma), as_float(signal), as_float(noise)
