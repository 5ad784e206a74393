"""The common form of a penalty: a rule for the value of one leaf and a rule for its prox, lifted to a tree.

Penalties that couple leaves (``l2_norm``, ``tie``) do not have this form.
"""

from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import widen
from regopt._core.paths import NOT_NAMED
from regopt._core.types import LeafTerm, Mask, Number, NumberOrSchedule, Penalty, Tree

# the order of the penalties in the prox of a sum; _algebra.py lists the pairs for which this prox is known
FUSED, CONE, ENTRIES, GROUPS, WHOLE, SQUARE = range(6)


def leafwise(
    numbers: tuple[NumberOrSchedule, ...],
    mask: Mask,
    value_at: Callable[..., jax.Array],
    prox_at: Callable[..., jax.Array],
    *,
    strength_max_at: Callable[..., jax.Array] | None = None,
    ball: Callable[[list[jax.Array], Number], list[jax.Array]] | None = None,
    stage: int | None = None,
    norm: bool = False,
    linear_minimum_at: Callable[..., jax.Array] | None = None,
    axes_of: Callable[[Tree], list[tuple[int, ...]]] | None = None,
    by_entry: tuple[bool, ...] | None = None,
) -> Penalty:
    """The penalty from its rules for one leaf, computed in at least float32.

    Args:
        numbers: the strength, followed by the other numbers; each a number or numbers by layer. Of a mapping from path
            patterns to strengths, a leaf that no pattern matches is not penalised.
        mask: which leaves are penalised.
        value_at: ``(w, *numbers) -> array``, to be summed.
        prox_at: ``(w, step, *numbers) -> array`` shaped as w.
        strength_max_at: ``(gradient, *numbers without the strength) -> scalar``; None where there is none.
        ball: ``(leaves, radius) -> leaves``, the projection of all penalised leaves together; None where there is none.
        stage: the position of the prox in the prox of a sum; None where the prox of a sum is not known.
        norm: whether the value of a leaf is the strength times a norm; then ``strength_max_at`` is its dual norm.
        linear_minimum_at: ``(gradient, level, *numbers) -> scalar`` where the penalty is convex and no norm; None where
            there is none.
        axes_of: the axes of each leaf that run within a group, which the rules are given as ``axes``; None where the
            penalty has no groups.
        by_entry: for each of the numbers, whether it may be an array with one number for each entry of a leaf, or for
            each group where there are groups, whose axes then have length 1; by default all of them.

    Returns:
        The penalty.
    """
    names = trees.names_after(value_at, 1, len(numbers))

    def chosen(params):
        on = trees.resolve_mask(mask, params)
        if jax.tree_util.all_leaves(numbers[:1]):
            return on
        found = trees.by_leaf(numbers[0], params, names[0], default=NOT_NAMED)
        return jax.tree.map(lambda on, strength: on and strength is not NOT_NAMED, on, found)

    arrays = dict(zip(names, by_entry or [True] * len(names), strict=True))

    def leaves(params, **numbers):
        # each leaf, whether it is penalised, the axes of its groups, and its numbers
        defaults, ws = {names[0]: NOT_NAMED}, jax.tree.leaves(params)
        found = [jax.tree.leaves(trees.by_leaf(n, params, name, defaults.get(name))) for name, n in numbers.items()]
        for w, on, within, *rest in zip(
            ws, jax.tree.leaves(chosen(params)), axes_of(params) if axes_of else [None] * len(ws), *found, strict=True
        ):
            for name, number in zip(numbers, rest, strict=True):
                if on and name in arrays:
                    trees.check_fits(name, number, w, within or (), arrays[name])
            yield w, on, within, rest

    def terms(params):
        found = leaves(params, **{names[0]: numbers[0]})
        return [(LeafTerm(rest[0], within),) if on else () for _, on, within, rest in found]

    by_name = dict(zip(names, numbers, strict=True))

    def value(params):
        found = leaves(params, **by_name)
        return trees.total(
            [trees.lift_wide(_at(value_at, axes), w, numbers=tuple(rest)) for w, on, axes, rest in found if on]
        )

    def prox(params, step):
        found = leaves(params, step=step, **by_name)
        parts = [trees.lift(_at(prox_at, axes), w, numbers=tuple(rest)) if on else w for w, on, axes, rest in found]
        return jax.tree.unflatten(jax.tree.structure(params), parts)

    def strength_max(grad_at_zero):
        assert strength_max_at is not None
        found = [
            trees.lift_wide(_at(strength_max_at, axes), g, numbers=tuple(rest))
            for g, on, axes, rest in leaves(grad_at_zero, **{name: by_name[name] for name in names[1:]})
            if on
        ]
        return reduce(lambda a, b: jnp.maximum(*widen(a, b)), found, jnp.zeros((), jnp.float32))

    minimum_at = partial(_minimum_of_norm, strength_max_at) if norm else linear_minimum_at

    def linear_minimum(grad, level):
        assert minimum_at is not None
        minima = [
            trees.lift_wide(_at(minimum_at, axes), g, numbers=(level, *rest)) if on else _unpenalised_minimum(g)
            for g, on, axes, rest in leaves(grad, **by_name)
        ]
        return trees.total(minima)

    return Penalty(
        value,
        prox,
        chosen,
        project=None if ball is None else partial(_project, ball, chosen),
        strength_max=None if strength_max_at is None else strength_max,
        stage=stage,
        linear_minimum=None if minimum_at is None else linear_minimum,
        terms=terms,
    )


def _minimum_of_norm(
    dual_norm: Callable[..., jax.Array] | None,
    g: jax.Array,
    level: jax.Array,
    strength: jax.Array,
    *rest: jax.Array,
    **axes: tuple[int, ...],
) -> jax.Array:
    """The least ``<g, u> + strength * norm(u)`` where the second term is at most the level."""
    assert dual_norm is not None
    dual = dual_norm(g, *rest, **axes)
    reached = jnp.where(strength > 0, dual / jnp.where(strength > 0, strength, 1), jnp.inf)
    excess = jnp.max(jnp.where(dual == 0, 0, jnp.maximum(reached - 1, 0)))
    return jnp.where(excess > 0, -excess * level, 0)


def _unpenalised_minimum(g: jax.Array) -> jax.Array:
    return jnp.where(jnp.any(g != 0), -jnp.inf, 0)


def _at(rule: Callable[..., jax.Array], axes: tuple[int, ...] | None) -> Callable[..., jax.Array]:
    """The rule with the axes of the groups of a leaf, where there are groups."""
    return rule if axes is None else partial(rule, axes=axes)


def _project(
    ball: Callable[[list[jax.Array], Number], list[jax.Array]],
    chosen: Callable[[Tree], Tree],
    params: Tree,
    radius: Number,
) -> Tree:
    """The chosen leaves projected together."""
    arrays, structure = jax.tree.flatten(params)
    places = [place for place, on in enumerate(jax.tree.leaves(chosen(params))) if on]
    for place, w in zip(places, ball([arrays[i] for i in places], radius), strict=True):
        arrays[place] = w
    return jax.tree.unflatten(structure, arrays)


def magnitude(w: jax.Array) -> jax.Array:
    """``|w|`` with the subgradient 0 at 0."""
    return jnp.where(w == 0, 0, jnp.abs(w))


def soft_threshold(w: jax.Array, reach: jax.Array) -> jax.Array:
    """``sign(w) max(|w| - reach, 0)``: exact zeros, and w itself for a reach of 0."""
    return w - jax.lax.clamp(*jnp.broadcast_arrays(-reach, w, reach))


def largest(g: jax.Array) -> jax.Array:
    """``max |g|``, 0 for an empty array; shape ()."""
    return jnp.max(jnp.abs(g), initial=0)
