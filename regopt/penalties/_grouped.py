"""Penalties on groups of parameters, which they set to zero as a whole.

A group lies within one leaf, except for ``l2_norm``, where all penalised leaves form one group, and for the groups over
several leaves of ``_joined.py``. The steps may differ by
coordinate, as those of an adaptive optimizer do. The proximal operator of a norm then solves one scalar equation for
each group.
"""

import math
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.checks import check_switch
from regopt._core.groups import Groups, check_alone
from regopt._core.numerics import check_number, check_range, direction_and_norm, like, widen
from regopt._core.placing import penalty_on_whole_arrays
from regopt._core.types import LeafTerm, Mask, Number, NumberOrSchedule, Penalty, ScheduledNumber
from regopt._core.units import Axis, UnitAxis, check_axis, check_unit_axis, group_axes
from regopt.penalties._joined import joined
from regopt.penalties._leafwise import GROUPS, WHOLE, leafwise, magnitude, soft_threshold
from regopt.penalties._norms import rows, shrink, shrink_by_coordinate, sparse_group_max
from regopt.penalties._scheduled import takes_schedules


@takes_schedules
def l2_norm(strength: ScheduledNumber = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength * |w|_2``: the Euclidean norm, without a square, of all penalised parameters together.

    Its proximal operator is ``max(1 - step strength / |w|_2, 0) w``. The result has exact zeros in all entries or in
    none.

    Args:
        strength: factor of the penalty, >= 0, in loss units per parameter unit; may be traced or scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete strength is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l2_norm
        >>> l2_norm(0.5).prox(jnp.array([3.0, 4.0]), 2.0), l2_norm(0.5).prox(jnp.array([0.3, 0.4]), 2.0)
        (Array([2.4, 3.2], dtype=float32), Array([0., 0.], dtype=float32))

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.5.1.
    """
    check_number("strength", strength, "[0, inf)")

    def chosen(params):
        places = [i for i, on in enumerate(jax.tree.leaves(trees.resolve_mask(mask, params))) if on]
        leaves = jax.tree.leaves(params)
        return places, widen(*(leaves[i] for i in places)) if places else (jnp.zeros(0),)

    def norm(params):
        return direction_and_norm(chosen(params)[1])[1]

    def value(params):
        length = norm(params)
        return like(strength, length) * length

    def prox(params, step):
        leaves, structure = jax.tree.flatten(params)
        places, wide = chosen(params)
        if jax.tree.structure(step) == jax.tree.structure(0) and jnp.ndim(step) == 0:
            after = shrink(wide, like(step, wide[0]) * like(strength, wide[0]))
        else:
            steps = jax.tree.leaves(trees.by_leaf(step, params, "step"))
            reaches = [like(steps[i], w) * like(strength, w) for i, w in zip(places, wide, strict=False)]
            after = shrink_by_coordinate(wide, reaches)
        for i, w in zip(places, after, strict=False):
            leaves[i] = w.astype(jnp.asarray(leaves[i]).dtype)
        return jax.tree.unflatten(structure, leaves)

    def terms(params):
        on = jax.tree.leaves(trees.resolve_mask(mask, params))
        pairs = zip(jax.tree.leaves(params), on, strict=True)
        return [(LeafTerm(cast(Number, strength), tuple(range(jnp.ndim(w)))),) if chosen else () for w, chosen in pairs]

    return Penalty(
        value,
        prox,
        lambda params: trees.resolve_mask(mask, params),
        strength_max=norm,
        stage=WHOLE,
        terms=terms,
    )


@takes_schedules
def group_lasso(
    strength: NumberOrSchedule = 1.0,
    *,
    axis: Axis = "incoming",
    unit_axis: UnitAxis = None,
    weighted: bool = False,
    mask: Mask = "weights",
    groups: Groups | None = None,
) -> Penalty:
    """``strength * sum_g |w_g|_2``: a sum of Euclidean norms over groups, which makes whole groups exactly zero.

    Its proximal operator is ``max(1 - step strength / |w_g|_2, 0) w_g`` for each group g.

    Args:
        strength: factor of the penalty, >= 0, in loss units per parameter unit; a number, a prefix tree of numbers, or
            an array with one for each group; may be traced or scheduled.
        axis: the axes of a leaf that run within a group, or a mapping from path patterns to them, of which a leaf that
            no pattern matches has "incoming"; static. "incoming" stands for all axes but that of the units, so that a
            group is the weights into one unit or channel (each entry of a vector is then a group). With None each leaf
            is one group.
        unit_axis: the axis of the units for "incoming", a number or a mapping from path patterns to numbers; static.
            None takes what the layer declares, as regopt's and equinox's do, and the last axis where nothing is
            declared, as in the kernels of flax and haiku.
        weighted: whether each norm is multiplied by the square root of the size of its group; static.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.
        groups: groups over several leaves, and no others: a mapping from path patterns to the axis of the groups in
            the leaves that match, or a sequence of such mappings; static. Index g along the axes of all leaves of a
            mapping belongs to group g. Instead of an axis, ``(axis, numbers)`` gives the group of each index, as where
            two query heads share a key. Where patterns have wildcards, only leaves for which these stand for the same
            text are joined, so that one mapping serves all layers. Every leaf that is named is penalised, biases too.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete strength is negative or NaN, or a penalised leaf lacks the axis when the penalty is used.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import group_lasso
        >>> group_lasso(0.5).prox(jnp.array([[3.0, 0.3], [4.0, 0.4]]), 2.0)
        Array([[2.4, 0. ],
               [3.2, 0. ]], dtype=float32)

        A hidden unit with its incoming weights, its bias and its outgoing weights, in the kernels of flax:

        >>> kernel, bias = jnp.array([[1.0, 0.2]]), jnp.array([2.0, 0.4])
        >>> params = {"kernel": kernel, "bias": bias, "next": bias[:, None]}
        >>> penalty = group_lasso(1.5, groups={"kernel": 1, "bias": 0, "next": 0})
        >>> penalty.prox(params, 1.0)["bias"]
        Array([1., 0.], dtype=float32)

    References:
        Yuan, M., & Lin, Y. (2006). Model selection and estimation in regression with grouped variables. Journal of the
        Royal Statistical Society B, 68(1), 49-67. Equation (2.1), with weights.

        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.5.4.
    """
    check_switch("weighted", weighted)
    check_range("strength", strength, "[0, inf)")
    check_unit_axis(unit_axis)
    check_axis(axis, unit_axis)
    if groups is not None:
        check_alone(axis=axis == "incoming", unit_axis=unit_axis is None, mask=isinstance(mask, str))
        return joined(groups, strength, 0.0, weighted=weighted)
    axes_of = partial(group_axes, axis=axis, unit_axis=unit_axis)

    def value_at(w, strength, *, axes):
        return strength * _weight(axes, weighted, w) * direction_and_norm((w,), axes)[1]

    def prox_at(w, step, strength, *, axes):
        return _shrink_groups(w, step * strength * _weight(axes, weighted, w), axes)

    def strength_max_at(g, *, axes):
        return jnp.max(direction_and_norm((g,), axes)[1], initial=0) / _weight(axes, weighted, g)

    return leafwise(
        (strength,), mask, value_at, prox_at, strength_max_at=strength_max_at, stage=GROUPS, axes_of=axes_of, norm=True
    )


@takes_schedules
def sparse_group_lasso(
    strength: NumberOrSchedule = 1.0,
    l1_ratio: NumberOrSchedule = 0.5,
    *,
    axis: Axis = "incoming",
    unit_axis: UnitAxis = None,
    weighted: bool = False,
    mask: Mask = "weights",
    groups: Groups | None = None,
) -> Penalty:
    """``strength * (l1_ratio |w|_1 + (1 - l1_ratio) sum_g |w_g|_2)``: zero groups, and zeros within the other groups.

    Its proximal operator is that of ``l1`` followed by that of ``group_lasso``; this composition is exact.

    Args:
        strength: factor of the penalty, >= 0, in loss units per parameter unit; a number or a prefix tree of numbers;
            may be traced or scheduled.
        l1_ratio: share of the L1 norm, in [0, 1], dimensionless; 1 is ``l1`` and 0 is ``group_lasso``; may be traced or
            scheduled.
        axis: the axes of a leaf that run within a group, as for ``group_lasso``; static.
        unit_axis: the axis of the units, as for ``group_lasso``; static.
        weighted: whether each norm is multiplied by the square root of the size of its group; static.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.
        groups: groups over several leaves, and no others, as for ``group_lasso``; static.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete number lies outside its range, or a penalised leaf lacks the axis when the penalty is
            used.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import sparse_group_lasso
        >>> sparse_group_lasso(10.0, 0.5).prox(jnp.array([[11.0, 0.3], [13.0, 0.9]]), 1.0)
        Array([[3., 0.],
               [4., 0.]], dtype=float32)

    References:
        Simon, N., Friedman, J., Hastie, T., & Tibshirani, R. (2013). A sparse-group lasso. Journal of Computational and
        Graphical Statistics, 22(2), 231-245. Section 2, with weights.

        Yu, Y.-L. (2013). On decomposing the proximal map. NeurIPS. Section 4, for the order of the two proximal
        operators.
    """
    check_switch("weighted", weighted)
    check_range("strength", strength, "[0, inf)")
    check_range("l1_ratio", l1_ratio, "[0, 1]")
    check_unit_axis(unit_axis)
    check_axis(axis, unit_axis)
    if groups is not None:
        check_alone(axis=axis == "incoming", unit_axis=unit_axis is None, mask=isinstance(mask, str))
        return joined(groups, strength, l1_ratio, weighted=weighted)
    axes_of = partial(group_axes, axis=axis, unit_axis=unit_axis)

    def value_at(w, strength, l1_ratio, *, axes):
        norms = _weight(axes, weighted, w) * direction_and_norm((w,), axes)[1]
        sizes = jnp.sum(magnitude(w), axis=axes, keepdims=True)
        return strength * (l1_ratio * sizes + (1 - l1_ratio) * norms)

    def prox_at(w, step, strength, l1_ratio, *, axes):
        reach = step * strength
        kept = soft_threshold(w, reach * l1_ratio)
        reach = reach * (1 - l1_ratio) * _weight(axes, weighted, w)
        return _shrink_groups(kept, reach, axes)

    def strength_max_at(g, l1_ratio, *, axes):
        return sparse_group_max(rows(g, axes), l1_ratio, (1 - l1_ratio) * _weight(axes, weighted, g))

    return penalty_on_whole_arrays(
        leafwise(
            (strength, l1_ratio),
            mask,
            value_at,
            prox_at,
            strength_max_at=strength_max_at,
            axes_of=axes_of,
            by_entry=(True, False),
            norm=True,
        ),
        "strength_max",
        "linear_minimum",
    )


def _shrink_groups(w: jax.Array, reach: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    if math.prod(w.shape[each] for each in axes) == 1:
        return soft_threshold(w, reach)
    if reach.ndim == 0:
        return shrink((w,), reach, axes)[0]
    return shrink_by_coordinate((w,), (reach,), axes)[0]


def _weight(axes: tuple[int, ...], weighted: bool, w: jax.Array) -> float:
    return math.sqrt(math.prod(w.shape[each] for each in axes)) if weighted else 1.0
