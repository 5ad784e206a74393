"""Sets that are no balls: boxes, affine sets, and the intersection of sets that can be projected onto."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from regopt._core import trees
from regopt._core.numerics import widen
from regopt._core.types import NumberTree, Tree


def projection_box(params: Tree, lower: NumberTree, upper: NumberTree) -> Tree:
    """The nearest point with ``lower <= w <= upper``, entry by entry.

    Args:
        params: the tree to project, all of it.
        lower: a number, or a prefix tree of numbers or of arrays like the leaves; may be -inf; may be traced.
        upper: likewise, at least ``lower``; may be inf.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    References: Parikh & Boyd (2014), section 6.2.4; ``optax.projections``, where a traced end changes the dtype.

    >>> projection_box(jnp.array([-2.0, 0.25, 3.0]), -1.0, 0.5)
    Array([-1.  ,  0.25,  0.5 ], dtype=float32)
    """
    return trees.lift(lambda w, low, high: jnp.clip(w, low, high), params, numbers=(lower, upper))


def projection_affine(params: Tree, matrix: jax.Array, offset: jax.Array) -> Tree:
    """The nearest point with ``matrix @ w = offset``, where w is the tree's leaves one after another.

    ``w - pinv(matrix) (matrix w - offset)``: rows may repeat or contradict each other, in which case the residual is
    the smallest possible.

    Args:
        params: the tree to project, all of it; n numbers.
        matrix: ``[m, n]``; may be traced.
        offset: ``[m]``; may be traced.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: the shapes do not match.

    References: Parikh & Boyd (2014), section 6.2.1.

    >>> projection_affine(jnp.array([1.0, 2.0]), jnp.array([[1.0, 1.0]]), jnp.array([1.0]))
    Array([0., 1.], dtype=float32)
    """
    flat, unravel = ravel_pytree(params)
    if matrix.ndim != 2 or matrix.shape[1] != flat.size or offset.shape != matrix.shape[:1]:
        raise ValueError(
            f"matrix must have shape [m, {flat.size}] and offset [m], got {matrix.shape} and {offset.shape}"
        )
    wide, matrix, offset = widen(flat, matrix, offset)
    inverse = jnp.linalg.pinv(matrix)
    for _ in range(2):  # the second removes the rounding of the first
        wide = wide - inverse @ (matrix @ wide - offset)
    return unravel(wide.astype(flat.dtype))


def projection_intersection(params: Tree, projections: Sequence[Callable[[Tree], Tree]], *, cycles: int = 100) -> Tree:
    """The nearest point of all sets together, by Dykstra's algorithm: the sets in turn, with a memory for each.

    ``y <- P_i(w + z_i)``, then ``z_i <- w + z_i - y`` and ``w <- y``. Projecting in turn without the memories would
    end in the intersection, but not at its nearest point. The last set holds exactly, the others as far as the cycles
    have converged; where there is no common point the result has no meaning.

    Args:
        params: the tree to project.
        projections: onto convex sets, functions from trees to trees.
        cycles: how often each set has its turn; static.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: there is no projection, or ``cycles`` is not positive.

    References: Boyle & Dykstra (1986), section 2.

    >>> sets = [lambda w: projection_affine(w, jnp.ones((1, 2)), jnp.ones(1)), lambda w: projection_box(w, 0.0, 1.0)]
    >>> projection_intersection(jnp.array([3.0, 0.5]), sets)
    Array([1., 0.], dtype=float32)
    """
    if not projections or cycles < 1:
        raise ValueError(f"an intersection needs projections and cycles >= 1, got {len(projections)} and {cycles}")

    def cycle(carry, _):
        w, memories = carry
        after = []
        for project, memory in zip(projections, memories, strict=True):
            start = jax.tree.map(jnp.add, w, memory)
            w = project(start)
            after.append(jax.tree.map(jnp.subtract, start, w))
        return (w, after), None

    wide = jax.tree.map(lambda w: widen(w)[0], params)
    memories = [jax.tree.map(jnp.zeros_like, wide) for _ in projections]
    (wide, _), _ = jax.lax.scan(cycle, (wide, memories), length=cycles)
    return trees.lift(lambda _, w: w, params, wide)
