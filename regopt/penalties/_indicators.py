"""Constraints on single parameters as penalties: 0 inside the set, infinite outside; the prox is the projection."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core import trees
from regopt._core.numerics import check_range, like, widen
from regopt._core.trees import bounds_by_leaf, check_order
from regopt._core.types import Mask, NumberOrSchedule, Penalty
from regopt.penalties._leafwise import CONE
from regopt.penalties._scheduled import takes_schedules


@takes_schedules
def box(lower: NumberOrSchedule = -1.0, upper: NumberOrSchedule = 1.0, *, mask: Mask = "weights") -> Penalty:
    """0 where ``lower <= w <= upper`` in every entry, else infinite; its prox is ``clip(w, lower, upper)``.

    The gradient of the value is 0 everywhere. The bounds are rounded to the dtype of each leaf, so that a projected
    point lies inside.

    Args:
        lower: lower bound, in [-inf, inf), in parameter units; a number or a prefix tree of numbers; may be traced or
            scheduled.
        upper: upper bound, at least ``lower`` and in (-inf, inf], in parameter units; a number or a prefix tree of
            numbers; may be traced or scheduled.
        mask: which leaves are constrained; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete bound is NaN, or concrete bounds are in the wrong order.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import box
        >>> penalty = box(-0.5, 1.0)
        >>> penalty.value(jnp.array([0.0, 2.0])), penalty.prox(jnp.array([-2.0, 0.25, 2.0]), 1.0)
        (Array(inf, dtype=float32), Array([-0.5 ,  0.25,  1.  ], dtype=float32))

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.2 (polyhedra).
    """
    check_range("lower", lower, "[-inf, inf)")
    check_range("upper", upper, "(-inf, inf]")
    check_order(lower, upper)

    def by_leaf(params):
        return trees.resolve_mask(mask, params), *bounds_by_leaf(lower, upper, params)

    def value(params):
        def at_leaf(w, chosen, lower, upper):
            (wide,) = widen(w)
            w = w if jnp.issubdtype(w.dtype, jnp.inexact) else wide  # an integer has no infinite bound
            outside = jnp.any((w < like(lower, w)) | (w > like(upper, w))) & chosen
            return jnp.where(outside, jnp.inf, 0).astype(wide.dtype)

        return trees.total(jax.tree.map(at_leaf, params, *by_leaf(params)))

    def prox(params, step):
        del step

        def at_leaf(w, chosen, lower, upper):
            return jnp.clip(w, like(lower, w), like(upper, w)) if chosen else w

        return jax.tree.map(at_leaf, params, *by_leaf(params))

    def linear_minimum(grad, level):
        del level

        def at_leaf(g, chosen, lower, upper):
            g = widen(g)[0]
            low, high = (like(lower, g), like(upper, g)) if chosen else (-jnp.inf, jnp.inf)
            return jnp.sum(jnp.where(g == 0, 0, g * jnp.where(g > 0, low, high)))

        return trees.total(jax.tree.map(at_leaf, grad, *by_leaf(grad)))

    bounds = [b for b in jax.tree.leaves((lower, upper)) if not (callable(b) or isinstance(b, Tracer))]
    unbounded = any(bool(np.any(np.isinf(bound))) for bound in bounds)  # then a linear function has no minimum
    return Penalty(
        value,
        prox,
        lambda params: trees.resolve_mask(mask, params),
        linear_minimum=None if unbounded else linear_minimum,
    )


def non_negative(*, mask: Mask = "weights") -> Penalty:
    """0 where every entry is >= 0, else infinite; its prox is ``max(w, 0)``.

    Args:
        mask: which leaves are constrained; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import non_negative
        >>> non_negative().prox(jnp.array([-2.0, 0.25]), 1.0)
        Array([0.  , 0.25], dtype=float32)

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.3.
    """
    return box(0.0, float("inf"), mask=mask)._replace(stage=CONE)
