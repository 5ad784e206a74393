"""The sparse group lasso with groups over several leaves, such as an attention head's q, k, v and o.

``regopt._core.groups`` lays out the members of a family of groups as one matrix with a row for each group, so that
values and proximal operators are those of groups within one array.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core import paths, trees
from regopt._core.groups import Family, Groups, Place, checked_groups, families, joined_leaves, number_of, wide_members
from regopt._core.numerics import direction_and_norm, like, widen
from regopt._core.placing import penalty_on_whole_arrays
from regopt._core.types import LeafTerm, Number, NumberOrSchedule, Penalty, Tree
from regopt.penalties._leafwise import magnitude, soft_threshold, unpenalised_minimum
from regopt.penalties._norms import shrink, shrink_by_coordinate, sparse_group_max


class _Joined(NamedTuple):
    """``strength * sum_g (l1_ratio |w_g|_1 + (1 - l1_ratio) weight_g |w_g|_2)`` over groups of several leaves."""

    groups: tuple[Mapping[str, Place], ...]
    strength: NumberOrSchedule
    l1_ratio: NumberOrSchedule
    weighted: bool

    def value(self, params: Tree) -> jax.Array:
        arrays = jax.tree.leaves(params)
        terms = []
        for family in families(self.groups, params):
            matrix = family.matrix(wide_members(family, arrays))
            strength, ratio = self._numbers(family, params, matrix)
            norms = self._weights(family, matrix) * direction_and_norm((matrix,), (1,))[1]
            sizes = jnp.sum(magnitude(matrix), axis=1, keepdims=True)
            terms.append(strength * (ratio * sizes + (1 - ratio) * norms))
        return trees.total(terms)

    def prox(self, params: Tree, step: Tree) -> Tree:
        arrays, structure = jax.tree.flatten(params)
        single = jax.tree.structure(step) == jax.tree.structure(0) and jnp.ndim(step) == 0
        steps = None if single else jax.tree.leaves(trees.by_leaf(step, params, "step"))
        for family in families(self.groups, params):
            wide = wide_members(family, arrays)
            matrix = family.matrix(wide)
            strength, ratio = self._numbers(family, params, matrix)
            if steps is None:
                reach = like(step, matrix) * strength
            else:
                given = {i: jnp.broadcast_to(like(steps[i], w), w.shape) for i, w in wide.items()}
                reach = family.matrix(given) * strength
            matrix = soft_threshold(matrix, reach * ratio)
            reach = reach * (1 - ratio) * self._weights(family, matrix)
            if steps is None:
                after = shrink((matrix,), jnp.broadcast_to(reach, (len(matrix), 1)), (1,))[0]
            else:
                after = shrink_by_coordinate((matrix,), (reach,), (1,))[0]
            for place, w in family.split(after, wide):
                arrays[place] = w.astype(jnp.asarray(arrays[place]).dtype)
        return structure.unflatten(arrays)

    def mask(self, params: Tree) -> Tree:
        return joined_leaves(self.groups, params)

    def strength_max(self, grad_at_zero: Tree) -> jax.Array:
        arrays, found = jax.tree.leaves(grad_at_zero), [jnp.zeros((), jnp.float32)]
        for family in families(self.groups, grad_at_zero):
            matrix = family.matrix(wide_members(family, arrays))
            _, ratio = self._numbers(family, grad_at_zero, matrix)
            found.append(sparse_group_max(matrix, ratio, (1 - ratio) * self._weights(family, matrix)))
        return jnp.max(jnp.stack(widen(*found)))

    def linear_minimum(self, grad: Tree, level: Number) -> jax.Array:
        arrays, excess = jax.tree.leaves(grad), [jnp.zeros((), jnp.float32)]
        for family in families(self.groups, grad):
            matrix = family.matrix(wide_members(family, arrays))
            strength, ratio = self._numbers(family, grad, matrix)
            free = jnp.any((strength == 0) & (matrix != 0))
            quotients = jnp.where(strength > 0, matrix / jnp.where(strength > 0, strength, 1), 0)
            dual = sparse_group_max(quotients, ratio, (1 - ratio) * self._weights(family, matrix))
            excess.append(jnp.where(free, jnp.inf, jnp.maximum(dual - 1, 0)))
        largest = jnp.max(jnp.stack(widen(*excess)))
        others = [g for g, on in zip(arrays, jax.tree.leaves(self.mask(grad)), strict=True) if not on]
        bound = jnp.where(largest > 0, -largest * level, 0)
        return trees.total([bound, *map(unpenalised_minimum, others)])

    def terms(self, params: Tree) -> list[tuple[LeafTerm, ...]]:
        leaves, names = jax.tree.leaves(params), paths.leaf_paths(params)
        found: list[tuple[LeafTerm, ...]] = [()] * len(leaves)
        strengths = jax.tree.leaves(trees.by_leaf(self.strength, params, "strength", paths.NOT_NAMED))
        for family in families(self.groups, params):
            for member in family.members:
                others = tuple(names[other.leaf] for other in family.members if other.leaf != member.leaf)
                within = tuple(axis for axis in range(jnp.ndim(leaves[member.leaf])) if axis != member.axis)
                numbered = len(member.table) < len(member.place)
                found[member.leaf] = (LeafTerm(strengths[member.leaf], within, others, numbered),)
        return found

    def _weights(self, family: Family, matrix: jax.Array) -> jax.Array:
        return like(np.sqrt(family.sizes) if self.weighted else np.ones_like(family.sizes), matrix)

    def _numbers(self, family: Family, params: Tree, matrix: jax.Array) -> list[jax.Array]:
        """The strength and the share of the L1 norm: each of shape (), or one for each group, of shape [groups, 1]."""
        named = (("strength", self.strength), ("l1_ratio", self.l1_ratio))
        return [number_of(family, number, params, name, matrix) for name, number in named]


def joined(groups: Groups, strength: NumberOrSchedule, l1_ratio: NumberOrSchedule, *, weighted: bool) -> Penalty:
    """The sparse group lasso with groups over several leaves; see ``group_lasso``."""
    made = _Joined(checked_groups(groups), strength, l1_ratio, weighted)
    penalty = Penalty(
        made.value,
        made.prox,
        made.mask,
        strength_max=made.strength_max,
        linear_minimum=made.linear_minimum,
        terms=made.terms,
    )
    return penalty_on_whole_arrays(penalty)
