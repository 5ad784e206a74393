"""Changes of pixel values: a square that is cut out, additive noise and multiplicative noise."""

import jax.numpy as jnp

from regopt._core.numerics import check_number
from regopt._core.types import Number
from regopt.augment._rule import Transform, normal, of_batch, uniform


def cutout(strength: Number) -> Transform:
    """A square of zeros in all channels, around a uniformly drawn pixel; it is clipped at the border of the image.

    The square covers the rows i with ``-strength / 2 <= i - centre < strength / 2``, and the columns in the same way.
    The derivative with respect to the strength is 0.

    Args:
        strength: side of the square, >= 0, in pixels; may be traced.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import cutout
        >>> cut = cutout(2.0)(jax.random.key(0), jnp.ones((1, 6, 6, 1)))
        >>> int((cut == 0).sum()) in (1, 2, 4)  # at most 2 x 2 pixels
        True

    References:
        DeVries, T., & Taylor, G. W. (2017). Improved regularization of convolutional neural networks with cutout.
        arXiv:1708.04552. Section 3.2, for images of mean 0.
    """
    check_number("strength", strength, "[0, inf)")

    def rule(key, images, side):
        sizes = images.shape[1:3]

        def covered(draw, size):
            centre = jnp.floor(size * (draw + 1) / 2)
            place = jnp.arange(size, dtype=images.dtype)[None, :] - centre[:, None]
            return (place >= -side / 2) & (place < side / 2)

        rows, columns = (covered(*pair) for pair in zip(uniform(key, images, 2).T, sizes, strict=True))
        return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], 0, images)

    return of_batch(rule, strength)


def additive_noise(strength: Number) -> Transform:
    """``x_i + strength z_i`` with standard normal ``z_i`` for each pixel and channel.

    Args:
        strength: standard deviation of the noise, >= 0, in units of the image; may be traced.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import additive_noise
        >>> noisy = additive_noise(0.1)(jax.random.key(0), jnp.zeros((8, 16, 16, 1)))
        >>> round(float(noisy.std()), 2)
        0.1

    References:
        Bishop, C. M. (1995). Training with noise is equivalent to Tikhonov regularization. Neural Computation, 7(1),
        108-116.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.5.
    """
    check_number("strength", strength, "[0, inf)")
    return of_batch(lambda key, images, deviation: images + deviation * normal(key, images), strength)


def multiplicative_noise(strength: Number) -> Transform:
    """``x_i (1 + strength z_i)`` with standard normal ``z_i`` for each pixel and channel (speckle noise).

    Args:
        strength: standard deviation of the factor, >= 0, dimensionless; may be traced.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import multiplicative_noise
        >>> noisy = multiplicative_noise(0.1)(jax.random.key(0), jnp.ones((8, 16, 16, 1)))
        >>> round(float(noisy.std()), 2)
        0.1

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.5.
    """
    check_number("strength", strength, "[0, inf)")

    return of_batch(lambda key, images, deviation: images * (1 + deviation * normal(key, images)), strength)
