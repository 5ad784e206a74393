"""Affine maps of images by linear interpolation, several of them by one.

A pixel of the result is read at the place in the image that the inverse map sends it to, so every map is written as
the matrix and the offset of that. What is read has been interpolated once, whatever number of maps led there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from regopt._core.numerics import like, widen
from regopt._core.types import Key, Number
from regopt.augment._rule import checked, unless

Mode: TypeAlias = Literal["constant", "nearest", "wrap", "mirror", "reflect"]


class Map(NamedTuple):
    """An image is read at ``matrix (p - c) + c + offset`` for every pixel p; c is the centre.

    The entries are numbers or arrays ``[batch]``; first coordinates count rows, downwards.
    """

    matrix: tuple[tuple[Number, Number], tuple[Number, Number]]
    offset: tuple[Number, Number] = (0, 0)  # pixels


@dataclass(frozen=True)
class Affine:
    """The transform ``(key, images) -> images`` with maps that a rule draws.

    Attributes:
        rule: ``(key, images, strength) -> Map``, the identity at strength 0.
        strength: a number; may be traced.
        mode: what lies outside the image.
    """

    rule: Callable[[Key, jax.Array, jax.Array], Map]
    strength: Number
    mode: Mode

    def __call__(self, key: Key, images: jax.Array) -> jax.Array:
        """The images under a map for each."""
        return move([(key, self)], images)


def move(moves: Sequence[tuple[Key, Affine]], images: jax.Array, fused: bool = True) -> jax.Array:
    """The images under the maps in turn, which share a mode: one map, which reads what lies outside at the end only.

    Args:
        moves: each with its key; at least one.
        images: ``[batch, height, width, channels]``.
        fused: as for ``read``.

    Returns:
        Images of the same shape and dtype.
    """
    (wide,) = widen(checked(images))
    amounts = [like(each.strength, wide) for _, each in moves]
    maps = [each.rule(key, wide, amount) for (key, each), amount in zip(moves, amounts, strict=True)]
    resting = reduce(jnp.logical_and, [amount == 0 for amount in amounts])
    changed = read(wide, reduce(_then, maps), moves[0][1].mode, fused)
    return unless(resting, wide, changed).astype(images.dtype)


def read(images: jax.Array, where: Map, mode: Mode, fused: bool = True) -> jax.Array:
    """The images read where a map says, by linear interpolation.

    Args:
        images: ``[batch, height, width, channels]``.
        where: the map.
        mode: what lies outside the image.
        fused: whether XLA may fuse what makes the images into this, once for each of the four reads of a pixel. For
            what is dear to make a loop over two halves of an even batch is faster.

    Returns:
        An array with the shape and dtype of the images.
    """

    def plane(values, *places):
        return map_coordinates(values, places, order=1, mode=mode)

    def batch(arguments):
        return jax.vmap(jax.vmap(plane, (2, None, None), 2))(*arguments)

    arguments = (images, *_places(images, where))
    if fused or len(images) % 2:
        return batch(arguments)
    halves = [x.reshape(2, len(x) // 2, *x.shape[1:]) for x in arguments]
    return jax.lax.map(batch, halves).reshape(images.shape)


def _places(images: jax.Array, where: Map) -> list[jax.Array]:
    """The row and the column, fractions of them too, at which each pixel is read; each ``[batch, height, width]``."""
    sizes = images.shape[1:3]
    rows, columns = (jnp.arange(size, dtype=images.dtype) - (size - 1) / 2 for size in sizes)

    def each(number):
        return jnp.broadcast_to(like(number, images), len(images))[:, None, None]

    return [
        each(by_row) * rows[None, :, None] + each(by_column) * columns[None, None, :] + each(shift) + (size - 1) / 2
        for (by_row, by_column), shift, size in zip(where.matrix, where.offset, sizes, strict=True)
    ]


def _then(first: Map, second: Map) -> Map:
    """The map of one after the other: the second says where to read what the first has read."""
    (a, b), (c, d) = first.matrix
    (e, f), (g, h) = second.matrix
    down, right = second.offset
    return Map(
        ((a * e + b * g, a * f + b * h), (c * e + d * g, c * f + d * h)),
        (a * down + b * right + first.offset[0], c * down + d * right + first.offset[1]),
    )
