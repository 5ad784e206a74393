"""Clipping: a gradient that is too long is shortened, any other one is left alone, bit for bit.

The clipped thing is an entry, a unit, a layer or the whole tree. Norms neither overflow nor underflow: the largest
magnitude is factored out first. What is not finite stays so; to drop such gradients is the work of ``guard``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import check_range
from regopt._core.types import Number, NumberTree, Tree
from regopt.projections._balls import shortened


def clip(max_delta: NumberTree) -> optax.GradientTransformationExtraArgs:
    """``g_i <- min(max(g_i, -max_delta), max_delta)``, entry by entry; it may turn the gradient.

    Args:
        max_delta: >= 0, in gradient units; a number or a prefix tree of numbers; may be traced.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Raises:
        ValueError: a concrete bound is negative, infinite or NaN.

    References: Goodfellow et al. (2016), section 10.11.1; Mikolov (2012), section 3.2.2.

    >>> clip(1.0).update(jnp.array([0.5, -3.0]), optax.EmptyState())[0]
    Array([ 0.5, -1. ], dtype=float32)
    """
    check_range("max_delta", max_delta, "[0, inf)")

    def clipped(updates):
        return trees.lift(lambda g, bound: jnp.clip(g, -bound, bound), updates, numbers=(max_delta,))

    return _stateless(clipped)


def clip_by_global_norm(max_norm: Number) -> optax.GradientTransformationExtraArgs:
    """``g <- g max_norm / |g|`` where ``|g| > max_norm``, with the norm of the whole tree; the direction stays.

    Only a gradient that is too long is scaled. To scale every one would be normalised gradient descent, which never
    settles: its steps do not shrink at a minimum.

    Args:
        max_norm: >= 0, in gradient units; may be traced.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Raises:
        ValueError: a concrete bound is negative, infinite or NaN.

    References: Pascanu et al. (2013), Algorithm 1; Goodfellow et al. (2016), equations 10.48-10.49.

    >>> clip_by_global_norm(1.0).update(jnp.array([3e30, -4e30]), optax.EmptyState())[0]
    Array([ 0.6, -0.8], dtype=float32)
    """
    check_range("max_norm", max_norm, "[0, inf)")

    def clipped(updates):
        leaves, structure = jax.tree.flatten(updates)
        return structure.unflatten(shortened(leaves, max_norm))

    return _stateless(clipped)


def clip_by_layer_norm(max_norm: Number) -> optax.GradientTransformationExtraArgs:
    """``g_l <- g_l max_norm / |g_l|`` where ``|g_l| > max_norm``, for each layer by itself.

    A layer is the leaves with one parent: the kernel and the bias of one module. In a flat dict or list of
    arrays that is the whole tree.

    Args:
        max_norm: of one layer, >= 0, in gradient units; may be traced.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Raises:
        ValueError: a concrete bound is negative, infinite or NaN.

    References: Goodfellow et al. (2016), equations 10.48-10.49, layer by layer.

    >>> grads = {"first": {"kernel": jnp.array([[3.0]]), "bias": jnp.array([4.0])}, "last": {"bias": jnp.array([0.5])}}
    >>> clip_by_layer_norm(1.0).update(grads, optax.EmptyState())[0]["first"]
    {'bias': Array([0.8], dtype=float32), 'kernel': Array([[0.6]], dtype=float32)}
    """
    check_range("max_norm", max_norm, "[0, inf)")

    def clipped(updates):
        paths, structure = jax.tree.flatten_with_path(updates)
        layers: dict[object, list[int]] = {}
        for place, (path, _) in enumerate(paths):
            layers.setdefault(_parent(path), []).append(place)
        leaves = [leaf for _, leaf in paths]
        for places in layers.values():
            for place, leaf in zip(places, shortened([leaves[i] for i in places], max_norm), strict=True):
                leaves[place] = leaf
        return structure.unflatten(leaves)

    return _stateless(clipped)


def clip_by_unit_norm(max_norm: NumberTree, *, unit_axis: int = -1) -> optax.GradientTransformationExtraArgs:
    """``g_u <- g_u max_norm / |g_u|`` where ``|g_u| > max_norm``, for the incoming weights of each unit by itself.

    A leaf of one dimension or none (biases, norm scales) counts as one unit, as in adaptive gradient clipping.

    Args:
        max_norm: of one unit, >= 0, in gradient units; a number or a prefix tree of numbers; may be traced.
        unit_axis: the axis that tells the units apart; the norm runs over all others. The last in flax's kernels
            (``[in, out]``, ``[height, width, in, out]``), 0 in those of ``regopt.layers`` and PyTorch.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Raises:
        ValueError: a concrete bound is negative, infinite or NaN.

    References: Brock et al. (2021), section 4, for the units.

    >>> clip_by_unit_norm(1.0).update(jnp.array([[3.0, 0.5], [4.0, 0.0]]), optax.EmptyState())[0]
    Array([[0.6, 0.5],
           [0.8, 0. ]], dtype=float32)
    """
    check_range("max_norm", max_norm, "[0, inf)")

    def clipped_leaf(g, bound):
        others = tuple(axis for axis in range(g.ndim) if axis != unit_axis % g.ndim)
        return shortened([g], bound, others if g.ndim > 1 else None)[0]

    return _stateless(lambda updates: trees.lift(clipped_leaf, updates, numbers=(max_norm,)))


def _parent(path: tuple[object, ...]) -> tuple[object, ...]:
    """The path to a leaf's layer; the content of a flax nnx variable, ``.value``, is no level of its own."""
    in_variable = [getattr(entry, "name", None) for entry in path[-1:]] == ["value"]
    return path[:-2] if in_variable else path[:-1]


def _stateless(rule: Callable[[Tree], Tree]) -> optax.GradientTransformationExtraArgs:
    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        return rule(updates), state

    return optax.GradientTransformationExtraArgs(init, update)
