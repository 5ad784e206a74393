"""Pixels lost or disturbed: a square cut out, noise added or multiplied."""

import jax.numpy as jnp

from regopt._core.numerics import check_range
from regopt._core.types import Number
from regopt.augment._rule import Transform, normal, of_batch, uniform


def cutout(strength: Number) -> Transform:
    """A square of zeros, in all channels, around a pixel that is drawn uniformly; what lies outside the image is lost.

    Of the rows the square covers those i with ``-strength / 2 <= i - centre < strength / 2``, and of the columns
    likewise: a whole number of them inside the image. Its slope is 0.

    Args:
        strength: side of the square in pixels, >= 0; may be traced.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative.

    References: DeVries & Taylor (2017), section 3.2; images of mean 0, so that zeros say nothing.
    """
    check_range("strength", strength, "[0, inf)")

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
        strength: standard deviation of the noise, in units of the image, >= 0; may be traced.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative.

    References: Bishop (1995); Goodfellow et al. (2016), section 7.5.
    """
    check_range("strength", strength, "[0, inf)")
    return of_batch(lambda key, images, deviation: images + deviation * normal(key, images), strength)


def multiplicative_noise(strength: Number) -> Transform:
    """``x_i (1 + strength z_i)`` with standard normal ``z_i`` for each pixel and channel: speckle.

    Args:
        strength: standard deviation of the factor, dimensionless, >= 0; may be traced.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative.
    """
    check_range("strength", strength, "[0, inf)")

    return of_batch(lambda key, images, deviation: images * (1 + deviation * normal(key, images)), strength)
