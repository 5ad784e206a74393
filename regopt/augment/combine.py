"""From a rule for one image to a transform of a batch, and from transforms to one transform."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from regopt.numerics import as_float, check_range, like, widen
from regopt.types import Key, Number

Transform: TypeAlias = Callable[[Key, jax.Array], jax.Array]  # (key, images) -> images
Rule: TypeAlias = Callable[[Key, jax.Array, jax.Array], jax.Array]  # (key, image, strength) -> image


def compose(*transforms: Transform) -> Transform:
    """One transform after the other, from left to right; transform i has the key folded with i.

    Args:
        *transforms: ``(key, images) -> images`` each; without any the images stay as they are.

    Returns:
        ``(key, images) -> images``.
    """

    def transform(key, images):
        for place, each in enumerate(transforms):
            images = each(jax.random.fold_in(key, place), images)
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
        chosen = jax.vmap(lambda each: jax.random.bernoulli(each, share))(_keys(choice_key, len(images)))
        return jnp.where(_over(chosen, images), transform(transform_key, images), images)

    return apply


def per_example(rule: Rule, strength: Number) -> Transform:
    """The transform that applies a rule to every image with a key of its own, and none of it at strength 0.

    Args:
        rule: ``(key, image, strength) -> image`` for one image ``[height, width, channels]`` of at least float32 and a
            strength of its dtype.
        strength: a number; may be traced.

    Returns:
        ``(key, images) -> images``.
    """

    def transform(key, images):
        check_images(images)
        (wide,) = widen(images)
        amount = like(strength, wide)
        changed = jax.vmap(rule, (0, 0, None))(_keys(key, len(images)), wide, amount)
        return _unless(amount == 0, wide, changed).astype(images.dtype)

    return transform


def check_images(images: jax.Array) -> None:
    """Raise unless there are four axes and a floating dtype."""
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        got = f"{images.dtype} {images.shape}"
        raise ValueError(f"images must be floating point [batch, height, width, channels], got {got}")


def uniform(key: Key, image: jax.Array, *shape: int) -> jax.Array:
    """Draws from [-1, 1) in the dtype of the image."""
    return jax.random.uniform(key, shape, image.dtype, -1, 1)


def _keys(key: Key, examples: int) -> Key:
    """A key for each example, which does not depend on how many there are."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(examples, dtype=jnp.uint32))


def _over(numbers: jax.Array, images: jax.Array) -> jax.Array:
    return numbers.reshape(-1, *[1] * (images.ndim - 1))


@jax.custom_jvp
def _unless(resting: jax.Array, images: jax.Array, changed: jax.Array) -> jax.Array:
    """The images themselves at rest, where the rule gives them up to rounding; its slope is the rule's everywhere."""
    return jnp.where(resting, images, changed)


@_unless.defjvp
def _unless_jvp(primals, tangents):
    return _unless(*primals), tangents[2]
