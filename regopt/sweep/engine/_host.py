"""A group whose lanes lie in the memory of the host between calls; the size of that memory bounds their number.

Each call moves its lanes to the devices and back; the lanes of the next call are moved while this call trains. The
programs are those for lanes that stay on the devices, with a buffer for the lanes of one call.
"""

from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.engine._entries import on_host, rows_of, with_rows, zeros
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._program import build_empty
from regopt.sweep.engine._recipe import Constants, Held, as_number
from regopt.sweep.engine._turns import Report, one_behind


class HostGroup(Group):
    """See ``Group``. The leaves of ``held`` are NumPy arrays, except random keys, and calls change them in place."""

    def advance(
        self, lanes: np.ndarray, segments: np.ndarray, until: int, halt: Callable[[], bool], seats: np.ndarray
    ) -> Iterator[tuple[int, str, int, Report]]:
        """See ``Group``: one segment of the lanes that are behind, which are always where the last report left them."""
        del until
        segment = int(segments.min())
        behind = segments == segment
        (step, block), count = self._inputs_of(segment), self.on_each(np.int32(1))
        running: list[tuple[int, np.ndarray, Tree]] = []  # of calls: the first seat, the owners, the lanes after it

        def launched() -> Iterator[tuple[np.ndarray, Tree, int]]:
            for _, owners in self.held.places.calls(lanes[behind], seats[behind]):
                if halt():
                    return
                (buffer, constants), ids = self._sent(owners), self._on_devices(self._entries_of(owners))
                buffer, outcome = self._trained(buffer, constants, ids, step, count, block)
                after, outcome = self._evaluated(buffer, constants, ids, step, outcome)
                first_seat = self.held.places.sizes.first_of(len(owners) // self.devices)
                running.append((first_seat, owners, after))
                yield owners, outcome, 1

        for trained, at, outcome in one_behind(launched(), hears_signals=self.hears_signals):
            first_seat, owners, after = running.pop(0)
            self._bring_back(owners, after)
            values = jax.tree.map(lambda x: np.atleast_2d(x)[0], outcome.unpacked())
            yield segment, "", len(owners), (trained, first_seat + at, values)

    def take_over(self, lanes: np.ndarray, parents: np.ndarray, numbers: Mapping[str, np.ndarray]) -> None:
        """See ``Group``."""
        self.numbers.update({name: np.array(column) for name, column in numbers.items()})
        buffer, constants, places = self.held
        to = self._at(places, lanes)
        buffer = with_rows(buffer, to, rows_of(buffer, self._at(places, parents)))
        changed = {name: np.asarray(as_number(self.numbers[name][lanes])) for name in numbers}
        some = {name: constants.numbers[name] for name in numbers}
        constants.numbers.update(with_rows(some, to, changed))
        self.held = Held(buffer, constants, places)

    def predict(self, held: Held, lanes: np.ndarray, inputs: Tree) -> Iterator[Report]:
        """See ``Group``."""
        for _, owners in held.places.calls(lanes):
            ids = self._on_devices(self._entries_of(owners))
            outputs = self._predict(*self._sent(owners, held), ids, inputs, self._shared.frozen)
            yield from one_behind([(owners, outputs, 1)])

    def _empty(self) -> tuple[Tree, Tree]:
        return jax.tree.map(lambda shape: zeros(shape, self.size), self._shapes)

    def _initialise(self, ids: np.ndarray, owners: np.ndarray, given: Constants) -> None:
        del ids
        empty = build_empty(self._shapes, len(owners), self._spread)
        ids_of_call = self._on_devices(self._entries_of(owners))
        self._bring_back(owners, *self._start(*empty, ids_of_call, given, self._shared.keys))

    def _entries_of(self, owners: np.ndarray) -> np.ndarray:
        """The places of the lanes of a call in its own buffer, on each device; padding has places beyond its end."""
        chunk = len(owners) // self.devices
        return np.where(owners < 0, chunk, np.arange(len(owners)) % chunk).astype(np.int32)

    def _sent(self, owners: np.ndarray, held: Held | None = None) -> tuple[Tree, Tree]:
        """The lanes of a call, and their constants, on the devices; padding holds an arbitrary lane."""
        buffer, constants, places = self.held if held is None else held
        at = np.maximum(self._at(places, np.maximum(owners, 0)), 0)
        return jax.device_put(rows_of((buffer, constants), at), self._spread)

    def _bring_back(self, owners: np.ndarray, after: Tree, given: Tree = ()) -> None:
        """Write the lanes of a call, and their constants if the call changed them, back to the host's arrays."""
        buffer, constants, places = self.held
        used = np.flatnonzero(owners >= 0)
        at = self._at(places, owners[used])
        buffer = with_rows(buffer, at, rows_of(jax.tree.map(on_host, after), used))
        if given:
            constants = with_rows(constants, at, rows_of(jax.tree.map(on_host, given), used))
        self.held = Held(buffer, constants, places)
