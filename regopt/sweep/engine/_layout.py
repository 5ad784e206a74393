"""The layout of lanes on the devices: spread over the mesh axis "lanes", and each divided over the other axes.

Patterns of the paths of its parameters tell how a lane is divided. Another array whose path ends with that of a
parameter and that has its shape, such as a moment of an optimizer or the best parameters of early stopping, is divided
like the parameter; each device of a row has a whole copy of all other arrays.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from regopt._core.messages import brief, suggestion
from regopt._core.numerics import check_whole
from regopt._core.paths import leaf_paths, match
from regopt._core.types import Device, Tree
from regopt.sweep.engine._devices import LANES

WHOLE = PartitionSpec()
_FORM = 'a jax.sharding.Mesh or sizes by axis, such as {"lanes": 4, "model": 2}'


@dataclasses.dataclass(frozen=True)
class Layout:
    """The devices of a sweep, and the parts in which a lane lies on them.

    Attributes:
        mesh: the devices; the axis ``lanes``, and those that lanes are divided over.
        partition: pairs of a path pattern and a ``PartitionSpec``, in the order of the patterns.
    """

    mesh: Mesh
    partition: tuple[tuple[str, PartitionSpec], ...] = ()

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices."""
        return tuple(self.mesh.devices.flat)

    @property
    def rows(self) -> int:
        """The number of rows over which lanes are spread; a row is one device where lanes are not divided."""
        return self.mesh.shape[LANES]

    @property
    def parts(self) -> int:
        """The number of devices that share the lanes of a row."""
        return len(self.devices) // self.rows

    @property
    def spread(self) -> NamedSharding:
        """The sharding that spreads the first axis over the rows."""
        return NamedSharding(self.mesh, PartitionSpec(LANES))

    @property
    def same(self) -> NamedSharding:
        """The sharding that puts the whole array on each device."""
        return NamedSharding(self.mesh, WHOLE)

    def on_each(self, tree: Tree) -> Tree:
        """The arrays of a tree, once on each device."""
        return jax.device_put(tree, self.same)

    def specs(self, lane: Tree, params: Tree, frozen: Tree = None) -> tuple[list[PartitionSpec], list[PartitionSpec]]:
        """How each leaf is divided, without the axis of the lanes.

        Args:
            lane: shapes of all arrays of a lane.
            params: shapes of its parameters, whose paths the patterns match.
            frozen: shapes of the parameters that are not trained, whose paths the patterns match too.

        Returns:
            The specs of the leaves of a lane, and those of the frozen parameters.

        Raises:
            ValueError: a pattern matches nothing, or a spec does not fit the shape of a parameter.
        """
        leaves, given = jax.tree.leaves(lane), jax.tree.leaves(frozen)
        if not self.partition:
            return [WHOLE] * len(leaves), [WHOLE] * len(given)
        trained = dict(zip(leaf_paths(params), jax.tree.leaves(params), strict=True))
        every = trained | dict(zip(leaf_paths(frozen), given, strict=True))
        found = match(dict(self.partition), every, "partition", WHOLE)
        specs = dict(zip(sorted(every), found, strict=True))  # as JAX orders them
        for path, spec in specs.items():
            self._check_fits(path, every[path].shape, spec)
        own = [_spec_like(path, leaf, trained, specs) for path, leaf in zip(leaf_paths(lane), leaves, strict=True)]
        return own, [specs[path] for path in leaf_paths(frozen)]

    def bytes_on_device(self, leaves: Sequence[jax.ShapeDtypeStruct], specs: Sequence[PartitionSpec]) -> int:
        """The bytes of a lane that lie on one device."""
        return sum(
            math.prod(leaf.shape) * leaf.dtype.itemsize // math.prod(map(self.mesh.shape.__getitem__, _axes(spec)))
            for leaf, spec in zip(leaves, specs, strict=True)
        )

    def _check_fits(self, path: str, shape: tuple[int, ...], spec: PartitionSpec) -> None:
        if len(spec) > len(shape):
            raise ValueError(f"partition gives {path!r} {len(spec)} axes, {spec}, but its shape is {shape}")
        for axis, names in enumerate(spec):
            size = math.prod(map(self.mesh.shape.__getitem__, _axes(PartitionSpec(names))))
            if shape[axis] % size:
                raise ValueError(
                    f"partition divides axis {axis} of {path!r} over {names!r}: {size} must divide its shape {shape}"
                )


def arranged(
    devices: Sequence[Device], mesh: Mesh | Mapping[str, int] | None, partition: Mapping[str, PartitionSpec] | None
) -> Layout:
    """The layout on these devices; a ``jax.sharding.Mesh`` has its own devices."""
    if mesh is None:
        return Layout(Mesh(np.array(devices), (LANES,)))
    rules = tuple(sorted((partition or {}).items()))
    if isinstance(mesh, Mesh):  # whatever the types of its axes, the partition decides
        return Layout(Mesh(mesh.devices, mesh.axis_names), rules)
    check_count(mesh, len(devices))
    types = (AxisType.Auto,) * len(mesh)
    return Layout(jax.make_mesh(tuple(mesh.values()), tuple(mesh), devices=list(devices), axis_types=types), rules)


def sizes_of(mesh: Mesh | Mapping[str, int]) -> dict[str, int]:
    """The sizes of the axes of a mesh, by name."""
    return dict(mesh.shape if isinstance(mesh, Mesh) else mesh)


def check_count(mesh: Mapping[str, int], devices: int) -> None:
    """Require that a mesh has as many places as there are devices."""
    if (wanted := math.prod(mesh.values())) != devices:
        raise ValueError(f"mesh {dict(mesh)} needs {wanted} devices, got {devices}: change a size, or pass devices")


def check_mesh(mesh: object) -> None:
    """Check that the mesh is None, or has an axis for the lanes."""
    if mesh is None:
        return
    if not isinstance(mesh, Mesh | Mapping):
        raise ValueError(f"mesh must be {_FORM}, got {brief(mesh)}")
    sizes = sizes_of(mesh)
    if LANES not in sizes:
        raise ValueError(f'mesh must have an axis "lanes", got the axes {list(sizes)}')
    for name, size in sizes.items():
        check_whole(f"the size of the mesh axis {name!r}", size, "[1, inf)")


def check_partition(mesh: Mesh | Mapping[str, int] | None, partition: object) -> None:
    """Check that the partition, by path pattern, uses each axis of several devices except "lanes"; None is empty."""
    if partition is None:
        partition = {}
    if not isinstance(partition, Mapping) or not all(isinstance(pattern, str) for pattern in partition):
        fix = '{"**/kernel": PartitionSpec(None, "model")}'
        raise ValueError(f"partition must map path patterns to a PartitionSpec, such as {fix}, got {brief(partition)}")
    if partition and mesh is None:
        raise ValueError(f"partition needs a mesh, which must be {_FORM}")
    sizes = {} if mesh is None else sizes_of(mesh)
    used = {name for pattern, spec in partition.items() for name in _checked_axes(pattern, spec, sizes)}
    for name, size in sizes.items():
        if name not in {LANES, *used} and size > 1:
            raise ValueError(
                f"mesh has an axis {name!r} that partition does not use, so its devices would all compute the same: "
                "use it or leave it out"
            )


def _checked_axes(pattern: str, spec: object, sizes: Mapping[str, int]) -> list[str]:
    """The axes of the mesh that a spec of a partition names."""
    if not isinstance(spec, PartitionSpec):
        raise ValueError(f"partition must have a jax.sharding.PartitionSpec for {pattern!r}, got {brief(spec)}")
    names, others = _axes(spec), [axis for axis in sizes if axis != LANES]
    for name in names:
        if name == LANES:
            raise ValueError(f'partition must leave the axis "lanes" to the settings, got {spec} for {pattern!r}')
        if name not in others:
            raise ValueError(
                f"partition has an axis {brief(name)}, which the mesh does not have; {suggestion(name, others)}"
            )
        if names.count(name) > 1:
            raise ValueError(f"partition must name an axis once for an array, got {spec} for {pattern!r}")
    return names


def _axes(spec: PartitionSpec) -> list[str]:
    """The axes of the mesh that a spec names."""
    return [name for entry in spec if entry is not None for name in ([entry] if isinstance(entry, str) else entry)]


def _spec_like(
    path: str, leaf: jax.ShapeDtypeStruct, params: Mapping[str, Tree], entries: Mapping[str, PartitionSpec]
) -> PartitionSpec:
    """The spec of the parameter whose path is the end of this one, if it has this shape."""
    names = path.split("/")
    for first in range(len(names) + 1):
        name = "/".join(names[first:])
        if name in params and params[name].shape == leaf.shape:
            return entries[name]
    return WHOLE
