"""From transforms to one transform."""

from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp

from regopt._core.numerics import as_float, check_range
from regopt._core.types import Key, Number
from regopt.augment._affine import Affine, move
from regopt.augment._rule import Transform, over


def compose(*transforms: Transform) -> Transform:
    """One transform after the other, from left to right; transform i has the key folded with i.

    Neighbours that move pixels (translation, scaling, rotation, shear, crop_and_scale) with the same ``mode`` act as
    one map: the image is interpolated once, which blurs it less than every map would, and nothing is lost outside it
    between them.

    Args:
        *transforms: ``(key, images) -> images`` each; without any the images stay as they are.

    Returns:
        ``(key, images) -> images``.
    """

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
    """The transform for some examples, drawn independently; the others keep their bits.

    Args:
        transform: ``(key, images) -> images`` of one shape and dtype.
        probability: of an example to be transformed, in [0, 1]; may be traced. Its slope is 0.

    Returns:
        ``(key, images) -> images``.

    Raises:
        ValueError: a concrete probability lies outside [0, 1].
    """
    check_range("probability", probability, "[0, 1]")

    def apply(key, images):
        choice_key, transform_key = jax.random.split(key)
        share = jax.lax.stop_gradient(as_float(probability))
        chosen = jax.random.bernoulli(choice_key, share, (len(images),))
        return jnp.where(over(chosen, images), transform(transform_key, images), images)

    return apply
