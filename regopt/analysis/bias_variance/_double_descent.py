"""The error of least squares past interpolation: the solution of smallest norm, and ridge, for isotropic inputs.

n examples, p features, ``gamma = p / n``; inputs are independent with mean 0 and variance 1, targets are
``x'b + noise``. Errors are on new inputs against the noiseless truth, so the noise itself is not in them.
"""

import jax
import jax.numpy as jnp

from regopt._core.numerics import as_float, check_range, like, safe_divide, widen
from regopt._core.types import Number


def min_norm_error(gamma: Number, signal: Number, noise: Number) -> tuple[jax.Array, jax.Array]:
    """Squared bias and variance of minimum-norm least squares as n and p grow at a fixed ratio.

    ``0`` and ``noise g / (1 - g)`` for g < 1, ``signal (1 - 1/g)`` and ``noise / (g - 1)`` for g > 1: the variance
    grows without bound towards g = 1, and past it falls again.

    Args:
        gamma: g = p / n, > 0.
        signal: ``|b|**2``, >= 0.
        noise: variance of a target, >= 0.

    Returns:
        Squared bias and variance, in squared units of the targets; the variance is inf at g = 1.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Hastie, Montanari, Rosset & Tibshirani (2022), theorem 1.

    >>> min_norm_error(2.0, 4.0, 1.0)
    (Array(2., dtype=float32), Array(1., dtype=float32))
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

    With ``u = missing + noise``, since a feature left out acts as noise: ``u (1 + p / (n - p - 1))`` for p <= n - 2,
    ``signal (1 - n/p) + u (1 + n / (p - n - 1))`` for p >= n + 2, and inf in between. Here the error is against noisy
    targets.

    Args:
        features: p >= 0, the features used; whole.
        examples: n >= 1; whole.
        signal: ``|b|**2`` over the features used, >= 0.
        missing: ``|b|**2`` over those left out, >= 0.
        noise: variance of a target, >= 0.

    Returns:
        Expected squared error on a new, noisy example.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Belkin, Hsu & Xu (2020), theorem 1.

    >>> min_norm_error_exact(10, 41, 0.5, 0.5, 0.5)
    Array(1.3333334, dtype=float32)
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
    """``m(-a) = (sqrt((1 - g + a)**2 + 4 g a) - (1 - g + a)) / (2 g a)``, of the Marchenko-Pastur law at ratio g.

    The limit of ``trace((X'X/n + a I)^-1) / p``.

    Args:
        gamma: g = p / n, > 0.
        strength: a > 0.

    Returns:
        A scalar, > 0.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Bai & Silverstein (2010), (3.3.1).

    >>> stieltjes(1.0, 2.0)
    Array(0.3660254, dtype=float32)
    """
    check_range("gamma", gamma, "(0, inf)")
    check_range("strength", strength, "(0, inf)")
    g, a = as_float(gamma), as_float(strength)
    b = 1 - g + a
    root = jnp.sqrt(b * b + 4 * g * a)
    # the two forms are equal; each is free of cancellation on its side
    positive = b > 0
    return jnp.where(positive, 2 / (root + jnp.where(positive, b, 0)), (root - jnp.where(positive, 0, b)) / (2 * g * a))


def ridge_error_limit(gamma: Number, signal: Number, noise: Number, strength: Number) -> tuple[jax.Array, jax.Array]:
    """Squared bias and variance of ``(X'X/n + a I)^-1 X'y/n`` as n and p grow at a fixed ratio.

    ``signal a**2 m'(-a)`` and ``noise g (m(-a) - a m'(-a))`` with ``stieltjes`` m.

    Args:
        gamma: g = p / n, > 0.
        signal: ``|b|**2``, >= 0.
        noise: variance of a target, >= 0.
        strength: a > 0.

    Returns:
        Squared bias and variance.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Dobriban & Wager (2018), theorem 2.1; Hastie et al. (2022), theorem 5.
    """
    gamma, signal, noise = _checked(gamma=gamma, signal=signal, noise=noise)
    a = as_float(strength)
    check_range("strength", strength, "(0, inf)")
    slope = -jax.grad(stieltjes, argnums=1)(gamma, a)
    return signal * a**2 * slope, noise * gamma * (stieltjes(gamma, a) - a * slope)


def optimal_ridge_error(gamma: Number, signal: Number, noise: Number) -> jax.Array:
    """``noise g m(-a)`` at the best strength ``a = noise g / signal``: it grows with g and has no peak at 1.

    Args:
        gamma: g = p / n, > 0.
        signal: ``|b|**2``, > 0.
        noise: variance of a target, > 0.

    Returns:
        Squared bias + variance.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Dobriban & Wager (2018), theorem 2.1; Nakkiran et al. (2021), section 3.

    >>> optimal_ridge_error(1.0, 5.0, 1.0)
    Array(1.7912878, dtype=float32)
    """
    check_range("signal", signal, "(0, inf)")
    check_range("noise", noise, "(0, inf)")
    gamma, signal, noise = _checked(gamma=gamma, signal=signal, noise=noise)
    return noise * gamma * stieltjes(gamma, noise * gamma / signal)


def conditional_error(
    x: jax.Array, signal: Number, noise: Number, strength: Number = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Squared bias and variance given the inputs, on new isotropic ones, averaged over the direction of b.

    ``signal / p * sum (a / (d + a))**2`` and ``noise / n * sum d / (d + a)**2`` with the eigenvalues d of ``X'X/n``:
    what the limits above are limits of, without the noise of a test set.

    Args:
        x: inputs, ``[n, p]``.
        signal: ``|b|**2``, >= 0.
        noise: variance of a target, >= 0.
        strength: a >= 0; 0 is minimum-norm least squares.

    Returns:
        Squared bias and variance.

    Raises:
        ValueError: ``x`` is no matrix, or a concrete number lies outside its range.

    References: Hastie et al. (2022), lemma 1.

    >>> conditional_error(jnp.array([[2.0, 0.0]]), 4.0, 1.0)
    (Array(2., dtype=float32), Array(0.25, dtype=float32))
    """
    (x,) = widen(x)
    if x.ndim != 2:
        raise ValueError(f"x must have shape [examples, features], got {x.shape}")
    check_range("strength", strength, "[0, inf)")
    n, p = x.shape
    singular = jnp.square(jnp.linalg.svd(x, compute_uv=False)) / n
    rounding = max(n, p) * jnp.finfo(x.dtype).eps * jnp.max(singular)
    d = jnp.where(singular > rounding, singular, 0)
    signal, noise, a = (like(number, x) for number in (signal, noise, strength))
    shrinkage = safe_divide(d, d + a)
    bias = signal / p * (jnp.sum(jnp.square(1 - shrinkage)) + max(p - n, 0))
    return bias, noise / n * jnp.sum(safe_divide(jnp.square(shrinkage), d))


def _checked(*, gamma, signal, noise):
    check_range("gamma", gamma, "(0, inf)")
    check_range("signal", signal, "[0, inf)")
    check_range("noise", noise, "[0, inf)")
    return as_float(gamma), as_float(signal), as_float(noise)
