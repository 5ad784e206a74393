"""Groups that run over several leaves: an attention head's q, k, v and o, or all weights into and out of a unit.

The members of a family of groups are laid out as one matrix with a row for each group, so that norms of groups are
those within one array.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from typing_extensions import TypeAliasType

from regopt._core import paths, trees
from regopt._core.messages import brief
from regopt._core.nearest import shortened
from regopt._core.numerics import like, widen
from regopt._core.placing import gathered, placed_like
from regopt._core.types import Number, NumberOrSchedule, Tree

# the axis of the groups, or that axis and the number of the group of each index along it
Place: TypeAlias = int | tuple[int, Sequence[int] | np.ndarray | jax.Array]
Groups = TypeAliasType("Groups", Mapping[str, Place] | Sequence[Mapping[str, Place]])


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


class Family(NamedTuple):
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


def families(groups: Iterable[Mapping[str, Place]], params: Tree) -> list[Family]:
    """The families of groups: the leaves of one mapping whose wildcards stand for the same text."""
    names, leaves = paths.leaf_paths(params), jax.tree.leaves(params)
    found: list[Family] = []
    taken: set[int] = set()
    for mapping in groups:
        by_text: dict[tuple[str, ...], dict[int, str]] = {}
        for pattern in mapping:
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
                by_text.setdefault(text, {})[leaf] = pattern
        _check_joins(mapping, [set(members.values()) for members in by_text.values()])
        for members in by_text.values():
            found.append(_family({leaf: mapping[pattern] for leaf, pattern in members.items()}, leaves, names))
    return found


def _check_joins(mapping: Mapping[str, Place], together: Sequence[set[str]]) -> None:
    """Refuse a pattern that shares no family with another one, which it would do alone in a mapping."""
    for pattern in mapping if len(mapping) > 1 else ():
        if not any(len(patterns) > 1 and pattern in patterns for patterns in together):
            raise ValueError(
                f"groups joins no leaf of {pattern!r} with one of another pattern, because their wildcards stand for "
                "other text: write these names out, or give the pattern in a mapping of its own"
            )


def _family(places: Mapping[int, Place], leaves: Sequence[ArrayLike], names: Sequence[str]) -> Family:
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
    return Family(tuple(members), sizes)


def _member(leaf: int, axis: int, ids: np.ndarray, count: int) -> _Member:
    sizes = np.bincount(ids, minlength=count)
    slots = int(sizes.max(initial=0))
    order = np.argsort(ids, kind="stable")  # the indices, group by group
    groups = ids[order]
    slot = np.arange(len(ids)) - (np.cumsum(sizes) - sizes)[groups]
    table, place = np.full((count, slots), -1), np.zeros(len(ids), int)
    table[groups, slot] = order
    place[order] = groups * slots + slot
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


def wide_members(family: Family, arrays: Sequence[ArrayLike]) -> dict[int, jax.Array]:
    """The arrays of a family by leaf, in one dtype of at least float32."""
    leaves = [member.leaf for member in family.members]
    return dict(zip(leaves, widen(*(arrays[leaf] for leaf in leaves)), strict=True))


def check_alone(**unused: bool) -> None:
    """Refuse what would select leaves or axes beside ``groups``, which names both; by argument whether it is left out.

    >>> check_alone(axis=True, mask=True)
    """
    for name, left_out in unused.items():
        if not left_out:
            raise ValueError(f"groups names the leaves and their axes, so {name} must be left out")


def number_of(family: Family, number: NumberOrSchedule, params: Tree, name: str, matrix: jax.Array) -> jax.Array:
    """The number of a family: of shape (), or one for each group, of shape [groups, 1].

    Args:
        family: the family.
        number: a number, numbers by layer, or an array with one for each group.
        params: the parameters.
        name: name of the argument, for the message.
        matrix: the members, with a row for each group.

    Returns:
        The number in the dtype of the matrix.

    Raises:
        ValueError: the leaves of one group have different numbers, or an array does not fit.
    """
    by_leaf = jax.tree.leaves(trees.by_leaf(number, params, name))
    given = [by_leaf[member.leaf] for member in family.members]
    if any(each is not given[0] and not _equal(each, given[0]) for each in given):
        names = paths.leaf_paths(params)
        joined = ", ".join(names[member.leaf] for member in family.members)
        raise ValueError(f"{name} must be one number for the leaves of one group, {joined}")
    found = like(given[0], matrix)
    if found.ndim and found.shape != (len(matrix),):
        raise ValueError(f"{name} must be one number, or one for each of {len(matrix)} groups, got {found.shape}")
    return found[:, None] if found.ndim else found


def joined_leaves(groups: Iterable[Mapping[str, Place]], params: Tree) -> Tree:
    """A tree of bools: which leaves of the parameters are members of a group."""
    chosen = {member.leaf for family in families(groups, params) for member in family.members}
    structure = jax.tree.structure(params)
    return structure.unflatten([place in chosen for place in range(structure.num_leaves)])


def shortened_groups(tree: Tree, groups: Iterable[Mapping[str, Place]], max_norm: NumberOrSchedule, name: str) -> Tree:
    """The tree, with each group of several leaves scaled down to the norm ``max_norm`` where its norm is larger.

    Args:
        tree: the parameters or gradients; leaves that ``groups`` does not name stay as they are.
        groups: as ``checked_groups`` returns it.
        max_norm: a number, numbers by layer, or an array with one for each group.
        name: name of that argument, for the message.

    Returns:
        A tree with the shapes and dtypes of ``tree``.
    """
    arrays, structure = jax.tree.flatten(gathered(tree))
    for family in families(groups, tree):
        wide = wide_members(family, arrays)
        matrix = family.matrix(wide)
        (after,) = shortened([matrix], number_of(family, max_norm, tree, name, matrix), (1,))
        for place, w in family.split(after, wide):
            arrays[place] = w.astype(jnp.asarray(arrays[place]).dtype)
    return placed_like(structure.unflatten(arrays), tree)


def _equal(a: Number, b: Number) -> bool:
    concrete = not any(isinstance(each, Tracer) for each in (a, b))
    return concrete and np.array_equal(np.asarray(a), np.asarray(b))


def checked_groups(groups: Groups) -> tuple[Mapping[str, Place], ...]:
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
        given = isinstance(place[1], list | tuple | np.ndarray | jax.Array) and not isinstance(place[1], Tracer)
        ids = np.asarray(place[1]) if given else np.zeros((0, 0))
        return _is_whole(place[0]) and ids.ndim == 1 and ids.dtype.kind in "iu" and ids.size > 0 and ids.min() >= 0
    return _is_whole(place)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
