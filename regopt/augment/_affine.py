"""Affine maps of images by linear interpolation, with several maps composed into one.

Each pixel of the result is read at a place in the image that the inverse map determines, so every map is given by the
matrix and the offset of its inverse. The image is interpolated once, whatever the number of composed maps.
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
    """For every pixel p, the image is read at ``matrix (p - c) + c + offset``, where c is the centre of the image.

    The entries are numbers or arrays ``[batch]``. The first coordinate is the row, counted downwards.
    """

    matrix: tuple[tuple[Number, Number], tuple[Number, Number]]
    offset: tuple[Number, Number] = (0, 0)  # pixels


@dataclass(frozen=True)
class Affine:
    """A transform ``(key, images) -> images`` by affine maps that a rule draws.

    Attributes:
        rule: ``(key, images, strength) -> Map``, the identity at strength 0.
        strength: a number; may be traced.
        mode: the values outside the image.
    """

    rule: Callable[[Key, jax.Array, jax.Array], Map]
    strength: Number
    mode: Mode

    def __call__(self, key: Key, images: jax.Array) -> jax.Array:
        """The images, each transformed by a map of its own."""
        return move([(key, self)], images)


def move(moves: Sequence[tuple[Key, Affine]], images: jax.Array, fused: bool = True) -> jax.Array:
    """The images after the maps in turn, which are composed into one map and share a mode.

    Args:
        moves: the maps, at least one, each with its key.
        images: ``[batch, height, width, channels]``.
        fused: as for ``read``.

    Returns:
        Images of the same shape and dtype.
    """
    (wide,) = widen(checked(images))
    amounts = [like(each.strength, wide) for _, each in moves]
    maps = [each.rule(key, wide, amount) for (key, each), amount in zip(moves, amounts, strict=True)]
    resting = reduce(jnp.logical_and, [amount == 0 for amount in amounts])
    return unless(resting, wide, read(wide, reduce(_then, maps), moves[0][1].mode, fused)).astype(images.dtype)


def read(images: jax.Array, where: Map, mode: Mode, fused: bool = True) -> jax.Array:
    """The images read where a map says, by linear interpolation.

    Args:
        images: ``[batch, height, width, channels]``.
        where: the map.
        mode: the values outside the image.
        fused: whether XLA may fuse the computation of the images into this one, where it is repeated for each of the
            four reads of a pixel. If False, a loop over two halves of an even batch prevents this, which is faster
            where the images are expensive to compute.

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
    """The fractional row and column at which each pixel is read; each ``[batch, height, width]``."""
    sizes = images.shape[1:3]
    rows, columns = (jnp.arange(size, dtype=images.dtype) - (size - 1) / 2 for size in sizes)

    def each(number):
        return jnp.broadcast_to(like(number, images), len(images))[:, None, None]

    return [
        each(by_row) * rows[None, :, None] + each(by_column) * columns[None, None, :] + each(shift) + (size - 1) / 2
        for (by_row, by_column), shift, size in zip(where.matrix, where.offset, sizes, strict=True)
    ]


def _then(first: Map, second: Map) -> Map:
    """The composition of two maps: the second determines where the result of the first is read."""
    (a, b), (c, d) = first.matrix
    (e, f), (g, h) = second.matrix
    down, right = second.offset
    return Map(
        ((a * e + b * g, a * f + b * h), (c * e + d * g, c * f + d * h)),
        (a * down + b * right + first.offset[0], c * down + d * right + first.offset[1]),
    )
