"""Gaussian noise, multiplicative or additive."""

import jax
import jax.numpy as jnp

from regopt._core.checks import check_array
from regopt._core.numerics import as_float, check_number, like, one_minus, safe_divide, safe_sqrt, widen
from regopt._core.types import Key, Number


def gaussian_dropout(key: Key, x: jax.Array, rate: Number) -> jax.Array:
    """``x_i * z_i`` with normal ``z_i`` of mean 1 and variance ``rate / (1 - rate)``, the mean and variance of dropout.

    Inference needs no scaling. For a fixed draw, values and derivatives are finite: at rate 0 the result is x, with
    derivative 0 with respect to the rate, and at rate 1, where the variance is unbounded, it is 0 as for dropout.

    Args:
        key: a typed PRNG key, which is used once.
        x: array of any shape, floating point.
        rate: rate of the dropout with the same mean and variance, in [0, 1], dimensionless; may be traced.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.noise import gaussian_dropout
        >>> noisy = gaussian_dropout(jax.random.key(0), jnp.ones(10_000), 0.2)
        >>> [round(float(moment), 1) for moment in (noisy.mean(), noisy.std())]  # 1 and sqrt(0.2 / 0.8)
        [1.0, 0.5]

    References:
        Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I., & Salakhutdinov, R. (2014). Dropout: A simple way to
        prevent neural networks from overfitting. Journal of Machine Learning Research, 15, 1929-1958. Section 10,
        multiplicative Gaussian noise.
    """
    check_array("x", x)
    check_number("rate", rate, "[0, 1]")
    (wide,) = widen(x)
    keep = like(as_float(one_minus(rate)), wide)
    deviation = safe_sqrt(safe_divide(like(rate, wide), keep))
    noisy = wide * (1 + deviation * jax.random.normal(key, x.shape, wide.dtype))
    return jnp.where(keep > 0, noisy, 0).astype(x.dtype)


def gaussian_noise(key: Key, x: jax.Array, deviation: Number) -> jax.Array:
    """``x_i + deviation * z_i`` with standard normal ``z_i``.

    To second order in the deviation, noise on the inputs acts as a Tikhonov penalty on the derivatives of the model
    with respect to its inputs. Noise on the weights acts as a penalty on the derivatives with respect to the weights.

    Args:
        key: a typed PRNG key, which is used once.
        x: array of any shape, floating point.
        deviation: standard deviation, >= 0, in units of x; may be traced.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete deviation is negative.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.noise import gaussian_noise
        >>> noisy = gaussian_noise(jax.random.key(0), jnp.zeros(10_000), 0.5)
        >>> round(float(noisy.std()), 1)
        0.5

    References:
        Bishop, C. M. (1995). Training with noise is equivalent to Tikhonov regularization. Neural Computation, 7(1),
        108-116.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.5.
    """
    check_array("x", x)
    check_number("deviation", deviation, "[0, inf)")
    (wide,) = widen(x)
    return (wide + like(deviation, wide) * jax.random.normal(key, x.shape, wide.dtype)).astype(x.dtype)
