"""Projections onto balls of matrix norms: the singular values are projected, the singular vectors do not change.

Derivatives are finite for repeated and for zero singular values, although those of the singular vectors are not.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.checks import check_no_schedule
from regopt._core.linalg import as_matrix, map_singular_values
from regopt._core.nearest import threshold_to_sum
from regopt._core.numerics import check_range, like
from regopt._core.placing import on_whole_arrays
from regopt._core.transformation import check_real
from regopt._core.types import Mask, NumberTree, Tree


@on_whole_arrays
def projection_spectral_ball(params: Tree, radius: NumberTree = 1.0, *, mask: Mask = "weights") -> Tree:
    """``U min(S, radius) V'``: the nearest point where no singular value of a matrix exceeds the radius.

    Args:
        params: the tree to project. A leaf with more than two axes is a matrix whose columns run along its last axis;
            a leaf with fewer axes is a single column.
        radius: radius of the ball of each leaf, >= 0, in parameter units; a number or a prefix tree of numbers; may be
            traced.
        mask: which leaves are projected; by default neither biases nor normalisation scales.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: a concrete radius is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_spectral_ball
        >>> projection_spectral_ball(jnp.array([[3.0, 0.0], [0.0, 0.5]]), 2.0)
        Array([[2. , 0. ],
               [0. , 0.5]], dtype=float32)

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.7.2.
    """
    return _on_matrices(jnp.minimum, params, radius, mask)


@on_whole_arrays
def projection_nuclear_ball(params: Tree, radius: NumberTree = 1.0, *, mask: Mask = "weights") -> Tree:
    """The nearest point with ``sum_k s_k(W) <= radius`` for each matrix, often one of lower rank.

    The singular values are projected onto the l1 ball. In float32, singular values that are 0 in exact arithmetic are
    about 1e-7 of the largest entry after the factors have been multiplied.

    Args:
        params: the tree to project. A leaf with more than two axes is a matrix whose columns run along its last axis;
            a leaf with fewer axes is a single column.
        radius: radius of the ball of each leaf, >= 0, in parameter units; a number or a prefix tree of numbers; may be
            traced.
        mask: which leaves are projected; by default neither biases nor normalisation scales.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: a concrete radius is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_nuclear_ball
        >>> projection_nuclear_ball(jnp.array([[3.0, 0.0], [0.0, 0.5]]), 2.0)
        Array([[2., 0.],
               [0., 0.]], dtype=float32)

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.7.3.

        Cai, J.-F., Candes, E. J., & Shen, Z. (2010). A singular value thresholding algorithm for matrix completion.
        SIAM Journal on Optimization, 20(4), 1956-1982. Theorem 2.1.
    """

    def shrink(sizes, bound):
        return jnp.maximum(sizes - threshold_to_sum(sizes, bound), 0)

    return _on_matrices(shrink, params, radius, mask)


def _on_matrices(
    rule: Callable[[jax.Array, jax.Array], jax.Array], params: Tree, radius: NumberTree, mask: Mask
) -> Tree:
    """The rule applied to the singular values of the chosen leaves; a leaf that does not change is not rounded."""
    check_real(params, lambda params: trees.resolve_mask(mask, params))
    check_no_schedule("radius", radius)
    check_range("radius", radius, "[0, inf)")

    def project(w, radius):
        return map_singular_values(rule, as_matrix(w), like(radius, w)).reshape(w.shape)

    chosen, radii = trees.resolve_mask(mask, params), trees.by_leaf(radius, params, "radius")
    return jax.tree.map(
        lambda w, on, bound: trees.lift(project, w, numbers=(bound,)) if on and w.size else w, params, chosen, radii
    )
