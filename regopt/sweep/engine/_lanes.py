"""The trained states of a sweep while its lanes are on the devices, as the source of a result."""

from collections.abc import Callable

import jax
import numpy as np

from regopt._core.io import JsonObject
from regopt._core.types import Tree
from regopt.sweep.engine._checks import check_predicts
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._recipe import Held
from regopt.sweep.engine._state import Kept
from regopt.sweep.results import Result
from regopt.sweep.results._at_rest import KeyPath, Lanes, StatesAtRest, as_numpy, paths_of


class LanesOnDevices:
    """The ``States`` of a result that was trained in this process.

    Args:
        groups: the groups of the settings.
        held: for each group, what is on the devices.
        kept: for each group, the best of the states that have left the devices.
        refit: trains one setting again, or all of them.
    """

    def __init__(self, groups: list[Group], held: list[Held], kept: list[Kept], refit: Callable[[int | None], Result]):
        self._groups, self._held, self._kept, self._refit = groups, held, kept, refit

    def state(self, setting: int) -> Tree:
        """See ``States``."""
        group, lane = find(self._groups, setting)
        number = self._groups.index(group)
        held, kept = self._held[number], self._kept[number]
        if setting == kept.index:
            return kept.state
        if held.places.place[lane] < 0:
            raise ValueError(
                f"the state of setting {setting} is not kept: train it again to the same bits by refit({setting}), "
                "or hold more settings at a time by slots"
            )
        return group.recipe.kept(group.lane(held, lane))

    def describe(self) -> list[JsonObject]:
        """For each group what a reader of the saved buffer needs, as JSON values: see ``StatesInFolder``."""
        return [
            {
                "indices": group.indices.tolist(),
                "capacity": group.capacity,
                "paths": [list(path) for path in paths],
                "chosen": chosen,
            }
            for group, held in zip(self._groups, self._held, strict=True)
            for paths, chosen in [_kept_leaves(group)]
        ]

    def __reduce__(self) -> tuple[type[StatesAtRest], tuple[list[Lanes]]]:
        groups = []
        for group, held, kept in zip(self._groups, self._held, self._kept, strict=True):
            paths, chosen = _kept_leaves(group)
            leaves = jax.tree.leaves(held.buffer)
            places = held.places
            entries = np.where(places.place >= 0, places.device * group.capacity + places.place, -1)
            arrays = [as_numpy(leaves[at]) for at in chosen]
            left = [as_numpy(leaf) for leaf in jax.tree.leaves(kept.state)]
            groups.append(Lanes(group.indices, entries, paths, arrays, kept.index, left))
        return StatesAtRest, (groups,)

    def refit(self, setting: int | None) -> Result:
        """See ``States``."""
        return self._refit(setting)

    def outputs(self, wanted: np.ndarray, inputs: Tree) -> np.ndarray:
        """See ``States``; NaN for settings that are not wanted."""
        check_predicts(self._groups[0].recipe.task)
        inputs = self._groups[0].on_each(inputs)
        like = [group.output(its, inputs) for group, its in zip(self._groups, self._held, strict=True)]
        if len({one.shape for one in like}) > 1:
            raise ValueError(f"task.predict must give all settings one shape, got {[one.shape for one in like]}")
        dtype = np.result_type(np.float32, *(one.dtype for one in like))  # with room for NaN
        outputs = np.full((len(wanted), *like[0].shape), np.nan, dtype)
        for group, its in zip(self._groups, self._held, strict=True):
            lanes = np.flatnonzero(wanted[group.indices])
            if np.any(its.places.place[lanes] < 0):
                raise ValueError("outputs need all states on the devices: hold more settings at a time by slots")
            for owners, _, some in group.predict(its, lanes, inputs):
                outputs[group.indices[owners]] = some
        return outputs


def _kept_leaves(group: Group) -> tuple[list[KeyPath], list[int]]:
    """The paths of the leaves of a lane's kept state, and their places among the leaves of the buffer."""
    structure = jax.tree.structure(group.lane_form)
    kept = group.recipe.kept(jax.tree.unflatten(structure, range(structure.num_leaves)))
    return paths_of(kept), jax.tree.leaves(kept)


def find(groups: list[Group], setting: int) -> tuple[Group, int]:
    """The group of a setting, and its lane there."""
    group = next(group for group in groups if setting in group.indices)
    return group, int(np.flatnonzero(group.indices == setting)[0])
