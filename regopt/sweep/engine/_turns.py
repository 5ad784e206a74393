"""The order in which calls begin, and the reading of their results, each while the next call runs.

A segment begins while the last call of the previous segment runs. A call waits for the results of a call that trains
one of its lanes, because a lane that has ended trains no further. If a segment has one call, each waits for the one
before.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.engine._placement import Call, Places
from regopt.sweep.results._history import Marks

Report = tuple[np.ndarray, np.ndarray, Tree]  # of a call: its lanes, their seats in it, and the results of each


class Turns:
    """The calls that train lanes up to some segment.

    Args:
        places: the places of the lanes.
        lanes: the lanes that train.
        segments: the number of segments that each of them has done, ``[lanes]``.
        until: the number of segments that they will have done.
        seats: the seat in which to train each of the lanes.
    """

    def __init__(self, places: Places, lanes: np.ndarray, segments: np.ndarray, until: int, seats: np.ndarray):
        self._places, self._lanes, self._segments, self._until, self._seats = places, lanes, segments, until, seats
        self._row = np.zeros(len(places.place), int)  # the row of each lane in ``lanes``
        self._row[lanes] = np.arange(len(lanes))
        self._ended, self._running, self._left = (np.zeros(len(lanes), bool) for _ in range(3))
        self._is_planned = False  # whether the calls are those of the lanes that have not ended

    def __iter__(self) -> Iterator[tuple[int, Call] | None]:
        """The segment of each call and the call; None where a result must come first."""
        for segment in range(int(self._segments.min(initial=self._until)), self._until):
            yield from self._of(segment)

    def read(self, lanes: np.ndarray, marks: Marks) -> None:
        """Record the marks of a call, ``[lanes]`` each, once they are read."""
        rows = self._row[lanes]
        self._running[rows] = False
        self._ended[rows] = marks.ends
        self._is_planned &= not self._left[rows[marks.ends]].any()

    def _of(self, segment: int) -> Iterator[tuple[int, Call] | None]:
        self._left, calls = self._segments <= segment, deque[Call]()
        left, self._is_planned = self._left, False
        while True:
            if not self._is_planned:
                left &= ~self._ended
                calls = deque(self._places.calls(self._lanes[left], self._seats[left]))
                self._is_planned = True
            if not calls:
                return
            rows = self._row[calls[0].owners[calls[0].owners >= 0]]
            if self._running[rows].any():
                yield None
                continue
            left[rows], self._running[rows] = False, True
            yield segment, calls.popleft()


def one_behind(launched: Iterable[tuple[np.ndarray, Tree] | None], *, hears_signals: bool = True) -> Iterator[Report]:
    """Read the results of calls, each while the next call runs, and leave padding out.

    Args:
        launched: the owners of the seats of each call, and its results; None reads the call before at once.
        hears_signals: whether handlers of signals run while this waits, at the price of a little time.

    Yields:
        The report of each call.
    """
    waiting, waited = None, 0.0

    def read(owners: np.ndarray, outcome: Tree) -> Report:
        nonlocal waited
        if hears_signals:
            waited = _wait(outcome, waited)
        real = owners >= 0
        return owners[real], np.flatnonzero(real), jax.tree.map(lambda x: np.asarray(x)[real], outcome)

    for call in launched:
        if waiting is not None:
            yield read(*waiting)
        waiting = call
    if waiting is not None:
        yield read(*waiting)


def _wait(outcome: Tree, expected: float) -> float:
    """Wait until the arrays of a tree are ready, while handlers of signals run; return the seconds that this took.

    While JAX waits, Python runs no handler. Each look takes time from the devices of a CPU, so there are few looks if
    the arrays take about as long as expected.
    """
    began, waited = time.perf_counter(), 0.0
    pause, leaves = min(0.8 * expected, 0.05), jax.tree.leaves(outcome)
    while not all(leaf.is_ready() for leaf in leaves):
        time.sleep(max(pause, 5e-5))
        waited = time.perf_counter() - began
        pause = min(waited / 2, max(5e-3, waited / 32))
    return waited
