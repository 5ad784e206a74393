"""The order in which calls begin, and the reading of their results, each while the next call runs.

A segment begins while the last call of the previous segment runs. A call waits for the results of a call that trains
one of its lanes, because a lane that has ended trains no further. If a segment has one call, each waits for the one
before. A call of several segments ends where other lanes have come to, so that lanes go on together.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.engine._placement import Call, Places
from regopt.sweep.engine._repeat import Pace
from regopt.sweep.results._history import Marks

Report = tuple[np.ndarray, np.ndarray, Tree]  # of a call: its lanes, their seats in it, and the results of each
Learned = TypeVar("Learned")


class Turn(NamedTuple):
    """A call that may begin."""

    segment: int  # the first
    count: int  # of segments, at most
    call: Call

    def reports(
        self, lanes: np.ndarray, seats: np.ndarray, metrics: Mapping[str, np.ndarray], marks: Marks
    ) -> Iterator[tuple[int, str, int, Report]]:
        """The reports of the segments that the call has trained.

        Args:
            lanes: the lanes of the call.
            seats: the seat of each, ``[lanes]``.
            metrics: their metrics, each ``[segments, lanes]``.
            marks: their marks, likewise.

        Yields:
            The segment, the kind of its device (here empty), the number of seats of the call, busy or not, and the
            report, with the pair of metrics and marks as NumPy arrays ``[lanes]``.
        """
        for number, trained in enumerate(marks.trained):
            if trained.any():
                values = jax.tree.map(lambda x: x[number, trained], (metrics, marks))  # noqa: B023
                yield self.segment + number, "", len(self.call.places), (lanes[trained], seats[trained], values)


class Turns:
    """The calls that train lanes up to some segment.

    Args:
        places: the places of the lanes.
        lanes: the lanes that train.
        segments: the number of segments that each of them has done, ``[lanes]``.
        until: the number of segments that they will have done.
        seats: the seat in which to train each of the lanes.
        pace: tells how many segments a call may train.
    """

    def __init__(
        self, places: Places, lanes: np.ndarray, segments: np.ndarray, until: int, seats: np.ndarray, pace: Pace
    ):
        self._places, self._lanes, self._until, self._seats, self._pace = places, lanes, until, seats, pace
        self._segments = segments.copy()  # done, or to be done by the call that runs
        self._row = np.zeros(len(places.place), int)  # the row of each lane in ``lanes``
        self._row[lanes] = np.arange(len(lanes))
        self._ended, self._running, self._left = (np.zeros(len(lanes), bool) for _ in range(3))
        self._is_planned = False  # whether the calls are those of the lanes that are left
        pace.begin()

    def __iter__(self) -> Iterator[Turn | None]:
        """The calls; None where a result must come first."""
        while True:
            going = ~self._ended & (self._segments < self._until)
            if going.any():
                yield from self._of(int(self._segments[going].min()))
            elif self._running.any():  # it may end before its lanes have come to the end
                yield None
            else:
                return

    def read(self, turn: Turn, lanes: np.ndarray, marks: Marks) -> None:
        """Record the marks of a call, ``[segments, lanes]`` each, once they are read."""
        rows, trained = self._row[lanes], marks.trained.sum(axis=0)
        done, ends = turn.segment + trained, marks.ends.any(axis=0)
        self._is_planned &= not self._left[rows[ends | (done < self._segments[rows])]].any()
        self._running[rows], self._ended[rows], self._segments[rows] = False, ends, done
        self._pace.read(trained, turn.count)

    def _of(self, segment: int) -> Iterator[Turn | None]:
        self._left, calls = self._segments == segment, deque[Call]()
        left, self._is_planned, ahead = self._left, False, self._until
        while True:
            if not self._is_planned:
                left &= ~self._ended & (self._segments == segment)
                calls = deque(self._places.calls(self._lanes[left], self._seats[left]))
                # other lanes have come to here, so that calls stay as full as they are
                ahead = int(self._segments[~self._ended & (self._segments > segment)].min(initial=self._until))
                self._is_planned = True
            if not calls:
                return
            rows = self._row[calls[0].owners[calls[0].owners >= 0]]
            if self._running[rows].any():
                yield None
                continue
            ahead = end = min(segment + self._pace.segments, ahead)
            left[rows], self._running[rows], self._segments[rows] = False, True, end
            yield Turn(segment, end - segment, calls.popleft())


def one_behind(
    launched: Iterable[tuple[np.ndarray, Tree, int] | None],
    learned: Callable[[Report], Learned] = lambda report: report,
    *,
    hears_signals: bool = True,
) -> Iterator[Learned]:
    """Read the results of calls, each while the next call runs, and leave padding out.

    Args:
        launched: the owners of the seats of each call, its results, and how long it takes, in any unit; None reads the
            call before at once.
        learned: called with the report of each call when it is read, which may be before it is yielded.
        hears_signals: whether handlers of signals run while this waits, at the price of a little time.

    Yields:
        What ``learned`` returns for each call, by default its report, once the next call runs.
    """
    waiting, seconds, held = None, 0.0, list[Learned]()

    def read(owners: np.ndarray, outcome: Tree, duration: int) -> Learned:
        nonlocal seconds
        if hears_signals:
            seconds = _wait(outcome, duration * seconds) / duration
        real = owners >= 0
        return learned((owners[real], np.flatnonzero(real), jax.tree.map(lambda x: np.asarray(x)[real], outcome)))

    try:
        for call in launched:
            if call is None and waiting is not None:
                held.append(read(*waiting))
            else:
                yield from held
                held.clear()
                if waiting is not None:
                    yield read(*waiting)
            waiting = call
    except Exception:
        yield from held
        raise
    yield from held
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
