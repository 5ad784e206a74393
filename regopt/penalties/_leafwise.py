"""The common form of a penalty: a rule for the value of one leaf and a rule for its prox, lifted to a tree.

Penalties that couple leaves (``l2_norm``, ``tie``) do not have this form.
"""

from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import widen
from regopt._core.paths import NOT_NAMED
from regopt._core.types import LeafTerm, Mask, Number, NumberTree, Penalty

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
    axes_of: Callable[[jax.Array], tuple[int, ...]] | None = None,
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
        axes_of: the axes of a leaf that run within a group; None where the penalty has no groups.
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
        defaults = {names[0]: NOT_NAMED}
        found = [jax.tree.leaves(trees.by_leaf(n, params, name, defaults.get(name))) for name, n in numbers.items()]
        for name, entries in zip(numbers, found, strict=True):
            for w, entry in zip(jax.tree.leaves(params), entries, strict=True):
                if name in arrays and entry is not NOT_NAMED:
                    trees.check_fits(name, entry, w, axes_of, arrays[name])
        return zip(jax.tree.leaves(params), jax.tree.leaves(chosen(params)), *found, strict=True)

    def terms(params):
        found = leaves(params, **{names[0]: numbers[0]})
        return [(LeafTerm(strength, axes_of(w) if axes_of else None),) if on else () for w, on, strength in found]

    by_name = dict(zip(names, numbers, strict=True))

    def value(params):
        parts = [trees.lift_wide(value_at, w, numbers=tuple(rest)) for w, on, *rest in leaves(params, **by_name) if on]
        return trees.total(parts)

    def prox(params, step):
        found = leaves(params, step=step, **by_name)
        parts = [trees.lift(prox_at, w, numbers=tuple(rest)) if on else w for w, on, *rest in found]
        return jax.tree.unflatten(jax.tree.structure(params), parts)

    def strength_max(grad_at_zero):
        assert strength_max_at is not None
        others = {name: by_name[name] for name in names[1:]}
        found = [
            trees.lift_wide(strength_max_at, g, numbers=tuple(rest))
            for g, on, *rest in leaves(grad_at_zero, **others)
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
        chosen,
        project=None if ball is None else project,
        strength_max=None if strength_max_at is None else strength_max,
        stage=stage,
        terms=terms,
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
