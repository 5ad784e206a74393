"""A projection as a penalty."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.types import NumberTree, Penalty, Tree
from regopt.solvers._solution import length, step_between

_OUTSIDE = 100  # roundings of its length by which a point of the set may differ from its projection


def indicator(projection: Callable[[Tree], Tree]) -> Penalty:
    """0 on the set of a projection, else infinite; the prox is the projection, whatever the step.

    With it ``minimize`` solves problems over any set whose projection is known.

    Args:
        projection: a function from a tree to the nearest point of a set, a tree like it; what it closes over may be
            traced.

    Returns:
        The penalty, with a prox; all leaves count as penalised.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_l1_ball
        >>> from regopt.solvers import indicator, minimize
        >>> target = jnp.array([0.75, 0.75, -0.1])
        >>> ball = indicator(lambda w: projection_l1_ball(w, 1.0))
        >>> minimize(lambda w: jnp.sum((w - target) ** 2), ball, jnp.zeros(3)).params.round(2)
        Array([0.5, 0.5, 0. ], dtype=float32)

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 1.2.
    """

    def value(params: Tree) -> jax.Array:
        distance, size = length(step_between(params, projection(params))), length(params)
        return jnp.where(distance <= _OUTSIDE * jnp.finfo(size.dtype).eps * (1 + size), 0, jnp.inf).astype(size.dtype)

    def prox(params: Tree, step: NumberTree) -> Tree:
        del step
        return projection(params)

    return Penalty(
        lambda params: jax.lax.stop_gradient(value(params)),
        prox,
        lambda params: jax.tree.map(lambda _: True, params),
    )
