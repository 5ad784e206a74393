"""The common form of a penalty: a rule for the value of one leaf and a rule for its prox, lifted to a tree.

Penalties that couple leaves (``l2_norm``, ``tie``) do not have this form.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import widen
from regopt._core.paths import NOT_NAMED
from regopt._core.types import LeafTerm, Mask, Number, NumberOrSchedule, NumberTree, Penalty, Tree

# the order of the penalties in the prox of a sum; _algebra.py lists the pairs for which this prox is known
FUSED, CONE, ENTRIES, GROUPS, WHOLE, SQUARE = range(6)


class _Leaf(NamedTuple):
    """A leaf of the parameters or of a gradient, with what the penalty says about it."""

    w: jax.Array
    on: bool  # whether it is penalised
    axes: tuple[int, ...] | None  # those within a group
    numbers: tuple[Number, ...]

    def wide(self, rule: Callable[..., jax.Array], *before: Number) -> jax.Array:
        """The rule in at least float32, with the numbers ``before`` those of the leaf."""
        return trees.lift_wide(_at(rule, self.axes), self.w, numbers=(*before, *self.numbers))

    def lifted(self, rule: Callable[..., jax.Array]) -> jax.Array:
        """The rule in at least float32, and its result in the dtype of the leaf."""
        return trees.lift(_at(rule, self.axes), self.w, numbers=self.numbers)


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
    axes_of: Callable[..., list[tuple[int, ...]]] | None = None,
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
        axes_of: ``(params, *, on)``, where ``on`` tells which leaves are penalised, to the axes of each leaf that run
            within a group, which the rules are given as ``axes``; None where the penalty has no groups.
        by_entry: for each of the numbers, whether it may be an array with one number for each entry of a leaf, or for
            each group where there are groups, whose axes then have length 1; by default all of them.

    Returns:
        The penalty.
    """
    names = trees.names_after(value_at, 1, len(numbers))
    made = _Leafwise(
        dict(zip(names, numbers, strict=True)),
        dict(zip(names, by_entry or [True] * len(names), strict=True)),
        mask,
        axes_of,
        value_at,
        prox_at,
        strength_max_at,
        partial(_minimum_of_norm, strength_max_at) if norm else linear_minimum_at,
    )
    return Penalty(
        made.value,
        made.prox,
        made.chosen,
        project=None if ball is None else partial(_project, ball, made.chosen),
        strength_max=None if strength_max_at is None else made.strength_max,
        stage=stage,
        linear_minimum=None if made.minimum_at is None else made.linear_minimum,
        terms=made.terms,
    )


class _Leafwise(NamedTuple):
    """The functions of a penalty, from its rules for one leaf; see ``leafwise``."""

    numbers: dict[str, NumberOrSchedule]  # by name, the strength first
    by_entry: dict[str, bool]
    mask: Mask
    axes_of: Callable[..., list[tuple[int, ...]]] | None
    value_at: Callable[..., jax.Array]
    prox_at: Callable[..., jax.Array]
    strength_max_at: Callable[..., jax.Array] | None
    minimum_at: Callable[..., jax.Array] | None

    @property
    def strength_name(self) -> str:
        return next(iter(self.numbers))

    def chosen(self, params: Tree) -> Tree:
        """The mask of the leaves that are penalised."""
        on, strength = trees.resolve_mask(self.mask, params), self.numbers[self.strength_name]
        if jax.tree_util.all_leaves([strength]):
            return on
        found = trees.by_leaf(strength, params, self.strength_name, default=NOT_NAMED)
        return jax.tree.map(lambda on, strength: on and strength is not NOT_NAMED, on, found)

    def leaves(self, params: Tree, numbers: Mapping[str, NumberOrSchedule]) -> Iterator[_Leaf]:
        """Each leaf with its numbers."""
        ws, defaults = jax.tree.leaves(params), {self.strength_name: NOT_NAMED}
        found = [jax.tree.leaves(trees.by_leaf(n, params, name, defaults.get(name))) for name, n in numbers.items()]
        chosen = jax.tree.leaves(self.chosen(params))
        axes = self.axes_of(params, on=chosen) if self.axes_of else [None] * len(ws)
        for w, on, within, *rest in zip(ws, chosen, axes, *found, strict=True):
            for name, number in zip(numbers, rest, strict=True):
                if on and name in self.by_entry:
                    trees.check_fits(name, number, w, within or (), self.by_entry[name])
            yield _Leaf(w, on, within, tuple(rest))

    def value(self, params: Tree) -> jax.Array:
        found = self.leaves(params, self.numbers)
        return trees.total([leaf.wide(self.value_at) for leaf in found if leaf.on])

    def prox(self, params: Tree, step: NumberTree) -> Tree:
        found = self.leaves(params, {"step": step, **self.numbers})
        parts = [leaf.lifted(self.prox_at) if leaf.on else leaf.w for leaf in found]
        return jax.tree.unflatten(jax.tree.structure(params), parts)

    def strength_max(self, grad_at_zero: Tree) -> jax.Array:
        assert self.strength_max_at is not None
        others = {name: number for name, number in self.numbers.items() if name != self.strength_name}
        found = [leaf.wide(self.strength_max_at) for leaf in self.leaves(grad_at_zero, others) if leaf.on]
        return reduce(lambda a, b: jnp.maximum(*widen(a, b)), found, jnp.zeros((), jnp.float32))

    def linear_minimum(self, grad: Tree, level: Number) -> jax.Array:
        assert self.minimum_at is not None
        found = self.leaves(grad, self.numbers)
        return trees.total(
            [leaf.wide(self.minimum_at, level) if leaf.on else unpenalised_minimum(leaf.w) for leaf in found]
        )

    def terms(self, params: Tree) -> list[tuple[LeafTerm, ...]]:
        found = self.leaves(params, {self.strength_name: self.numbers[self.strength_name]})
        return [(LeafTerm(leaf.numbers[0], leaf.axes),) if leaf.on else () for leaf in found]


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
    if strength.ndim:  # one for each entry or group: the norm is that of the products, its dual that of the quotients
        free = jnp.any((strength == 0) & (g != 0))
        dual = dual_norm(jnp.where(strength > 0, g / jnp.where(strength > 0, strength, 1), 0), *rest, **axes)
        excess = jnp.where(free, jnp.inf, jnp.maximum(dual - 1, 0))
        return jnp.where(excess > 0, -excess * level, 0)
    dual = dual_norm(g, *rest, **axes)
    reached = jnp.where(strength > 0, dual / jnp.where(strength > 0, strength, 1), jnp.inf)
    excess = jnp.where(dual == 0, 0, jnp.maximum(reached - 1, 0))
    return jnp.where(excess > 0, -excess * level, 0)


def unpenalised_minimum(g: jax.Array) -> jax.Array:
    """The least ``<g, u>`` over all u of a leaf without a penalty."""
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
