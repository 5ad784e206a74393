"""The common form of a penalty: a rule for the value of one leaf and a rule for its prox, lifted to a tree.

Penalties that couple leaves (``l2_norm``, ``tie``) do not have this form.
"""

from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import widen
from regopt._core.types import Mask, Number, NumberTree, Penalty

# the order of the penalties in the prox of a sum; _algebra.py lists the pairs for which this prox is known
FUSED, CONE, ENTRIES, GROUPS, WHOLE, SQUARE = range(6)


def leafwise(
    numbers: tuple[NumberTree, ...],
    mask: Mask,
    value_at: Callable[..., jax.Array],
    prox_at: Callable[..., jax.Array],
    *,
    strength_max_at: Callable[..., jax.Array] | None = None,
    ball: Callable[[list[jax.Array], Number], list[jax.Array]] | None = None,
    stage: int | None = None,
) -> Penalty:
    """The penalty from its rules for one leaf, computed in at least float32.

    Args:
        numbers: the strength, followed by the other numbers; each a number or a prefix tree of numbers.
        mask: which leaves are penalised.
        value_at: ``(w, *numbers) -> array``, to be summed.
        prox_at: ``(w, step, *numbers) -> array`` shaped as w.
        strength_max_at: ``(gradient, *numbers without the strength) -> scalar``; None where there is none.
        ball: ``(leaves, radius) -> leaves``, the projection of all penalised leaves together; None where there is none.
        stage: the position of the prox in the prox of a sum; None where the prox of a sum is not known.

    Returns:
        The penalty.
    """

    def leaves(params, *numbers):
        chosen = jax.tree.leaves(trees.resolve_mask(mask, params))
        by_leaf = [jax.tree.leaves(trees.by_leaf(number, params)) for number in numbers]
        return zip(jax.tree.leaves(params), chosen, *by_leaf, strict=True)

    def value(params):
        parts = [trees.lift_wide(value_at, w, numbers=tuple(rest)) for w, on, *rest in leaves(params, *numbers) if on]
        return trees.total(parts)

    def prox(params, step):
        parts = [
            trees.lift(prox_at, w, numbers=tuple(rest)) if on else w for w, on, *rest in leaves(params, step, *numbers)
        ]
        return jax.tree.unflatten(jax.tree.structure(params), parts)

    def strength_max(grad_at_zero):
        assert strength_max_at is not None
        found = [
            trees.lift_wide(strength_max_at, g, numbers=tuple(rest))
            for g, on, *rest in leaves(grad_at_zero, *numbers[1:])
            if on
        ]
        return reduce(lambda a, b: jnp.maximum(*widen(a, b)), found, jnp.zeros((), jnp.float32))

    def project(params, radius):
        assert ball is not None
        arrays, structure = jax.tree.flatten(params)
        places = [place for place, (_, on) in enumerate(leaves(params)) if on]
        for place, w in zip(places, ball([arrays[i] for i in places], radius), strict=True):
            arrays[place] = w
        return jax.tree.unflatten(structure, arrays)

    return Penalty(
        value,
        prox,
        lambda params: trees.resolve_mask(mask, params),
        project=None if ball is None else project,
        strength_max=None if strength_max_at is None else strength_max,
        stage=stage,
    )


def magnitude(w: jax.Array) -> jax.Array:
    """``|w|`` with the subgradient 0 at 0."""
    return jnp.where(w == 0, 0, jnp.abs(w))


def soft_threshold(w: jax.Array, reach: jax.Array) -> jax.Array:
    """``sign(w) max(|w| - reach, 0)``: exact zeros, and w itself for a reach of 0."""
    return w - jax.lax.clamp(*jnp.broadcast_arrays(-reach, w, reach))


def largest(g: jax.Array) -> jax.Array:
    """``max |g|``, 0 for an empty array; shape ()."""
    return jnp.max(jnp.abs(g), initial=0)
