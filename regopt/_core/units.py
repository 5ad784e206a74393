"""The axis of the units of a kernel: declared by its layer, or given.

A unit's incoming weights run over all axes of a kernel but that of the units. regopt's layers declare this axis in the
metadata of their flax variables, equinox's by the type of their module; flax's and haiku's kernels have it last.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from typing_extensions import TypeAliasType

from regopt._core import paths
from regopt._core.checks import check_index
from regopt._core.messages import brief
from regopt._core.types import Number, Tree

UnitAxis = TypeAliasType("UnitAxis", int | Mapping[str, int] | None)
AxesOfGroup: TypeAlias = int | tuple[int, ...] | Literal["incoming"] | None
Axis = TypeAliasType("Axis", AxesOfGroup | Mapping[str, AxesOfGroup])

UNIT_AXIS = "unit_axis"  # the key of the metadata
_BY_PATH: ContextVar[Mapping[str, int] | None] = ContextVar("declared unit axes", default=None)


class _Entry:
    """Axes that JAX must not take for a tree."""

    def __init__(self, axes: AxesOfGroup):
        self.axes = axes


def check_unit_axis(value: object) -> None:
    """Require None, a whole number, or a mapping from path patterns; the axes are checked where they meet a leaf."""
    if value is not None and not isinstance(value, Mapping):
        check_index("unit_axis", value)


def check_axis(value: object, unit_axis: object = None) -> None:
    """Require "incoming", None, a whole number, a tuple of these, or a mapping from path patterns to such values.

    A ``unit_axis`` beside axes that leave no leaf to it is refused.
    """
    for axis in value.values() if isinstance(value, Mapping) else [value]:
        numbers = (
            axis
            if isinstance(axis, tuple)
            else ()
            if axis is None or (isinstance(axis, str) and axis == "incoming")
            else (axis,)
        )
        if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in numbers):
            raise ValueError(
                f'axis must be "incoming", None, a whole number, a tuple of whole numbers or a mapping from path '
                f"patterns to these, got {brief(axis)}"
            )
    if unit_axis is not None and not isinstance(value, str | Mapping):
        raise ValueError(f'unit_axis is for axis="incoming" and is not used beside axis={value}: leave one of them out')


def group_axes(
    params: Tree, axis: Axis, unit_axis: UnitAxis = None, *, on: Sequence[bool] | None = None
) -> list[tuple[int, ...]]:
    """The axes that run within a group, for each leaf.

    Args:
        params: the tree of arrays.
        axis: these axes; "incoming" for all but that of the units; None for all; or a mapping from path patterns to
            these, of which a leaf that no pattern matches has its incoming weights as groups.
        unit_axis: where the units are, as for ``incoming_axes``.
        on: which leaves have groups; by default all.

    Returns:
        Non-negative axes for each leaf; () for a leaf without groups.

    Raises:
        ValueError: a leaf with groups lacks an axis, or a pattern matches nothing.

    >>> group_axes({"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}, {"**/kernel": -1})
    [(), (1,)]
    """
    boxed = {k: _Entry(v) for k, v in axis.items()} if isinstance(axis, Mapping) else _Entry(axis)
    entries = [entry.axes for entry in paths.broadcast(boxed, params, "axis", _Entry("incoming"))]
    incoming = incoming_axes(params, unit_axis) if "incoming" in entries else [()] * len(entries)
    leaves = jax.tree.leaves(params)
    grouped = [True] * len(leaves) if on is None else on
    return [
        () if not has_groups else within if entry == "incoming" else _fitting("axis", entry, w)
        for entry, within, w, has_groups in zip(entries, incoming, leaves, grouped, strict=True)
    ]


def incoming_axes(params: Tree, unit_axis: UnitAxis = None) -> list[tuple[int, ...]]:
    """All axes of each leaf but that of its units; () for a leaf with fewer than two axes.

    Args:
        params: the tree of arrays.
        unit_axis: the axis of the units, or a mapping from path patterns to it; where it is None or no pattern matches,
            what the layer declares, and the last axis where nothing is declared.

    Returns:
        Non-negative axes for each leaf.

    Raises:
        ValueError: a leaf of two axes or more lacks the axis, or a pattern matches nothing.

    >>> incoming_axes([jnp.ones((3, 2)), jnp.ones(2)], 0), incoming_axes(jnp.ones((5, 5, 3, 2)))
    ([(1,), ()], [(0, 1, 2)])
    """
    leaves, own = jax.tree.leaves(params), _declared(params)
    given = own if unit_axis is None else paths.broadcast(unit_axis, params, "unit_axis", "declared")
    found = []
    for w, declared, axis in zip(leaves, own, given, strict=True):
        units = _fitting("unit_axis", declared if axis == "declared" else axis, w) if jnp.ndim(w) > 1 else ()
        found.append(tuple(a for a in range(jnp.ndim(w)) if a not in units) if units else ())
    return found


def declared_axes(params: Tree) -> dict[str, int]:
    """The axes of the units by path, where a layer declares another than the last.

    >>> declared_axes({"kernel": nnx.Param(jnp.ones((3, 2)), unit_axis=0)})
    {'kernel': 0}
    """
    return {path: axis for path, axis in zip(paths.leaf_paths(params), _declared(params), strict=True) if axis != -1}


@contextmanager
def declared(by_path: Mapping[str, int]) -> Iterator[None]:
    """Declare the axes of the units by path, for trees that have lost the metadata of their layers.

    Args:
        by_path: as ``declared_axes`` gives it.

    Yields:
        Nothing; the declaration holds inside.
    """
    token = _BY_PATH.set(by_path)
    try:
        yield
    finally:
        _BY_PATH.reset(token)


def _declared(params: Tree) -> list[int]:
    by_path = _BY_PATH.get() or {}
    axes = [by_path.get(path, -1) for path in paths.leaf_paths(params)] if by_path else [-1] * _count(params)
    by_node = [axis for node in jax.tree.leaves(params, is_leaf=_declares) for axis in _of_node(node)]
    return [axis if own is None else own for axis, own in zip(axes, by_node, strict=True)]


def _count(tree: Tree) -> int:
    return jax.tree.structure(tree).num_leaves


def _declares(node: object) -> bool:
    return isinstance(node, (nnx.Variable, *_equinox_layers()))


def _of_node(node: Tree) -> list[int | None]:
    count = _count(node)
    if isinstance(node, nnx.Variable):
        return [node.get_metadata().get(UNIT_AXIS)] * count
    return [0 if _declares(node) else None] * count


def _equinox_layers() -> tuple[type, ...]:
    """Equinox's layers whose weights are ``[out, in, ...]``; none where nobody has imported it."""
    nn = getattr(sys.modules.get("equinox"), "nn", None)
    if nn is None:
        return ()
    return (nn.Linear, nn.Conv, nn.ConvTranspose, nn.GRUCell, nn.LSTMCell)


def _fitting(name: str, axis: int | tuple[int, ...] | None, w: Number) -> tuple[int, ...]:
    ndim = jnp.ndim(w)
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    if not all(isinstance(each, int) and -ndim <= each < ndim for each in axes):
        raise ValueError(f"{name} must fit every penalised leaf, got {axis!r} for a leaf of shape {jnp.shape(w)}")
    return tuple(each % ndim for each in axes)
