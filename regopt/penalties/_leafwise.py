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
    norm: bool = False,
    linear_minimum_at: Callable[..., jax.Array] | None = None,
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
        norm: whether the value of a leaf is the strength times a norm; then ``strength_max_at`` is its dual norm.
        linear_minimum_at: ``(gradient, level, *numbers) -> scalar`` where the penalty is convex and no norm; None where
            there is none.

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

    def dual_minimum_at(g, level, strength, *rest):
        assert strength_max_at is not None
        excess = jnp.max(_excess(strength_max_at(g, *rest), strength))
        return jnp.where(excess > 0, -excess * level, 0)

    minimum_at = dual_minimum_at if norm else linear_minimum_at

    def linear_minimum(grad, level):
        assert minimum_at is not None
        minima = [
            trees.lift_wide(minimum_at if on else _unpenalised_minimum, g, numbers=(level, *rest))
            for g, on, *rest in leaves(grad, *numbers)
        ]
        return trees.total(minima)

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
        linear_minimum=None if minimum_at is None else linear_minimum,
    )


def _excess(dual_norm: jax.Array, strength: jax.Array) -> jax.Array:
    """By how much a gradient lies outside the dual ball of ``strength * norm``, as a share of its radius; >= 0."""
    reached = jnp.where(strength > 0, dual_norm / jnp.where(strength > 0, strength, 1), jnp.inf)
    return jnp.where(dual_norm == 0, 0, jnp.maximum(reached - 1, 0))


def _unpenalised_minimum(g: jax.Array, *_: jax.Array) -> jax.Array:
    return jnp.where(jnp.any(g != 0), -jnp.inf, 0).astype(g.dtype)


def magnitude(w: jax.Array) -> jax.Array:
    """``|w|`` with the subgradient 0 at 0."""
    return jnp.where(w == 0, 0, jnp.abs(w))


def soft_threshold(w: jax.Array, reach: jax.Array) -> jax.Array:
    """``sign(w) max(|w| - reach, 0)``: exact zeros, and w itself for a reach of 0."""
    return w - jax.lax.clamp(*jnp.broadcast_arrays(-reach, w, reach))


def largest(g: jax.Array) -> jax.Array:
    """``max |g|``, 0 for an empty array; shape ()."""
    return jnp.max(jnp.abs(g), initial=0)
