"""Groups that run over several leaves: an attention head's q, k, v and o, or all weights into and out of a unit.

The members of a family of groups are laid out as one matrix with a row for each group, so that values and proximal
operators are those of groups within one array.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from regopt._core import paths, trees
from regopt._core.messages import brief
from regopt._core.numerics import direction_and_norm, like, widen
from regopt._core.placing import penalty_on_whole_arrays
from regopt._core.types import LeafTerm, Number, NumberOrSchedule, Penalty, Tree
from regopt.penalties._leafwise import magnitude, soft_threshold
from regopt.penalties._norms import shrink, shrink_by_coordinate, sparse_group_max

# the axis of the groups, or that axis and the number of the group of each index along it
Place: TypeAlias = int | tuple[int, Sequence[int]]
Groups: TypeAlias = Mapping[str, Place] | Sequence[Mapping[str, Place]]


class _Member(NamedTuple):
    """One leaf of a family."""

    leaf: int
    axis: int
    table: np.ndarray  # the indices along the axis in each group, [groups, slots]; -1 where a group has fewer
    place: np.ndarray  # for each index along the axis, its place in the flattened table

    def rows(self, w: jax.Array) -> jax.Array:
        """The array as a matrix with a row for each group; 0 where a group has fewer indices than others."""
        by_index = jnp.moveaxis(w, self.axis, 0).reshape(len(self.place), -1)
        taken = jnp.where(self.table.reshape(-1, 1) >= 0, by_index[self.table.ravel()], 0)
        return taken.reshape(len(self.table), -1)

    def width(self, w: jax.Array) -> int:
        """The number of columns of ``rows(w)``."""
        return self.table.shape[1] * (w.size // len(self.place))

    def back(self, rows: jax.Array, w: jax.Array) -> jax.Array:
        """The inverse of ``rows``, for an array shaped as w."""
        moved = jnp.moveaxis(w, self.axis, 0)
        by_index = rows.reshape(self.table.size, -1)[self.place]
        return jnp.moveaxis(by_index.reshape(moved.shape), 0, self.axis)


class _Family(NamedTuple):
    """Leaves whose groups of one number are one group."""

    members: tuple[_Member, ...]
    sizes: np.ndarray  # the number of entries of each group, [groups, 1]

    def matrix(self, arrays: Mapping[int, jax.Array]) -> jax.Array:
        """All members side by side, a row for each group."""
        return jnp.concatenate([member.rows(arrays[member.leaf]) for member in self.members], axis=1)

    def split(self, matrix: jax.Array, arrays: Mapping[int, jax.Array]) -> list[tuple[int, jax.Array]]:
        """The inverse of ``matrix``: pairs of a leaf and its array."""
        widths = [member.width(arrays[member.leaf]) for member in self.members]
        parts = jnp.split(matrix, np.cumsum(widths)[:-1], axis=1)
        pairs = zip(self.members, parts, strict=True)
        return [(member.leaf, member.back(rows, arrays[member.leaf])) for member, rows in pairs]


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
            matrix = family.matrix(_wide(family, arrays))
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
            wide = _wide(family, arrays)
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
        chosen = {member.leaf for family in families(self.groups, params) for member in family.members}
        structure = jax.tree.structure(params)
        return structure.unflatten([place in chosen for place in range(structure.num_leaves)])

    def strength_max(self, grad_at_zero: Tree) -> jax.Array:
        arrays, found = jax.tree.leaves(grad_at_zero), [jnp.zeros((), jnp.float32)]
        for family in families(self.groups, grad_at_zero):
            matrix = family.matrix(_wide(family, arrays))
            _, ratio = self._numbers(family, grad_at_zero, matrix)
            found.append(sparse_group_max(matrix, ratio, (1 - ratio) * self._weights(family, matrix)))
        return jnp.max(jnp.stack(widen(*found)))

    def terms(self, params: Tree) -> list[tuple[LeafTerm, ...]]:
        leaves, names = jax.tree.leaves(params), paths.leaf_paths(params)
        found: list[tuple[LeafTerm, ...]] = [()] * len(leaves)
        strengths = jax.tree.leaves(trees.by_leaf(self.strength, params, "strength", paths.NOT_NAMED))
        for family in families(self.groups, params):
            for member in family.members:
                others = tuple(names[other.leaf] for other in family.members if other.leaf != member.leaf)
                within = tuple(axis for axis in range(jnp.ndim(leaves[member.leaf])) if axis != member.axis)
                found[member.leaf] = (LeafTerm(strengths[member.leaf], within, others),)
        return found

    def _weights(self, family: _Family, matrix: jax.Array) -> jax.Array:
        return like(np.sqrt(family.sizes) if self.weighted else np.ones_like(family.sizes), matrix)

    def _numbers(self, family: _Family, params: Tree, matrix: jax.Array) -> list[jax.Array]:
        """The strength and the share of the L1 norm: each of shape (), or one for each group, of shape [groups, 1]."""
        found = []
        for name, number in (("strength", self.strength), ("l1_ratio", self.l1_ratio)):
            by_leaf = jax.tree.leaves(trees.by_leaf(number, params, name))
            given = [by_leaf[member.leaf] for member in family.members]
            if any(each is not given[0] and not _equal(each, given[0]) for each in given):
                names = paths.leaf_paths(params)
                joined = ", ".join(names[member.leaf] for member in family.members)
                raise ValueError(f"{name} must be one number for the leaves of one group, {joined}")
            number = like(given[0], matrix)
            if number.ndim and number.shape != (len(matrix),):
                raise ValueError(
                    f"{name} must be one number, or one for each of {len(matrix)} groups, got {number.shape}"
                )
            found.append(number[:, None] if number.ndim else number)
        return found


def joined(groups: Groups, strength: NumberOrSchedule, l1_ratio: NumberOrSchedule, *, weighted: bool) -> Penalty:
    """The sparse group lasso with groups over several leaves; see ``group_lasso``."""
    made = _Joined(_checked(groups), strength, l1_ratio, weighted)
    penalty = Penalty(made.value, made.prox, made.mask, strength_max=made.strength_max, terms=made.terms)
    return penalty_on_whole_arrays(penalty)


def families(groups: Iterable[Mapping[str, Place]], params: Tree) -> list[_Family]:
    """The families of groups: the leaves of one mapping whose wildcards stand for the same text."""
    names, leaves = paths.leaf_paths(params), jax.tree.leaves(params)
    found: list[_Family] = []
    taken: set[int] = set()
    for mapping in groups:
        by_text: dict[tuple[str, ...], dict[int, Place]] = {}
        for pattern, place in mapping.items():
            hits = [
                (leaf, text) for leaf, name in enumerate(names) if (text := paths.matched(pattern, name)) is not None
            ]
            if not hits:
                raise ValueError(
                    f"groups has a pattern that matches nothing, {pattern!r}; {paths.near(pattern, names)}"
                )
            for leaf, text in hits:
                if leaf in taken:
                    raise ValueError(f"groups has {names[leaf]!r} twice: a leaf may belong to one family of groups")
                taken.add(leaf)
                by_text.setdefault(text, {})[leaf] = place
        found += [_family(members, leaves, names) for members in by_text.values()]
    return found


def _family(places: Mapping[int, Place], leaves: Sequence[ArrayLike], names: Sequence[str]) -> _Family:
    numbers = {leaf: _numbered(place, leaves[leaf], names[leaf]) for leaf, place in places.items()}
    counts = {leaf: int(ids.max(initial=-1)) + 1 for leaf, (_, ids) in numbers.items()}
    count = max(counts.values())
    few = next((leaf for leaf in counts if counts[leaf] != count), None)
    if few is not None:
        most = next(leaf for leaf in counts if counts[leaf] == count)
        raise ValueError(
            f"groups joins {names[most]!r} with {count} groups and {names[few]!r} with {counts[few]}: give the axis of "
            "the groups in each, or the number of the group of each index, as in (axis, [0, 0, 1, 1])"
        )
    members, sizes = [], np.zeros((count, 1))
    for leaf, (axis, ids) in numbers.items():
        member = _member(leaf, axis, ids, count)
        each = jnp.size(leaves[leaf]) // max(len(ids), 1)
        sizes[:, 0] += each * (member.table >= 0).sum(1)
        members.append(member)
    return _Family(tuple(members), sizes)


def _member(leaf: int, axis: int, ids: np.ndarray, count: int) -> _Member:
    slots = int(np.bincount(ids, minlength=count).max(initial=0))
    table, place, filled = np.full((count, slots), -1), np.zeros(len(ids), int), np.zeros(count, int)
    for index, group in enumerate(ids):
        table[group, filled[group]] = index
        place[index] = group * slots + filled[group]
        filled[group] += 1
    return _Member(leaf, axis, table, place)


def _numbered(place: Place, w: ArrayLike, name: str) -> tuple[int, np.ndarray]:
    """The axis of the groups, not negative, and the number of the group of each index along it."""
    axis, ids = place if isinstance(place, tuple) else (place, None)
    shape = jnp.shape(w)
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"groups has axis {axis} for {name!r}, which has shape {shape}")
    length = shape[axis]
    numbers = np.arange(length) if ids is None else np.asarray(ids)
    if numbers.shape != (length,):
        raise ValueError(f"groups must number each of the {length} indices of {name!r}, got {len(numbers)} numbers")
    return axis % len(shape), numbers


def _wide(family: _Family, arrays: Sequence[ArrayLike]) -> dict[int, jax.Array]:
    """The arrays of a family by leaf, in one dtype of at least float32."""
    leaves = [member.leaf for member in family.members]
    return dict(zip(leaves, widen(*(arrays[leaf] for leaf in leaves)), strict=True))


def _equal(a: Number, b: Number) -> bool:
    concrete = not any(isinstance(each, Tracer) for each in (a, b))
    return concrete and np.array_equal(np.asarray(a), np.asarray(b))


def _checked(groups: Groups) -> tuple[Mapping[str, Place], ...]:
    families_ = (groups,) if isinstance(groups, Mapping) else tuple(groups) if isinstance(groups, list | tuple) else ()
    for mapping in families_:
        places = mapping.values() if isinstance(mapping, Mapping) else ()
        if not places or not all(map(_is_place, places)) or not all(isinstance(key, str) for key in mapping):
            families_ = ()
            break
    if not families_:
        raise ValueError(
            "groups must map path patterns to an axis, or to an axis and the number of the group of each index along "
            f"it, got {brief(groups)}"
        )
    return families_


def _is_place(place: object) -> bool:
    if isinstance(place, tuple) and len(place) == 2:
        ids = np.asarray(place[1]) if isinstance(place[1], list | tuple | np.ndarray) else np.zeros((0, 0))
        return _is_whole(place[0]) and ids.ndim == 1 and ids.dtype.kind in "iu" and ids.size > 0 and ids.min() >= 0
    return _is_whole(place)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
