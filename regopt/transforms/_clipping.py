"""Clipping: a gradient that is too long is shortened; any other passes unchanged, bit for bit.

A bound applies to each entry, unit or layer, or to the whole tree. Norms neither overflow nor underflow, because the
largest magnitude is factored out first. Entries that are not finite stay so; ``guard`` drops such gradients.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.groups import Groups, check_alone, checked_groups, shortened_groups
from regopt._core.nearest import shortened
from regopt._core.numerics import check_number, check_range
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import NumberOrSchedule, ScheduledNumber, Tree
from regopt._core.units import UnitAxis, check_unit_axis, incoming_axes


@takes_schedules()
def clip(max_delta: NumberOrSchedule) -> optax.GradientTransformationExtraArgs:
    """``g_i <- min(max(g_i, -max_delta), max_delta)`` for each entry; the direction of the gradient may change.

    Args:
        max_delta: bound of the magnitude, >= 0, in gradient units; a number or a prefix tree of numbers; may be traced
            or scheduled.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Raises:
        ValueError: a concrete bound is negative, infinite or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from regopt.transforms import clip
        >>> clip(1.0).update(jnp.array([0.5, -3.0]), optax.EmptyState())[0]
        Array([ 0.5, -1. ], dtype=float32)

    References:
        Mikolov, T. (2012). Statistical language models based on neural networks. PhD thesis, Brno University of
        Technology. Section 3.2.2.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 10.11.1.
    """
    check_range("max_delta", max_delta, "[0, inf)")

    def clipped(updates):
        return trees.lift(lambda g, bound: jnp.clip(g, -bound, bound), updates, numbers={"max_delta": max_delta})

    return _stateless(clipped)


@takes_schedules()
def clip_by_global_norm(max_norm: ScheduledNumber) -> optax.GradientTransformationExtraArgs:
    """``g <- g max_norm / |g|`` where ``|g| > max_norm``, with the norm of the whole tree; the direction is kept.

    Only a gradient that is too long is scaled. To scale every gradient would be normalised gradient descent, which does
    not converge with a constant learning rate, because its steps do not shrink near a minimum.

    Args:
        max_norm: bound of the norm, >= 0, in gradient units; may be traced or scheduled.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Raises:
        ValueError: a concrete bound is negative, infinite or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from regopt.transforms import clip_by_global_norm
        >>> clip_by_global_norm(1.0).update(jnp.array([3e30, -4e30]), optax.EmptyState())[0]
        Array([ 0.6, -0.8], dtype=float32)

    References:
        Pascanu, R., Mikolov, T., & Bengio, Y. (2013). On the difficulty of training recurrent neural networks. ICML.
        Algorithm 1.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations 10.48 and 10.49.
    """
    check_number("max_norm", max_norm, "[0, inf)")

    def clipped(updates):
        leaves, structure = jax.tree.flatten(updates)
        return structure.unflatten(shortened(leaves, max_norm))

    return _stateless(clipped)


@takes_schedules()
def clip_by_layer_norm(max_norm: ScheduledNumber) -> optax.GradientTransformationExtraArgs:
    """``g_l <- g_l max_norm / |g_l|`` where ``|g_l| > max_norm``, for each layer separately.

    A layer is the set of leaves with the same parent, such as the kernel and the bias of one module. In a flat dict or
    list of arrays that is the whole tree.

    Args:
        max_norm: bound of the norm of one layer, >= 0, in gradient units; may be traced or scheduled.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Raises:
        ValueError: a concrete bound is negative, infinite or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from regopt.transforms import clip_by_layer_norm
        >>> first = {"kernel": jnp.array([[3.0]]), "bias": jnp.array([4.0])}
        >>> grads = {"first": first, "last": {"bias": jnp.array([0.5])}}
        >>> clip_by_layer_norm(1.0).update(grads, optax.EmptyState())[0]["first"]
        {'bias': Array([0.8], dtype=float32), 'kernel': Array([[0.6]], dtype=float32)}

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations 10.48 and 10.49, applied
        to each layer.
    """
    check_number("max_norm", max_norm, "[0, inf)")

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


@takes_schedules()
def clip_by_unit_norm(
    max_norm: NumberOrSchedule, *, unit_axis: UnitAxis = None, groups: Groups | None = None
) -> optax.GradientTransformationExtraArgs:
    """``g_u <- g_u max_norm / |g_u|`` where ``|g_u| > max_norm``, for the incoming weights of each unit separately.

    A leaf of one dimension or none (biases, normalisation scales) counts as one unit, as in adaptive gradient clipping.

    Args:
        max_norm: bound of the norm of one unit, >= 0, in gradient units; a number or a prefix tree of numbers; may be
            traced or scheduled.
        unit_axis: the axis of the units; the norm is over all others. A number or a mapping from path patterns to it;
            None takes what the layer declares, as regopt's and equinox's do, and the last axis where nothing is
            declared, as in the kernels of flax and haiku; static.
        groups: groups over several leaves, and no others: a mapping from path patterns to the axis of the groups in
            the leaves that match, or a sequence of such mappings, as for ``penalties.group_lasso``; static. A group is
            then one unit, such as all weights into and out of a hidden unit. This takes the place of ``unit_axis``, and
            other leaves are not clipped.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Raises:
        ValueError: a concrete bound is negative, infinite or NaN, a leaf lacks the axis of the units, or ``groups``
            does not fit or is given beside ``unit_axis``.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from regopt.transforms import clip_by_unit_norm
        >>> clip_by_unit_norm(1.0).update(jnp.array([[3.0, 0.5], [4.0, 0.0]]), optax.EmptyState())[0]
        Array([[0.6, 0.5],
               [0.8, 0. ]], dtype=float32)

    References:
        Brock, A., De, S., Smith, S. L., & Simonyan, K. (2021). High-performance large-scale image recognition without
        normalization. ICML. Section 4, for the units.
    """
    check_unit_axis(unit_axis)
    check_range("max_norm", max_norm, "[0, inf)")
    if groups is not None:
        check_alone(unit_axis=unit_axis is None)
        named = checked_groups(groups)
        return _stateless(lambda updates: shortened_groups(updates, named, max_norm, "max_norm"))

    def clipped(updates):
        bounds = jax.tree.leaves(trees.by_leaf(max_norm, updates, "max_norm"))
        leaves, structure = jax.tree.flatten(updates)
        parts = zip(leaves, bounds, incoming_axes(updates, unit_axis), strict=True)
        return structure.unflatten(
            shortened([g], bound, axes if jnp.ndim(g) > 1 else None)[0] for g, bound, axes in parts
        )

    return _stateless(clipped)


def _parent(path: tuple[object, ...]) -> tuple[object, ...]:
    """The path of a leaf's layer; ``.value``, the content of a flax nnx variable, does not count as a level."""
    in_variable = [getattr(entry, "name", None) for entry in path[-1:]] == ["value"]
    return path[:-2] if in_variable else path[:-1]


def _stateless(rule: Callable[[Tree], Tree]) -> optax.GradientTransformationExtraArgs:
    def init(params):
        trees.refuse_complex(params)
        return optax.EmptyState()

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        return rule(updates), state

    return transformation(init, update, optax.EmptyState)
