"""Callbacks of a sweep: functions of the caller that see each segment in the host process."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, cast

import numpy as np

from regopt._core.types import Setting
from regopt.report import Tracker
from regopt.sweep.results import Result
from regopt.sweep.results._history import History

# A function of the step, of the settings by row, and of the metrics, each with a value for each of these settings.
OnSegment: TypeAlias = Callable[[int, dict[int, Setting], dict[str, np.ndarray]], object]


class HasOnSegment(Protocol):
    """An object that is called after each segment; it may have ``on_end(result)`` too."""

    @property
    def on_segment(self) -> OnSegment: ...


Callback: TypeAlias = OnSegment | HasOnSegment | Tracker


class Callbacks:
    """The callbacks of one training.

    An error of a callback is kept in ``error`` until no call runs on the devices, so that all that was trained can be
    saved before it is raised; no callback is called after it.

    Args:
        callbacks: functions ``(step, settings, metrics)``, or objects with ``on_segment`` and perhaps ``on_end``.
    """

    def __init__(self, callbacks: Sequence[Callback] = ()):
        self._callbacks = callbacks
        self.error: Exception | SystemExit | None = None

    def on_segment(self, history: History, rows: np.ndarray) -> None:
        """Tell every callback of a segment that these settings have trained."""
        if not self._callbacks or self.error is not None or not len(rows):
            return
        step = int(history.last_step[rows[0]])
        at = int(np.searchsorted(history.steps, step))
        settings = {int(row): history.settings.row(int(row)) for row in rows}
        metrics = {name: curve[rows, at] for name, curve in history.curves.items()}
        self._call(lambda callback: _function(callback)(step, settings, metrics))

    def on_end(self, result: Result) -> None:
        """Tell every callback that has ``on_end`` of the result."""
        self._call(lambda callback: getattr(callback, "on_end", lambda _: None)(result))

    def check(self) -> None:
        """Raise the error of a callback."""
        if self.error is not None:
            raise self.error

    def _call(self, tell: Callable[[Callback], object]) -> None:
        if self.error is not None:
            return
        try:
            for callback in self._callbacks:
                tell(callback)
        except (Exception, SystemExit) as error:
            error.add_note("raised by a callback of sweep.run")
            self.error = error


def _function(callback: Callback) -> OnSegment:
    return cast(OnSegment, getattr(callback, "on_segment", callback))
