"""Projections onto boxes, affine sets and intersections of convex sets."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from regopt._core import trees
from regopt._core.checks import check_array, check_functions
from regopt._core.numerics import check_range, check_whole, widen
from regopt._core.placing import on_whole_arrays
from regopt._core.transformation import check_real
from regopt._core.types import NumberTree, Tree


def projection_box(params: Tree, lower: NumberTree, upper: NumberTree) -> Tree:
    """``clip(w, lower, upper)``: the nearest point with ``lower <= w <= upper`` in every entry.

    Args:
        params: the tree to project, floating point.
        lower: lower bound, in [-inf, inf), in parameter units; a number, or a prefix tree of numbers or of arrays like
            the leaves; may be traced.
        upper: upper bound, at least ``lower``, in the same form; may be inf; may be traced.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: a concrete bound is NaN, a lower one exceeds the upper one, or an array of bounds has not the shape
            of its leaf.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_box
        >>> projection_box(jnp.array([-2.0, 0.25, 3.0]), -1.0, 0.5)
        Array([-1.  ,  0.25,  0.5 ], dtype=float32)

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.2 (polyhedra).

        Optax documentation. ``optax.projections.projection_box``, where a traced bound changes the dtype.
    """
    check_real(params)
    check_range("lower", lower, "[-inf, inf)")
    check_range("upper", upper, "(-inf, inf]")
    low, high = trees.bounds_by_leaf(lower, upper, params)
    return trees.lift(jnp.clip, params, numbers={"lower": low, "upper": high})


@on_whole_arrays
def projection_affine(params: Tree, matrix: jax.Array, offset: jax.Array) -> Tree:
    """``w - pinv(matrix) (matrix w - offset)``: the nearest point with ``matrix @ w = offset``.

    Here w is the concatenation of the leaves of the tree. Rows of the matrix may be linearly dependent. If the
    equations have no solution, the result has the smallest residual.

    Args:
        params: the tree to project, with n entries in total.
        matrix: coefficients of the equations, ``[m, n]``; may be traced.
        offset: right-hand sides, ``[m]``; may be traced.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_affine
        >>> projection_affine(jnp.array([1.0, 2.0]), jnp.array([[1.0, 1.0]]), jnp.array([1.0]))
        Array([0., 1.], dtype=float32)

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.2.1.
    """
    check_real(params)
    check_array("matrix", matrix)
    check_array("offset", offset)
    flat, unravel = ravel_pytree(params)
    if matrix.ndim != 2 or matrix.shape[1] != flat.size or offset.shape != matrix.shape[:1]:
        raise ValueError(
            f"matrix must have shape [m, {flat.size}] and offset [m], got {matrix.shape} and {offset.shape}"
        )
    wide, matrix, offset = widen(flat, matrix, offset)
    inverse = jnp.linalg.pinv(matrix)
    for _ in range(2):  # the second pass removes the rounding error of the first
        wide = wide - inverse @ (matrix @ wide - offset)
    return unravel(wide.astype(flat.dtype))


def projection_intersection(params: Tree, projections: Sequence[Callable[[Tree], Tree]], *, cycles: int = 100) -> Tree:
    """The nearest point of an intersection of convex sets, by Dykstra's algorithm.

    Each cycle takes the sets in turn: ``y <- P_i(w + z_i)``, then ``z_i <- w + z_i - y`` and ``w <- y``. Alternating
    projections without the corrections ``z_i`` would converge to a point of the intersection, but not to the nearest
    one. The constraint of the last set holds exactly, those of the others up to convergence. The result is meaningless
    where the intersection is empty.

    Args:
        params: the tree to project.
        projections: the projections onto the sets, as functions from trees to trees; static.
        cycles: number of cycles, >= 1; static.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: ``projections`` is no list of functions, or ``cycles`` is no positive integer.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_affine, projection_box, projection_intersection
        >>> plane = lambda w: projection_affine(w, jnp.ones((1, 2)), jnp.ones(1))
        >>> sets = [plane, lambda w: projection_box(w, 0.0, 1.0)]
        >>> projection_intersection(jnp.array([3.0, 0.5]), sets)
        Array([1., 0.], dtype=float32)

    References:
        Boyle, J. P., & Dykstra, R. L. (1986). A method for finding projections onto the intersection of convex sets in
        Hilbert spaces. Advances in Order Restricted Statistical Inference, Springer. Section 2.
    """
    check_real(params)
    check_functions("projections", projections)
    if not projections:
        raise ValueError("projections must name at least one set, got none")
    check_whole("cycles", cycles, "[1, inf)")

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
