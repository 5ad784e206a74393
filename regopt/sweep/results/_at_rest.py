"""Trained states without the program that trained them: NumPy arrays with their paths in the state.

They come from the checkpoint folder of a sweep, or from a result that is pickled. The classes of a task's state are not
there, so named tuples and the like come back as ``Record``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.io import JsonObject
from regopt._core.types import Leaf, Tree
from regopt.sweep import checkpoint

Key = tuple[str, str | int]  # "field" of a class, "key" of a dict, "index" of a sequence
KeyPath = tuple[Key, ...]

TABLE_OF_ANOTHER = "the table in {} is of another sweep than its states: run that sweep again to rewrite it"


class Record(dict[str, Tree]):
    """The fields of a state whose class is not known here, as a dict and as attributes.

    Fields without arrays are absent.
    """

    def __getattr__(self, name: str) -> Tree:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the state has no field {name!r}; it has {list(self)}") from None


jax.tree_util.register_pytree_with_keys(
    Record,
    lambda record: ([(jax.tree_util.GetAttrKey(name), leaf) for name, leaf in record.items()], tuple(record)),
    lambda names, leaves: Record(zip(names, leaves, strict=True)),
)


class Lanes(NamedTuple):
    """The lanes of one group."""

    indices: np.ndarray  # [lanes], int: the rows of their settings
    entries: np.ndarray  # [lanes], int: their rows in the arrays; -1 where a state is not kept
    paths: list[KeyPath]  # of the arrays, within a state
    arrays: Sequence[Leaf]  # each [entries, ...]
    kept: int  # the row of one more setting, whose state was kept when it left the devices; -1 without one
    kept_arrays: Sequence[Leaf]


class StatesAtRest:
    """The ``States`` of a result that was pickled.

    Args:
        groups: the lanes of each group.
    """

    def __init__(self, groups: Sequence[Lanes]):
        self._groups = groups

    def state(self, setting: int) -> Tree:
        """See ``States``."""
        for group in self._groups:
            if setting == group.kept:
                return built(group.paths, group.kept_arrays)
            at = np.flatnonzero(group.indices == setting)
            if len(at) and group.entries[at[0]] >= 0:
                return built(group.paths, [array[group.entries[at[0]]] for array in group.arrays])
        raise ValueError(f"the state of setting {setting} is not kept: run the sweep again with more slots")

    def refit(self, setting: int | None) -> NoReturn:
        """Raise an error that says what to do."""
        del setting
        raise ValueError(
            "a result that was read or pickled has no program: run the sweep again to refit or predict, which trains "
            "nothing in its own folder (out)"
        )

    def outputs(self, wanted: np.ndarray, inputs: Tree) -> NoReturn:
        """Raise an error that says what to do."""
        del wanted, inputs
        self.refit(None)


class StatesInFolder(StatesAtRest):
    """The ``States`` of a sweep's checkpoint folder, read when the first of them is asked for.

    Args:
        folder: the folder of the sweep.
        about: for each group the rows of its settings, the capacity of a device, and the paths of its arrays.
        kept_step: [settings], int: the steps to which the rows of the table refer.
        curves: the metrics of the table, each [settings, evaluations], which tell whether the states are of another
            sweep.
        keeps_best: whether the kept state of a setting is its best one.
    """

    def __init__(
        self,
        folder: Path,
        about: Sequence[JsonObject],
        kept_step: np.ndarray,
        curves: Mapping[str, np.ndarray],
        *,
        keeps_best: bool,
    ):
        super().__init__([])
        self._folder, self.about, self._kept_step, self._keeps_best = folder, about, kept_step, keeps_best
        self._curves = curves
        self._saved_step = np.zeros(0, int)

    def state(self, setting: int) -> Tree:
        """See ``States``."""
        self._read()
        if self._saved_step[setting] != self._kept_step[setting]:
            raise ValueError(
                f"{self._folder} has the state of setting {setting} at step {self._saved_step[setting]}, but its table "
                f"is of step {self._kept_step[setting]}: load the result again once the sweep has saved both"
            )
        return super().state(setting)

    def __reduce__(self) -> tuple[type[StatesAtRest], tuple[Sequence[Lanes]]]:
        self._read()
        return StatesAtRest, (self._groups,)

    def _read(self) -> None:
        if self._groups:
            return
        try:
            leaves = checkpoint.read_leaves(self._folder)
        except checkpoint.StoreError as error:
            raise ValueError(str(error)) from error
        self._groups = [_lanes(leaves, f"groups.{number}", about) for number, about in enumerate(self.about)]
        saved = leaves["history.best_step" if self._keeps_best else "history.last_step"]
        if len(saved) != len(self._kept_step):
            self._groups = []
            raise ValueError(
                f"{self._folder} has the states of {len(saved)} settings, but a table of {len(self._kept_step)}: load "
                "the result again if the sweep was just extended, else run the same sweep again to rewrite the table"
            )
        if not all(_agree(leaves.get(f"history.curves.{name}"), curve) for name, curve in self._curves.items()):
            self._groups = []
            raise ValueError(TABLE_OF_ANOTHER.format(self._folder))
        self._saved_step = saved


def _agree(saved: np.ndarray | None, curve: np.ndarray) -> bool:
    """Whether a saved metric and that of a table agree where both have values; one may have more evaluations."""
    if saved is None:
        return False
    steps = min(saved.shape[1], curve.shape[1])
    one, other = saved[:, :steps], curve[:, :steps]
    both = ~np.isnan(one) & ~np.isnan(other)
    return np.array_equal(one[both], other[both])


def _lanes(leaves: Mapping[str, np.ndarray], prefix: str, about: JsonObject) -> Lanes:
    """The lanes of one group in a checkpoint, whose ``leaves`` are given by name in the order of the tree."""
    paths = [tuple((str(kind), name) for kind, name in path) for path in about["paths"]]
    arrays = [array for name, array in leaves.items() if name.startswith(f"{prefix}.buffer.")]
    chosen = about["chosen"]
    device, place = leaves[f"{prefix}.device"], leaves[f"{prefix}.place"]
    kept = [array for name, array in leaves.items() if name.startswith(f"{prefix}.kept.")]
    return Lanes(
        np.array(about["indices"], int),
        np.where(place >= 0, device * about["capacity"] + place, -1),
        paths,
        [arrays[at] for at in chosen],
        int(kept[0]),
        kept[2:],
    )


def paths_of(tree: Tree) -> list[KeyPath]:
    """The path of each leaf, with the kinds of its keys."""
    return [tuple(_key(key) for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _key(key: object) -> Key:
    match key:
        case jax.tree_util.GetAttrKey(name):
            return "field", name
        case jax.tree_util.SequenceKey(index):
            return "index", index
        case jax.tree_util.DictKey(name) | jax.tree_util.FlattenedIndexKey(name):
            return "key", name if isinstance(name, int | str) else str(name)
    return "key", str(key)


def built(paths: Sequence[KeyPath], leaves: Sequence[Leaf]) -> Tree:
    """The tree of these leaves: dicts, lists, and a ``Record`` for each class."""
    if len(paths) == 1 and not paths[0]:
        return leaves[0]
    parts: dict[Key, list[int]] = {}
    for place, path in enumerate(paths):
        parts.setdefault(path[0], []).append(place)
    inner = {
        key: built([paths[place][1:] for place in places], [leaves[place] for place in places])
        for key, places in parts.items()
    }
    kinds = {kind for kind, _ in inner}
    if kinds == {"index"}:
        size = max(int(index) for _, index in inner) + 1
        return [inner.get(("index", index), ()) for index in range(size)]
    if kinds == {"field"}:
        return Record({str(name): value for (_, name), value in inner.items()})
    return {name: value for (_, name), value in inner.items()}


def as_numpy(leaf: Leaf) -> Leaf:
    """A leaf as a NumPy array; random keys stay what they are."""
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)
