"""Projections onto balls of vector norms: of the whole tree, of each group, and of the norms of all groups.

A point inside a ball is returned unchanged, bit for bit. Derivatives are finite everywhere, also at radius 0, at the
origin and on the boundary. Projections onto balls of matrix norms are in ``_spectral.py``.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.checks import check_no_schedule
from regopt._core.groups import Groups, check_alone, checked_groups, joined_leaves, shortened_groups
from regopt._core.nearest import shortened, threshold_to_sum
from regopt._core.numerics import check_number, check_range, direction_and_norm, widen
from regopt._core.placing import on_whole_arrays
from regopt._core.transformation import check_real
from regopt._core.types import Mask, Number, NumberTree, Tree
from regopt._core.units import UnitAxis, check_unit_axis, incoming_axes


def projection_l2_ball(params: Tree, scale: Number = 1.0) -> Tree:
    """The nearest point with ``|w|_2 <= scale`` over the whole tree: ``w min(1, scale / |w|_2)``.

    Args:
        params: the tree to project, as one vector of floating-point entries.
        scale: radius, >= 0, in parameter units; may be traced.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: a concrete radius is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_l2_ball
        >>> projection_l2_ball(jnp.array([3.0, 4.0]), 2.5)
        Array([1.5, 2. ], dtype=float32)

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.5.1.

        Optax documentation. ``optax.projections.projection_l2_ball``, where radius 0 gives NaN at the origin.
    """
    check_real(params)
    check_number("scale", scale, "[0, inf)")
    leaves, structure = jax.tree.flatten(params)
    return structure.unflatten(shortened(leaves, scale))


@on_whole_arrays
def projection_l1_ball(params: Tree, scale: Number = 1.0) -> Tree:
    """The nearest point with ``|w|_1 <= scale`` over the whole tree: soft thresholding, with exact zeros.

    Args:
        params: the tree to project, as one vector of floating-point entries.
        scale: radius, >= 0, in parameter units; may be traced.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: a concrete radius is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_l1_ball
        >>> projection_l1_ball(jnp.array([3.0, -1.0, 0.5]), 3.0)
        Array([ 2.5, -0.5,  0. ], dtype=float32)

    References:
        Duchi, J., Shalev-Shwartz, S., Singer, Y., & Chandra, T. (2008). Efficient projections onto the l1-ball for
        learning in high dimensions. ICML. Figure 1.

        Optax documentation. ``optax.projections.projection_l1_ball``, where radius 0 gives NaN.
    """
    check_real(params)
    check_number("scale", scale, "[0, inf)")
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(params)]
    if not leaves:
        return params
    threshold = threshold_to_sum(jnp.concatenate([jnp.abs(leaf) for leaf in widen(*leaves)]), scale)
    # inside the ball the slope is 1, also at 0, where those of the bounds would count
    return trees.lift(
        lambda w, reach: jnp.where(reach > 0, w - jnp.clip(w, -reach, reach), w), params, numbers=(threshold,)
    )


def projection_group_balls(
    params: Tree, radius: NumberTree = 1.0, *, axis: int | Sequence[int] = 0, mask: Mask = "weights"
) -> Tree:
    """``w_g min(1, radius / |w_g|_2)`` for every group: the nearest point with ``|w_g|_2 <= radius``.

    Args:
        params: the tree to project.
        radius: largest norm of a group, >= 0, in parameter units; a number or a prefix tree of numbers; may be traced.
        axis: the axes of a leaf that a group runs over; static. With 0 each column of a matrix is a group. A leaf that
            lacks one of these axes is one group.
        mask: which leaves are projected; by default neither biases nor normalisation scales.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: a concrete radius is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_group_balls
        >>> projection_group_balls(jnp.array([[3.0, 0.5], [4.0, 0.0]]), 2.5)
        Array([[1.5, 0.5],
               [2. , 0. ]], dtype=float32)

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.5.1, for each group.
    """
    check_real(params, lambda params: trees.resolve_mask(mask, params))
    check_no_schedule("radius", radius)
    check_range("radius", radius, "[0, inf)")
    chosen, radii = trees.resolve_mask(mask, params), trees.by_leaf(radius, params, "radius")
    return jax.tree.map(
        lambda w, on, bound: shortened([w], bound, group_axes(w, axis))[0] if on else w, params, chosen, radii
    )


def projection_max_norm(
    params: Tree,
    radius: NumberTree = 1.0,
    *,
    unit_axis: UnitAxis = None,
    mask: Mask = "weights",
    groups: Groups | None = None,
) -> Tree:
    """``w_u min(1, radius / |w_u|_2)`` for the incoming weights of every unit: the nearest point within a max norm.

    Args:
        params: the tree to project.
        radius: largest norm of the weights of a unit, >= 0, in parameter units; a number or a prefix tree of numbers;
            may be traced.
        unit_axis: the axis of the units; the norm is over all others. A number or a mapping from path patterns to it;
            None takes what the layer declares, as regopt's and equinox's do, and the last axis where nothing is
            declared, as in the kernels of flax and haiku; static. A leaf with
            fewer than two axes is one unit.
        mask: which leaves are projected; by default neither biases nor normalisation scales.
        groups: groups over several leaves, and no others: a mapping from path patterns to the axis of the groups in
            the leaves that match, or a sequence of such mappings, as for ``penalties.group_lasso``; static. A group is
            then one unit, such as all weights into and out of a hidden unit. This takes the place of ``unit_axis`` and
            ``mask``.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: a concrete radius is negative or NaN, a leaf lacks the axis of the units, or ``groups`` does not
            fit or is given beside ``unit_axis`` or ``mask``.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_max_norm
        >>> projection_max_norm(jnp.array([[3.0, 4.0], [0.5, 0.0]]), 2.5, unit_axis=0)
        Array([[1.5, 2. ],
               [0.5, 0. ]], dtype=float32)

        The weights of a unit together with its bias:

        >>> params = {"kernel": jnp.array([[3.0, 1.0]]), "bias": jnp.array([4.0, 0.0])}
        >>> projection_max_norm(params, 2.5, groups={"kernel": 1, "bias": 0})
        {'bias': Array([2., 0.], dtype=float32), 'kernel': Array([[1.5, 1. ]], dtype=float32)}

    References:
        Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I., & Salakhutdinov, R. (2014). Dropout: A simple way to
        prevent neural networks from overfitting. Journal of Machine Learning Research, 15, 1929-1958. Section 5.1.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.2.
    """
    check_unit_axis(unit_axis)
    check_no_schedule("radius", radius)
    check_range("radius", radius, "[0, inf)")
    if groups is not None:
        check_alone(unit_axis=unit_axis is None, mask=isinstance(mask, str))
        named = checked_groups(groups)
        check_real(params, lambda params: joined_leaves(named, params))
        return shortened_groups(params, named, radius, "radius")
    check_real(params, lambda params: trees.resolve_mask(mask, params))
    chosen, radii = trees.resolve_mask(mask, params), trees.by_leaf(radius, params, "radius")
    leaves, structure = jax.tree.flatten(params)
    parts = zip(leaves, jax.tree.leaves(chosen), jax.tree.leaves(radii), incoming_axes(params, unit_axis), strict=True)
    return structure.unflatten(
        shortened([w], bound, axes if w.ndim > 1 else None)[0] if on else w for w, on, bound, axes in parts
    )


@on_whole_arrays
def projection_l12_ball(
    params: Tree, radius: Number = 1.0, *, axis: int | Sequence[int] = 0, mask: Mask = "weights"
) -> Tree:
    """The nearest point with ``sum_g |w_g|_2 <= radius``, the norm of the group lasso.

    The norms of the groups are projected onto the l1 ball, so whole groups become exactly 0. The directions of the
    other groups do not change.

    Args:
        params: the tree to project.
        radius: largest sum of the norms, >= 0, in parameter units; may be traced.
        axis: the axes of a leaf that a group runs over, as for ``projection_group_balls``; static.
        mask: which leaves are projected, all together; by default neither biases nor normalisation scales.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: a concrete radius is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_l12_ball
        >>> projection_l12_ball(jnp.array([[3.0, 0.6], [4.0, 0.8]]), 2.0)
        Array([[1.2, 0. ],
               [1.6, 0. ]], dtype=float32)

    References:
        Bach, F., Jenatton, R., Mairal, J., & Obozinski, G. (2012). Optimization with sparsity-inducing penalties.
        Foundations and Trends in Machine Learning, 4(1), 1-106. Section 3.2.

        Duchi, J., Shalev-Shwartz, S., Singer, Y., & Chandra, T. (2008). Efficient projections onto the l1-ball for
        learning in high dimensions. ICML. Figure 1, for the projection of the norms.
    """
    check_real(params, lambda params: trees.resolve_mask(mask, params))
    check_number("radius", radius, "[0, inf)")
    leaves, structure = jax.tree.flatten(params)
    chosen = [place for place, on in enumerate(jax.tree.leaves(trees.resolve_mask(mask, params))) if on]
    if not chosen:
        return params
    parts = [direction_and_norm([leaves[i]], group_axes(leaves[i], axis, wholly=True)) for i in chosen]
    norms = widen(*(norm for _, norm in parts))
    threshold = threshold_to_sum(jnp.concatenate([jnp.ravel(norm) for norm in norms]), radius)
    for i, ((direction,), _), norm in zip(chosen, parts, norms, strict=True):
        shorter = jnp.maximum(norm - threshold, 0) * direction.astype(norm.dtype)
        leaves[i] = jnp.where(threshold > 0, shorter, leaves[i].astype(norm.dtype)).astype(leaves[i].dtype)
    return structure.unflatten(leaves)


def group_axes(w: jax.Array, axis: int | Sequence[int], *, wholly: bool = False) -> tuple[int, ...] | None:
    """The axes that the groups of a leaf run over. A leaf that lacks one has all of its axes (``wholly``) or None."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if all(-w.ndim <= a < w.ndim for a in axes):
        return tuple(a % w.ndim for a in axes)
    return tuple(range(w.ndim)) if wholly else None
