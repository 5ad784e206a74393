"""The thread of a tracker, which writes the points of a sweep in batches through some tool.

Not for the tools themselves (``_trackers.py``).
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Generic, Protocol, TypeVar

import numpy as np

from regopt._core.types import Setting

PATIENCE = 60.0  # seconds to wait for each answer of a tool at the end of a sweep
MOST = 100_000  # the most points that wait for a tool, or two for each setting with points if that is more
Run = TypeVar("Run")
_LOG = logging.getLogger(__name__)
Points = list[tuple[int, dict[str, float]]]  # steps with the finite metrics there


class Tool(Protocol[Run]):
    """The functions in which the tools differ."""

    def open(self, row: int, setting: Mapping[str, object]) -> Run:
        """Begin the run of a setting."""
        ...

    def write(self, run: Run, points: Points) -> None:
        """Write points of a run."""
        ...

    def close(self, run: Run, status: str) -> None:
        """End a run with the status of its setting."""
        ...


class _Ended(Protocol):
    """The part of a ``Result`` that a tracker reads."""

    @property
    def status(self) -> np.ndarray: ...


class Live(Generic[Run]):
    """The functions of a tracker. Its tool works in a thread of its own, so that training never waits for it.

    The thread is a daemon: a tool that does not answer blocks neither the sweep nor the end of the process. After the
    first error of the tool nothing is written. While the tool writes, points wait. If more than ``MOST`` wait, every
    second one of each run is dropped, but not the last; one warning says so when it begins, and one at the end says how
    many.

    Args:
        name: the name of the tool, for the warning.
        tool: the tool.
        every: seconds between writes.
    """

    def __init__(self, name: str, tool: Tool[Run], every: float):
        self._name, self._tool, self._every = name, tool, every
        self._runs: dict[int, Run] = {}  # opened by the thread
        self._settings: dict[int, dict[str, object]] = {}  # of runs that are not open yet
        self._points: dict[int, Points] = {}
        self._waiting = self._dropped = 0  # numbers of points
        self._writing = False
        self._written = self._answered = time.monotonic()
        self._failed = False
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def on_segment(self, step: int, settings: Mapping[int, Setting], metrics: Mapping[str, np.ndarray]) -> None:
        """Keep the points of some settings, and write all that were kept if it is time."""
        if self._failed:
            return
        for place, (row, setting) in enumerate(settings.items()):
            if row not in self._points:
                self._settings[row] = {key: _scalar(value) for key, value in setting.items()}
            values = {metric: float(column[place]) for metric, column in metrics.items()}
            finite = {metric: value for metric, value in values.items() if math.isfinite(value)}
            self._points.setdefault(row, []).append((step, finite))
        self._waiting += len(settings)
        is_full = self._waiting > max(MOST, 2 * len(self._points))
        if not self._writing and (is_full or time.monotonic() - self._written >= self._every):
            self._hand_over()
        elif is_full:
            self._thin()

    def on_end(self, result: _Ended) -> None:
        """Write what is left, end the runs, and wait for that while the tool answers."""
        statuses = [str(status) for status in result.status]
        self._hand_over()
        self._do(lambda: self._close(statuses))
        self._work.put(None)
        if self._thread is not None:
            self._answered = time.monotonic()
            while self._thread.is_alive() and time.monotonic() - self._answered < PATIENCE:
                self._thread.join(0.05)
            if self._thread.is_alive():
                self._fail(f"it has not answered for {PATIENCE:.0f} s")
            self._thread = None
        if self._dropped:
            _LOG.warning("%s was too slow and did not get %d points", self._name, self._dropped)
            self._dropped = 0

    def _thin(self) -> None:
        """Drop every second point of each run that waits, but not the last."""
        if not self._dropped:
            _LOG.warning(
                "%s is slower than the sweep: of more than %d points that wait for it, every second one is dropped; "
                "the result has all of them",
                self._name,
                MOST,
            )
        before = self._waiting
        self._points = {row: points[-1::-2][::-1] for row, points in self._points.items()}
        self._waiting = sum(map(len, self._points.values()))
        self._dropped += before - self._waiting

    def _hand_over(self) -> None:
        settings, points = self._settings, self._points
        self._settings, self._points, self._written = {}, {}, time.monotonic()
        self._waiting, self._writing = 0, True
        self._do(lambda: self._write(settings, points))

    def _write(self, settings: Mapping[int, Mapping[str, object]], points: Mapping[int, Points]) -> None:
        for row, its in points.items():
            if row not in self._runs:
                self._runs[row] = self._tool.open(row, settings[row])
            self._tool.write(self._runs[row], its)
            self._answered = time.monotonic()
        self._writing = False

    def _close(self, statuses: Sequence[str]) -> None:
        for row, run in self._runs.items():
            self._tool.close(run, statuses[row])
            self._answered = time.monotonic()
        self._runs = {}

    def _do(self, function: Callable[[], None]) -> None:
        if self._failed:
            return
        if self._thread is None:
            self._work = SimpleQueue()
            self._thread = threading.Thread(target=self._in_turn, args=(self._work,), name="tracker", daemon=True)
            self._thread.start()
        self._work.put(function)

    def _in_turn(self, work: "SimpleQueue[Callable[[], None] | None]") -> None:
        while (function := work.get()) is not None:
            if self._failed:
                continue
            try:
                function()
            except Exception as error:
                self._fail(" ".join(f"{type(error).__name__}: {error}".split()))

    def _fail(self, text: str) -> None:
        self._failed = True
        _LOG.warning("%s failed, and the sweep goes on without it: %s", self._name, text)


def _scalar(value: object) -> bool | int | float | str:
    if isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__qualname__", None) or str(value)
