"""The saves of a sweep: its state, every ``save_every`` seconds, and the table that people read."""

import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from regopt._core.io import JsonObject, free_bytes
from regopt._core.messages import reason
from regopt.sweep.checkpoint import Store, StoreAccessError, StoreError, StoreMismatchError, alive
from regopt.sweep.engine._extending import take_over_folder
from regopt.sweep.engine._iterated import Iterated
from regopt.sweep.engine._state import SweepState
from regopt.sweep.results import Result
from regopt.sweep.results._history import History


class Reading(NamedTuple):
    """The position of a sweep in data that can only be iterated over."""

    data: Iterated
    steps: int  # in a segment
    compares: bool  # whether the batches must be those that were trained on

    def position(self, history: History) -> JsonObject | None:
        """The position to save; None if nothing is left to train."""
        if not history.training.any():
            return None
        return self.data.position(int(history.segments[history.training].min()) * self.steps)

    def go_on(self, position: JsonObject) -> None:
        """Continue from a saved position."""
        try:
            self.data.go_on(position, compares=self.compares)
        except ValueError as error:
            raise StoreMismatchError(str(error)) from error


class Checkpointing:
    """The checkpoint folder of a sweep that trains, and the times of its saves.

    Args:
        store: the open store.
        folder: the folder of the store.
        seconds: seconds between saves of the state.
        reading: the position in data that can only be iterated over; None for other data.
    """

    def __init__(self, store: Store, folder: Path, seconds: float, reading: Reading | None = None):
        self._reading = reading
        self._store, self._folder, self._seconds = store, folder, seconds
        self._saved = self._seen = time.monotonic()

    def alive(self) -> None:
        """Tell other hosts every ten seconds that this process still runs."""
        if time.monotonic() - self._seen >= 10:
            self._seen = time.monotonic()
            alive(self._folder)

    def due(self) -> bool:
        """Whether it is time to save the state."""
        return time.monotonic() - self._saved >= self._seconds

    def save(self, state: SweepState, *, done: bool) -> None:
        """Save the whole state of the sweep."""
        position = None if self._reading is None else self._reading.position(state.history)
        self._store.save(int(state.history.segments.sum()), state.to_tree(), done=done, position=position)
        self._saved = time.monotonic()

    def save_table(self, result: Result) -> None:
        """Save the table and the curves, without the state."""
        try:
            result.save(self._folder)
            self._saved = time.monotonic()
        except OSError as error:
            needed = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(result.history.to_tree()))
            raise StoreAccessError(
                f"cannot save the table to {self._folder}: {reason(error)}; this needs about {needed:,} bytes, "
                f"{free_bytes(self._folder)} are free; {self._store.left()}"
            ) from error

    def keep(self, state: SweepState, result: Result) -> str:
        """Save what can be saved after an error; returns the end of a sentence, which says what was saved."""
        try:
            if state.is_whole:
                self.save(state, done=False)
            self.save_table(result)
        except StoreError as error:
            return f"; not all of them are saved: {error}"
        what = "all are saved"
        if not state.is_whole:
            states = "no states" if self._store.number is None else "the states of the last regular save"
            what = f"their table is saved, and {states}"
        return f"; {what} in {self._folder}, where the same call resumes"

    def extend(self, state: SweepState) -> None:
        """Take over what a smaller sweep has trained, if the folder holds one, and save it as this sweep."""
        if self._store.extends:
            take_over_folder(state, self._folder)
            self.save(state, done=False)
            self._store.extends = False

    def restore(self, state: SweepState) -> bool:
        """Restore the state that was saved, if there is one; returns whether nothing is left to train."""
        if self._store.number is None:
            return False
        form = state.form()
        state.make_room()
        tree = self._store.load(form)
        assert tree is not None
        state.restore(tree, done=self._store.done)
        if any(difference.startswith("config.chunk") for difference in self._store.differences):
            state.forget_seats()
        if self._reading is not None and self._store.position is not None:
            self._reading.go_on(self._store.position)
        return self._store.done
