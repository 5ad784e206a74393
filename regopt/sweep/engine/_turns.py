"""The order in which calls begin: a segment begins while the last call of the one before runs.

A call waits for the results of a call that trains one of its lanes, because a lane that has ended trains no further.
Where a segment has one call, each waits for the one before.
"""

from collections import deque
from collections.abc import Iterator

import numpy as np

from regopt.sweep.engine._placement import Call, Places
from regopt.sweep.results._history import Marks


class Turns:
    """The calls that train lanes up to some segment.

    Args:
        places: of the lanes.
        lanes: those that train.
        segments: how many each of them has done, ``[lanes]``.
        until: how many they will have done.
        seats: the seat in which to train each of the lanes.
    """

    def __init__(self, places: Places, lanes: np.ndarray, segments: np.ndarray, until: int, seats: np.ndarray):
        self._places, self._lanes, self._segments, self._until, self._seats = places, lanes, segments, until, seats
        self._row = np.zeros(len(places.place), int)  # of each lane in ``lanes``
        self._row[lanes] = np.arange(len(lanes))
        self._ended, self._running, self._left = (np.zeros(len(lanes), bool) for _ in range(3))
        self._is_planned = False  # whether the calls are those of the lanes that have not ended

    def __iter__(self) -> Iterator[tuple[int, Call] | None]:
        """The segment of each call and the call; None where a result must come first."""
        for segment in range(int(self._segments.min(initial=self._until)), self._until):
            yield from self._of(segment)

    def read(self, lanes: np.ndarray, marks: Marks) -> None:
        """Tell the results of a call, ``[lanes]`` each, once they are read."""
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
