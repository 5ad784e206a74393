"""Combinations of transforms into one transform."""

from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp

from regopt._core.checks import check_function
from regopt._core.numerics import as_float, check_number
from regopt._core.types import Key, Number
from regopt.augment._affine import Affine, move
from regopt.augment._rule import Transform, over


def compose(*transforms: Transform) -> Transform:
    """``t_n(... t_2(t_1(images)))``: the transforms from left to right; transform i receives the key folded with i.

    Consecutive transforms that move pixels (translation, scaling, rotation, shear, crop_and_scale) and have the same
    ``mode`` are composed into one affine map. The image is then interpolated once, which blurs it less than one
    interpolation for each map, and pixels that leave the image in between are not lost.

    Args:
        *transforms: transforms ``(key, images) -> images``; without any, the images are returned unchanged.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: one of them is no function.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import compose, flip_horizontal, rotation, translation
        >>> transform = compose(flip_horizontal(), rotation(10.0), translation(2.0))
        >>> transform(jax.random.key(0), jnp.ones((4, 8, 8, 1))).shape
        (4, 8, 8, 1)

    References:
        Shorten, C., & Khoshgoftaar, T. M. (2019). A survey on image data augmentation for deep learning. Journal of Big
        Data, 6, 60.
    """
    for number, each in enumerate(transforms):
        check_function(f"transform {number}", each)

    def transform(key, images):
        keyed: list[tuple[Key, Any]] = [(jax.random.fold_in(key, place), each) for place, each in enumerate(transforms)]
        given = images
        for mode, neighbours in groupby(keyed, lambda pair: pair[1].mode if isinstance(pair[1], Affine) else None):
            if mode is not None:
                images = move(list(neighbours), images, fused=images is given)
            else:
                for own_key, each in neighbours:
                    images = each(own_key, images)
        return images

    return transform


def sometimes(transform: Transform, probability: Number) -> Transform:
    """``transform(images)_i`` with a probability, independently for each example i, else ``images_i`` unchanged.

    Args:
        transform: a transform ``(key, images) -> images`` that preserves shape and dtype; static.
        probability: probability that an example is transformed, in [0, 1], dimensionless; may be traced. The
            derivative with respect to it is 0.

    Returns:
        The transform ``(key, images) -> images``.

    Raises:
        ValueError: a concrete probability lies outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import brightness, sometimes
        >>> images = jnp.ones((2, 4, 4, 1))
        >>> transform = sometimes(brightness(0.5), probability=0.0)
        >>> bool(jnp.array_equal(transform(jax.random.key(0), images), images))
        True
    """
    check_function("transform", transform)
    check_number("probability", probability, "[0, 1]")

    def apply(key, images):
        choice_key, transform_key = jax.random.split(key)
        share = jax.lax.stop_gradient(as_float(probability))
        chosen = jax.random.bernoulli(choice_key, share, (len(images),))
        return jnp.where(over(chosen, images), transform(transform_key, images), images)

    return apply
