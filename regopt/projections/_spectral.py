"""Projections onto balls of matrix norms: the singular values are projected, the singular vectors do not change.

Derivatives are finite for repeated and for zero singular values, although those of the singular vectors are not.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core import linalg, trees
from regopt._core.numerics import check_range, like, safe_divide
from regopt._core.placing import on_whole_arrays
from regopt._core.types import Mask, NumberTree, Tree
from regopt.projections._balls import threshold_to_sum


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
    check_range("radius", radius, "[0, inf)")

    def project(w, radius):
        return map_singular_values(rule, as_matrix(w), like(radius, w)).reshape(w.shape)

    chosen, radii = trees.resolve_mask(mask, params), trees.by_leaf(radius, params, "radius")
    return jax.tree.map(
        lambda w, on, bound: trees.lift(project, w, numbers=(bound,)) if on and w.size else w, params, chosen, radii
    )


def as_matrix(w: jax.Array) -> jax.Array:
    """The array as a matrix whose columns run along its last axis; an array of fewer than two axes is one column."""
    return w.reshape(-1, w.shape[-1]) if w.ndim > 1 else w.reshape(-1, 1)


def map_singular_values(
    rule: Callable[[jax.Array, jax.Array], jax.Array], matrix: jax.Array, number: jax.Array
) -> jax.Array:
    """``U rule(S, number) V'`` for ``matrix = U S V'``, with derivatives that are finite for all singular values.

    Args:
        rule: function of the singular values, ``[k]``, and a number; nondecreasing, 0 at 0, and never larger than its
            argument.
        matrix: ``[m, n]``, floating point.
        number: the second argument of the rule, shape ().

    Returns:
        An array like ``matrix``; where the rule changes nothing, the matrix itself.

    References:
        Lewis, A. S., & Sendov, H. S. (2005). Nonsmooth analysis of singular values. Part I: Theory. Set-Valued
        Analysis, 13, 213-241. Section 7, for the derivative.
    """

    @jax.custom_jvp
    def mapped(matrix, number):
        u, s, vh = linalg.svd(matrix)
        after = rule(s, number)
        return jnp.where(jnp.all(after == s), matrix, (u * after[None]) @ vh)

    @mapped.defjvp
    def slope(primals, tangents):
        (matrix, number), (matrix_dot, number_dot) = primals, tangents
        u, s, vh = linalg.svd(matrix)
        along = u.T @ matrix_dot @ vh.T  # [k, k]
        after, after_dot = jax.jvp(rule, (s, number), (jnp.diagonal(along), number_dot))
        jacobian = jax.jacfwd(rule)(s, number)
        inside = _between(s, after, jacobian, along) * (1 - jnp.eye(s.size, dtype=s.dtype)) + jnp.diag(after_dot)
        kept = safe_divide(after, s)  # the limit at a singular value of 0 is taken as 0
        left = (matrix_dot @ vh.T - u @ along) * kept[None]  # the component that rotates u out of its span
        right = (u.T @ matrix_dot - along @ vh) * kept[:, None]
        return mapped(matrix, number), u @ (inside @ vh + right) + left @ vh

    return mapped(matrix, number)


def _between(s: jax.Array, after: jax.Array, jacobian: jax.Array, along: jax.Array) -> jax.Array:
    """The off-diagonal part of the derivative, in the bases of the singular vectors, along a change ``along``."""
    gap = s[:, None] - s[None]
    near = jnp.abs(gap) <= 1e-5 * s[0]
    own = jnp.diagonal(jacobian)
    limit = (own[:, None] + own[None] - jacobian - jacobian.T) / 2  # of the quotient, for values that meet
    divided = jnp.where(near, limit, (after[:, None] - after[None]) / jnp.where(near, 1, gap))
    turned = safe_divide(after[:, None] + after[None], s[:, None] + s[None])
    return divided * (along + along.T) / 2 + turned * (along - along.T) / 2
