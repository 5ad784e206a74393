"""Brightness, contrast and colour of images.

Values are expected in [0, 1] and may leave this range, as in dm-pix, so that transforms can be composed. Hue and
saturation are those of the hexcone model (HSV) and are computed by dm-pix. Images with one channel have neither and are
returned unchanged.
"""

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_number
from regopt._core.types import Number
from regopt.augment._rule import Transform, of_batch, over, uniform


def brightness(strength: Number) -> Transform:
    """``x + u`` with one u for each image, uniform in [-strength, strength].

    Args:
        strength: largest shift, >= 0, in units of the image; may be traced.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import brightness
        >>> images = jnp.linspace(0, 1, 4).reshape(1, 2, 2, 1)
        >>> changed = brightness(0.2)(jax.random.key(0), images) - images  # one shift for the whole image
        >>> bool(jnp.ptp(changed) < 1e-6), bool(jnp.all(jnp.abs(changed) <= 0.2))
        (True, True)

    References:
        Howard, A. G. (2013). Some improvements on deep convolutional neural network based image classification.
        arXiv:1312.5402.

        Shorten, C., & Khoshgoftaar, T. M. (2019). A survey on image data augmentation for deep learning. Journal of Big
        Data, 6, 60. Color space transformations.
    """
    check_number("strength", strength, "[0, inf)")
    return of_batch(lambda key, images, reach: images + over(reach * uniform(key, images), images), strength)


def contrast(strength: Number) -> Transform:
    """``mean + f (x - mean)`` with the mean of each channel and f uniform in [1 - strength, 1 + strength].

    Args:
        strength: largest relative change, in [0, 1], dimensionless; may be traced.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength lies outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import contrast
        >>> images = jnp.linspace(0, 1, 4).reshape(1, 2, 2, 1)
        >>> changed = contrast(0.5)(jax.random.key(0), images)
        >>> jnp.allclose(changed.mean(), images.mean())
        Array(True, dtype=bool)

    References:
        Howard, A. G. (2013). Some improvements on deep convolutional neural network based image classification.
        arXiv:1312.5402.

        Shorten, C., & Khoshgoftaar, T. M. (2019). A survey on image data augmentation for deep learning. Journal of Big
        Data, 6, 60. Color space transformations.
    """
    check_number("strength", strength, "[0, 1]")

    def rule(key, images, reach):
        mean = jnp.mean(images, axis=(1, 2), keepdims=True)
        return mean + over(1 + reach * uniform(key, images), images) * (images - mean)

    return of_batch(rule, strength)


def saturation(strength: Number) -> Transform:
    """``min(f saturation, 1)`` with f uniform in [1 - strength, 1 + strength]; hue and value do not change.

    Args:
        strength: largest relative change, in [0, 1], dimensionless; may be traced.

    Returns:
        The transform ``(key, images) -> images`` of images with 3 channels (red, green, blue) in [0, 1], or with 1.

    Raises:
        ImportError: dm-pix is not installed.
        ValueError: a concrete strength lies outside [0, 1], or (when the transform is called) the images have neither 1
            nor 3 channels.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import saturation
        >>> grey = jnp.full((1, 2, 2, 3), 0.5)
        >>> jnp.allclose(saturation(0.5)(jax.random.key(0), grey), grey)
        Array(True, dtype=bool)

    References:
        Smith, A. R. (1978). Color gamut transform pairs. SIGGRAPH. The hexcone model.
    """
    check_number("strength", strength, "[0, 1]")
    adjust = _dm_pix("saturation").adjust_saturation

    def rule(key, images, reach):
        return _coloured(adjust, images, 1 + reach * uniform(key, images))

    return of_batch(rule, strength)


def hue(strength: Number) -> Transform:
    """``hue + u`` with one u for each image, uniform in [-strength, strength]; saturation and value do not change.

    Args:
        strength: largest rotation, in [0, 0.5], in turns of the colour wheel; may be traced. At 0.5 every hue is
            equally likely.

    Returns:
        The transform ``(key, images) -> images`` of images with 3 channels (red, green, blue) in [0, 1], or with 1.

    Raises:
        ImportError: dm-pix is not installed.
        ValueError: a concrete strength lies outside [0, 0.5], or (when the transform is called) the images have neither
            1 nor 3 channels.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import hue
        >>> red = jnp.array([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
        >>> turned = hue(0.5)(jax.random.key(0), red)
        >>> float(turned.max()), float(turned.min())  # value and saturation of a pure colour are 1
        (1.0, 0.0)

    References:
        Smith, A. R. (1978). Color gamut transform pairs. SIGGRAPH. The hexcone model.
    """
    check_number("strength", strength, "[0, 0.5]")
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
    """``adjust(image, amount)`` for images with 3 channels, under the dtype promotion that dm-pix expects."""
    channels = images.shape[-1]
    if channels not in (1, 3):
        raise ValueError(f"hue and saturation need images with 3 channels, or with 1, got {channels}")
    if channels == 1:
        return images
    with jax.numpy_dtype_promotion("standard"):
        return jax.vmap(adjust)(images, amounts)
