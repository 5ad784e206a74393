"""Where the pixels of an image go: flips and, by linear interpolation, affine maps.

Affine maps that follow one another in ``compose`` become one (``affine.py``). ``mode`` says what lies outside the
image: "constant" is 0 (a pixel on the border fades into it), "nearest" the border's pixel, "wrap" the other side,
"mirror" and "reflect" the image reflected in the centre or in the edge of its border's pixels. These are SciPy's
"grid-constant", "nearest", "grid-wrap", "mirror" and "reflect".
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from regopt._core.numerics import as_float, check_range
from regopt._core.types import Number
from regopt.augment._affine import Affine, Map, Mode
from regopt.augment._rule import Transform, of_batch, over, uniform


def flip_horizontal(probability: Number = 0.5) -> Transform:
    """The image and its mirror image, left for right.

    Args:
        probability: of the mirror image, in [0, 1]; may be traced. Its slope is 0.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete probability lies outside [0, 1].
    """
    return _flip(probability, axis=2)


def flip_vertical(probability: Number = 0.5) -> Transform:
    """The image and its mirror image, top for bottom.

    Args:
        probability: of the mirror image, in [0, 1]; may be traced. Its slope is 0.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete probability lies outside [0, 1].
    """
    return _flip(probability, axis=1)


def translation(strength: Number, *, mode: Mode = "constant") -> Transform:
    """The image moved down and to the right by two independent, uniform draws from [-strength, strength].

    Args:
        strength: in pixels, >= 0; may be traced.
        mode: what lies outside the image.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative, or an unknown mode.
    """
    check_range("strength", strength, "[0, inf)")

    def rule(key, images, reach):
        down, right = (reach * uniform(key, images, 2)).T
        return Map(((1, 0), (0, 1)), (-down, -right))

    return _affine(rule, strength, mode)


def scaling(strength: Number, *, mode: Mode = "constant") -> Transform:
    """The image enlarged about its centre by ``exp(u)``, u uniform in [-strength, strength]: as often made smaller.

    Args:
        strength: logarithm of the largest factor, >= 0; may be traced.
        mode: what lies outside the image.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative, or an unknown mode.
    """
    check_range("strength", strength, "[0, inf)")

    def rule(key, images, reach):
        shrink = jnp.exp(-reach * uniform(key, images))
        return Map(((shrink, 0), (0, shrink)))

    return _affine(rule, strength, mode)


def rotation(strength: Number, *, mode: Mode = "constant") -> Transform:
    """The image turned about its centre, counter-clockwise by an angle uniform in [-strength, strength].

    Args:
        strength: in degrees, >= 0; may be traced. At 180 every angle is equally likely.
        mode: what lies outside the image.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative, or an unknown mode.
    """
    check_range("strength", strength, "[0, inf)")

    def rule(key, images, reach):
        angle = jnp.deg2rad(reach * uniform(key, images))
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return Map(((cos, sin), (-sin, cos)))

    return _affine(rule, strength, mode)


def shear(strength: Number, *, along: Literal["width", "height"] = "width", mode: Mode = "constant") -> Transform:
    """Rows slid along the width, each by its distance below the centre times u, uniform in [-strength, strength].

    Args:
        strength: pixels for each pixel of distance, >= 0; may be traced.
        along: "height" slides the columns down, each by its distance to the right of the centre.
        mode: what lies outside the image.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength is negative, an unknown axis, or an unknown mode.
    """
    check_range("strength", strength, "[0, inf)")
    if along not in ("width", "height"):
        raise ValueError(f'along must be "width" or "height", got {along!r}')

    def rule(key, images, reach):
        slope = reach * uniform(key, images)
        return Map(((1, 0), (-slope, 1)) if along == "width" else ((1, -slope), (0, 1)))

    return _affine(rule, strength, mode)


def crop_and_scale(strength: Number) -> Transform:
    """A window of the image, stretched to its size: each side a share of it, uniform in [1 - strength, 1].

    The window has the image's proportions and is equally likely at every place inside it. The centres of its corner
    pixels become those of the result, so at a share of 1 this is the image.

    Args:
        strength: in [0, 1], the most that is cut away from a side, as a share; may be traced.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete strength lies outside [0, 1].

    References: Szegedy et al. (2015), section 6, with a share of the area in [0.08, 1] and proportions that vary.
    """
    check_range("strength", strength, "[0, 1]")

    def rule(key, images, reach):
        share, *places = uniform(key, images, 3).T
        cut = reach * (1 + share) / 2
        # the window's centre, from one end of its range to the other
        top, left = (cut * place * (size - 1) / 2 for place, size in zip(places, images.shape[1:3], strict=True))
        return Map(((1 - cut, 0), (0, 1 - cut)), (top, left))

    return Affine(rule, strength, "constant")  # alone it reads nothing outside; so it shares the others' mode


def _affine(rule, strength: Number, mode: Mode) -> Transform:
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {list(get_args(Mode))}, got {mode!r}")
    return Affine(rule, strength, mode)


def _flip(probability: Number, axis: int) -> Transform:
    check_range("probability", probability, "[0, 1]")

    def rule(key, images, share):
        flipped = jax.random.bernoulli(key, jax.lax.stop_gradient(as_float(share)), (len(images),))
        return jnp.where(over(flipped, images), jnp.flip(images, axis), images)

    return of_batch(rule, probability)
