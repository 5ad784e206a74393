"""Geometric transforms of images: flips, and affine maps by linear interpolation.

Consecutive affine maps in ``compose`` become one map. ``mode`` determines the values outside the image: "constant" is 0
(pixels at the border are blended with it), "nearest" is the pixel at the border, "wrap" is the opposite side, and
"mirror" and "reflect" are the image reflected about the centre or the edge of the border pixels. In SciPy these modes
are called "grid-constant", "nearest", "grid-wrap", "mirror" and "reflect".
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from regopt._core.checks import check_choice
from regopt._core.numerics import as_float, check_number
from regopt._core.types import Number
from regopt.augment._affine import Affine, Map, Mode
from regopt.augment._rule import Transform, of_batch, over, uniform


def flip_horizontal(probability: Number = 0.5) -> Transform:
    """``x[:, :, ::-1]`` with a probability for each image: left and right are exchanged.

    Args:
        probability: probability of a flip, in [0, 1], dimensionless; may be traced. The derivative with respect to it
            is 0.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete probability lies outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import flip_horizontal
        >>> images = jnp.array([[1.0, 2.0, 3.0]]).reshape(1, 1, 3, 1)
        >>> flip_horizontal(probability=1.0)(jax.random.key(0), images).ravel()
        Array([3., 2., 1.], dtype=float32)

    References:
        Krizhevsky, A., Sutskever, I., & Hinton, G. E. (2012). ImageNet classification with deep convolutional neural
        networks. NeurIPS. Section 4.1.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.4.
    """
    return _flip(probability, axis=2)


def flip_vertical(probability: Number = 0.5) -> Transform:
    """``x[:, ::-1]`` with a probability for each image: top and bottom are exchanged.

    Args:
        probability: probability of a flip, in [0, 1], dimensionless; may be traced. The derivative with respect to it
            is 0.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete probability lies outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import flip_vertical
        >>> images = jnp.array([[1.0, 2.0, 3.0]]).reshape(1, 3, 1, 1)
        >>> flip_vertical(probability=1.0)(jax.random.key(0), images).ravel()
        Array([3., 2., 1.], dtype=float32)

    References:
        Shorten, C., & Khoshgoftaar, T. M. (2019). A survey on image data augmentation for deep learning. Journal of Big
        Data, 6, 60. Geometric transformations.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.4.
    """
    return _flip(probability, axis=1)


def translation(strength: Number, *, mode: Mode = "constant") -> Transform:
    """``x(p - (u, v))``: the image moved down by u and right by v, both uniform in [-strength, strength].

    Args:
        strength: largest shift, >= 0, in pixels; may be traced.
        mode: the values outside the image; static.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative, or the mode is unknown.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import translation
        >>> images = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1.0)
        >>> moved = translation(1.0)(jax.random.key(0), images)
        >>> moved.shape, bool(jnp.isclose(moved.sum(), 1.0))  # the pixel stays inside the image
        ((1, 5, 5, 1), True)

    References:
        Krizhevsky, A., Sutskever, I., & Hinton, G. E. (2012). ImageNet classification with deep convolutional neural
        networks. NeurIPS. Section 4.1.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.4.
    """
    check_number("strength", strength, "[0, inf)")

    def rule(key, images, reach):
        down, right = (reach * uniform(key, images, 2)).T
        return Map(((1, 0), (0, 1)), (-down, -right))

    return _affine(rule, strength, mode)


def scaling(strength: Number, *, mode: Mode = "constant") -> Transform:
    """``x(p / exp(u))``: the image magnified about its centre by ``exp(u)``, u uniform in [-strength, strength].

    Args:
        strength: logarithm of the largest factor, >= 0, dimensionless; may be traced.
        mode: the values outside the image; static.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative, or the mode is unknown.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import scaling
        >>> images = jnp.ones((2, 5, 5, 1))
        >>> scaled = scaling(0.3, mode="nearest")(jax.random.key(0), images)
        >>> bool(jnp.allclose(scaled, images))
        True

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.4.

        Shorten, C., & Khoshgoftaar, T. M. (2019). A survey on image data augmentation for deep learning. Journal of Big
        Data, 6, 60. Geometric transformations.
    """
    check_number("strength", strength, "[0, inf)")

    def rule(key, images, reach):
        shrink = jnp.exp(-reach * uniform(key, images))
        return Map(((shrink, 0), (0, shrink)))

    return _affine(rule, strength, mode)


def rotation(strength: Number, *, mode: Mode = "constant") -> Transform:
    """``x(R(u)^-1 p)``: the image rotated about its centre, counter-clockwise by u uniform in [-strength, strength].

    Args:
        strength: largest angle, >= 0, in degrees; may be traced. At 180 every angle is equally likely.
        mode: the values outside the image; static.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative, or the mode is unknown.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import rotation
        >>> images = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1.0)
        >>> rotated = rotation(30.0)(jax.random.key(0), images)
        >>> round(float(rotated[0, 2, 2, 0]), 4)  # the centre does not move
        1.0

    References:
        Simard, P. Y., Steinkraus, D., & Platt, J. C. (2003). Best practices for convolutional neural networks applied
        to visual document analysis. ICDAR.

        Shorten, C., & Khoshgoftaar, T. M. (2019). A survey on image data augmentation for deep learning. Journal of Big
        Data, 6, 60. Geometric transformations.
    """
    check_number("strength", strength, "[0, inf)")

    def rule(key, images, reach):
        angle = jnp.deg2rad(reach * uniform(key, images))
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return Map(((cos, sin), (-sin, cos)))

    return _affine(rule, strength, mode)


def shear(strength: Number, *, along: Literal["width", "height"] = "width", mode: Mode = "constant") -> Transform:
    """``x(row, column - u row)``: every row moved by u times its distance below the centre.

    u is uniform in [-strength, strength], with one draw for each image.

    Args:
        strength: largest shift in pixels for each pixel of distance, >= 0; may be traced.
        along: "width" as above, or "height" to move every column down by u times its distance to the right of the
            centre; static.
        mode: the values outside the image; static.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative, or ``along`` or the mode is unknown.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import shear
        >>> images = jnp.arange(9.0).reshape(1, 3, 3, 1)
        >>> sheared = shear(0.5, mode="nearest")(jax.random.key(0), images)
        >>> sheared[0, 1, :, 0]  # the middle row does not move
        Array([3., 4., 5.], dtype=float32)

    References:
        Simard, P. Y., Steinkraus, D., & Platt, J. C. (2003). Best practices for convolutional neural networks applied
        to visual document analysis. ICDAR.

        Shorten, C., & Khoshgoftaar, T. M. (2019). A survey on image data augmentation for deep learning. Journal of Big
        Data, 6, 60. Geometric transformations.
    """
    check_number("strength", strength, "[0, inf)")
    check_choice("along", along, ("width", "height"))

    def rule(key, images, reach):
        slope = reach * uniform(key, images)
        return Map(((1, 0), (-slope, 1)) if along == "width" else ((1, -slope), (0, 1)))

    return _affine(rule, strength, mode)


def crop_and_scale(strength: Number) -> Transform:
    """A window of the image, magnified to the size of the image; its side is a share uniform in [1 - strength, 1].

    The window has the proportions of the image and is uniformly distributed among the places inside it. The centres of
    its corner pixels become the centres of the corner pixels of the result, so a share of 1 gives the image itself.

    Args:
        strength: largest share of a side that is cut off, in [0, 1], dimensionless; may be traced.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength lies outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import crop_and_scale
        >>> images = jnp.linspace(0.0, 1.0, 9).reshape(1, 3, 3, 1)
        >>> cropped = crop_and_scale(0.5)(jax.random.key(0), images)
        >>> cropped.shape, bool(jnp.ptp(cropped) < jnp.ptp(images))
        ((1, 3, 3, 1), True)

    References:
        Szegedy, C., Liu, W., Jia, Y., Sermanet, P., Reed, S., Anguelov, D., Erhan, D., Vanhoucke, V., & Rabinovich, A.
        (2015). Going deeper with convolutions. CVPR. Section 6, where the share of the area is in [0.08, 1] and the
        proportions vary.
    """
    check_number("strength", strength, "[0, 1]")

    def rule(key, images, reach):
        share, *places = uniform(key, images, 3).T
        cut = reach * (1 + share) / 2
        # the centre of the window, uniform over its range
        top, left = (cut * place * (size - 1) / 2 for place, size in zip(places, images.shape[1:3], strict=True))
        return Map(((1 - cut, 0), (0, 1 - cut)), (top, left))

    # on its own it reads nothing outside the image, so it can be composed with maps of this mode
    return Affine(rule, strength, "constant")


def _affine(rule, strength: Number, mode: Mode) -> Transform:
    check_choice("mode", mode, get_args(Mode))
    return Affine(rule, strength, mode)


def _flip(probability: Number, axis: int) -> Transform:
    check_number("probability", probability, "[0, 1]")

    def rule(key, images, share):
        flipped = jax.random.bernoulli(key, jax.lax.stop_gradient(as_float(share)), (len(images),))
        return jnp.where(over(flipped, images), jnp.flip(images, axis), images)

    return of_batch(rule, probability)
