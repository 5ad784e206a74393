"""How bright and how coloured an image is; the place of nothing changes.

Values are meant in [0, 1] and may leave that range, as with dm-pix, so that transforms can follow one another. Hue and
saturation are those of the hexcone (HSV) and come from dm-pix; an image with one channel has neither and stays as it
is.
"""

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range
from regopt._core.types import Number
from regopt.augment._rule import Transform, of_batch, over, uniform


def brightness(strength: Number) -> Transform:
    """All values of an image shifted by one draw, uniform in [-strength, strength].

    Args:
        strength: in units of the image, >= 0; may be traced.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative.
    """
    check_range("strength", strength, "[0, inf)")
    return of_batch(lambda key, images, reach: images + over(reach * uniform(key, images), images), strength)


def contrast(strength: Number) -> Transform:
    """``mean + f (x - mean)`` with the mean of each channel and f uniform in [1 - strength, 1 + strength].

    Args:
        strength: in [0, 1], dimensionless; may be traced.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength lies outside [0, 1].
    """
    check_range("strength", strength, "[0, 1]")

    def rule(key, images, reach):
        mean = jnp.mean(images, axis=(1, 2), keepdims=True)
        return mean + over(1 + reach * uniform(key, images), images) * (images - mean)

    return of_batch(rule, strength)


def saturation(strength: Number) -> Transform:
    """Saturation times f, uniform in [1 - strength, 1 + strength], and at most 1; hue and value stay.

    Args:
        strength: in [0, 1], dimensionless; may be traced.

    Returns:
        ``(key, images) -> images`` with 3 channels (red, green, blue) in [0, 1], or 1.

    Raises:
        ImportError: dm-pix is not installed.
        ValueError: a concrete strength lies outside [0, 1]; in the call, another number of channels.

    References: Smith (1978), the hexcone model.
    """
    check_range("strength", strength, "[0, 1]")
    adjust = _dm_pix("saturation").adjust_saturation

    def rule(key, images, reach):
        return _coloured(adjust, images, 1 + reach * uniform(key, images))

    return of_batch(rule, strength)


def hue(strength: Number) -> Transform:
    """Hue turned by one draw, uniform in [-strength, strength]; saturation and value stay.

    Args:
        strength: in turns of the colour wheel, in [0, 0.5]; may be traced. At 0.5 every hue is equally likely.

    Returns:
        ``(key, images) -> images`` with 3 channels (red, green, blue) in [0, 1], or 1.

    Raises:
        ImportError: dm-pix is not installed.
        ValueError: a concrete strength lies outside [0, 0.5]; in the call, another number of channels.

    References: Smith (1978), the hexcone model.
    """
    check_range("strength", strength, "[0, 0.5]")
    adjust = _dm_pix("hue").adjust_hue

    def rule(key, images, reach):
        return _coloured(adjust, images, reach * uniform(key, images))

    return of_batch(rule, strength)


def _dm_pix(name: str):
    try:
        import dm_pix
    except ImportError as error:
        raise ImportError(f"augment.{name} needs dm-pix: pip install 'regopt[experiments]'") from error
    return dm_pix


def _coloured(adjust, images: jax.Array, amounts: jax.Array) -> jax.Array:
    """``adjust(image, amount)`` for images with colours, in the promotion of dtypes that dm-pix is written for."""
    channels = images.shape[-1]
    if channels not in (1, 3):
        raise ValueError(f"hue and saturation need images with 3 channels, or with 1, got {channels}")
    if channels == 1:
        return images
    with jax.numpy_dtype_promotion("standard"):
        return jax.vmap(adjust)(images, amounts)
