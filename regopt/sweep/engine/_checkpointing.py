"""Between a sweep in training and its store: what is saved, when, and how training goes on from it."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.checkpoint import Store, StoreError, alive
from regopt.sweep.checkpoint._errors import reason
from regopt.sweep.checkpoint._files import free_bytes
from regopt.sweep.engine._group import Group, Held
from regopt.sweep.engine._rounds import Rounds
from regopt.sweep.results import Result


class Kept(NamedTuple):
    """The best state of a group that is on the devices no more."""

    index: int  # which setting's, -1 without one
    score: float
    state: Tree


class Saving:
    """A sweep's store in use.

    Args:
        store: open.
        folder: where it is.
        seconds: between saves.
        table_seconds: between saves of the table alone, which other hosts wait for.
    """

    def __init__(self, store: Store, folder: Path, seconds: float, table_seconds: float = np.inf):
        self._store, self._folder, self._seconds, self._table_seconds = store, folder, seconds, table_seconds
        self._last = self._seen = self._shown = time.monotonic()

    def alive(self) -> None:
        """A sign of life to other hosts, every ten seconds."""
        if time.monotonic() - self._seen >= 10:
            self._seen = time.monotonic()
            alive(self._folder)

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._last >= self._seconds

    def table_due(self) -> bool:
        """Whether it is time to save the table for others."""
        if time.monotonic() - self._shown < self._table_seconds:
            return False
        self._shown = time.monotonic()
        return True

    def save(self, rounds: Rounds, kept: list[Kept], spent: np.ndarray, *, done: bool) -> None:
        """Save everything that the sweep has come to; ``spent`` is what it has cost."""
        self._store.save(int(rounds.history.segments.sum()), _tree(rounds, kept, spent), done=done)
        self._last = time.monotonic()

    def save_table(self, result: Result) -> None:
        """Save what a person reads; the states are not touched."""
        try:
            result.save(self._folder)
        except OSError as error:
            needed = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(result.history.to_tree()))
            raise StoreError(
                f"cannot save the table to {self._folder}: {reason(error)}; this needs about {needed:,} bytes, "
                f"{free_bytes(self._folder)} are free; the states saved before are intact"
            ) from error

    def restore(self, rounds: Rounds, kept: list[Kept], spent: np.ndarray) -> bool:
        """Go on from what was saved, if anything was; returns whether nothing is left to do."""
        if self._store.number is None:
            return False
        form = jax.tree.map(_form, _tree(rounds, kept, spent))
        for group in rounds.groups:  # make room: what is put back may fill half of the memory
            group.held = Held(None, None, group.held.places)
        tree = self._store.load(form)
        assert tree is not None
        rounds.history.restore(tree["record"])
        rounds.owed = np.array(tree["owed"])
        spent[:] = tree["spent"]
        for number, (group, saved) in enumerate(zip(rounds.groups, tree["groups"], strict=True)):
            _put_back(group, rounds, saved)
            kept[number] = Kept(int(saved["kept"][0]), float(saved["kept"][1]), saved["kept"][2])
        return self._store.done


def _tree(rounds: Rounds, kept: list[Kept], spent: np.ndarray) -> dict[str, Any]:
    groups = [
        {
            "buffer": group.held.buffer,
            "constants": group.held.constants,
            "device": group.held.places.device,
            "place": group.held.places.place,
            "kept": (np.array(best.index), np.array(best.score, float), best.state),
        }
        for group, best in zip(rounds.groups, kept, strict=True)
    ]
    return {"record": rounds.history.to_tree(), "owed": rounds.owed, "spent": spent, "groups": groups}


def _form(leaf: Any) -> Any:
    """What a store needs to know of a leaf in order to bring it back."""
    if not isinstance(leaf, jax.Array):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _put_back(group: Group, rounds: Rounds, saved: dict[str, Any]) -> None:
    places = group.held.places
    places.restore(saved["device"], saved["place"])
    group.held = Held(saved["buffer"], saved["constants"], places)
    group.numbers = {name: column[group.indices] for name, column in rounds.history.settings.numbers.items()}
