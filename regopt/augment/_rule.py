"""Transforms from a rule for a batch, the identity at strength 0, and the random draws of a batch."""

import math
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from regopt._core.numerics import like, widen
from regopt._core.types import Key, Number

Transform: TypeAlias = Callable[[Key, jax.Array], jax.Array]  # (key, images) -> images
Rule: TypeAlias = Callable[[Key, jax.Array, jax.Array], jax.Array]  # (key, images, strength) -> images

_LEVELS = ndtri((np.arange(2**16) + 0.5) / 2**16)
_LEVELS /= _LEVELS.std()


def of_batch(rule: Rule, strength: Number) -> Transform:
    """The transform that applies a rule to a batch and returns the images unchanged at strength 0.

    Args:
        rule: ``(key, images, strength) -> images`` for images of at least float32 and a strength of their dtype.
        strength: a number; may be traced.

    Returns:
        The transform ``(key, images) -> images``.
    """

    def transform(key, images):
        (wide,) = widen(checked(images))
        amount = like(strength, wide)
        return unless(amount == 0, wide, rule(key, wide, amount)).astype(images.dtype)

    return transform


def checked(images: jax.Array) -> jax.Array:
    """The images; raise unless they have four axes and a floating dtype."""
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        got = f"{images.dtype} {images.shape}"
        raise ValueError(f"images must be floating point [batch, height, width, channels], got {got}")
    return images


def uniform(key: Key, images: jax.Array, *shape: int) -> jax.Array:
    """Draws from [-1, 1) for each example, ``[batch, *shape]`` in the dtype of the images.

    The random bits of JAX are a function of the key and of the position in the array, so the draws of an example do not
    depend on the number of examples that follow.
    """
    return jax.random.uniform(key, (len(images), *shape), images.dtype, -1, 1)


def normal(key: Key, images: jax.Array) -> jax.Array:
    """Standard normal draws in the shape and dtype of the images.

    Each 32 random bits give two draws from 65,536 equally likely quantiles, which have variance 1 and lie within 4.4.
    The inverse error function of ``jax.random.normal`` would dominate the cost of a batch.
    """
    size = math.prod(images.shape[1:])
    words = jax.random.bits(key, (len(images), 1, -(-size // 2)), jnp.uint32)
    halves = (words >> jnp.array([0, 16], jnp.uint32)[None, :, None]) & 0xFFFF
    levels = halves.reshape(len(images), -1)[:, :size].reshape(images.shape)
    return jnp.asarray(_LEVELS, images.dtype)[levels]


def over(numbers: jax.Array, images: jax.Array) -> jax.Array:
    """A number for each example, ``[batch]``, in a shape that broadcasts against the images."""
    return numbers.reshape(-1, *[1] * (images.ndim - 1))


@jax.custom_jvp
def unless(resting: jax.Array, images: jax.Array, changed: jax.Array) -> jax.Array:
    """``images`` where resting, else ``changed``, with the derivative of ``changed`` everywhere."""
    return jnp.where(resting, images, changed)


@unless.defjvp
def _unless_jvp(primals, tangents):
    return unless(*primals), tangents[2]
