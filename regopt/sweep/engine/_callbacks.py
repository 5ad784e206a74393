"""Callbacks of a sweep: functions of the caller that see each segment in the host process."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from regopt.sweep.results import Result
from regopt.sweep.results._history import History


class Callbacks:
    """The callbacks of one training.

    An error of a callback is kept in ``error`` until no call runs on the devices, so that all that was trained can be
    saved before it is raised; no callback is called after it.

    Args:
        callbacks: functions ``(step, settings, metrics)``, or objects with ``on_segment`` and perhaps ``on_end``.
    """

    def __init__(self, callbacks: Sequence[Any] = ()):
        self._callbacks = callbacks
        self.error: Exception | None = None

    def on_segment(self, history: History, rows: np.ndarray) -> None:
        """Tell every callback of a segment that these settings have trained."""
        if not self._callbacks or self.error is not None or not len(rows):
            return
        step = int(history.last_step[rows[0]])
        at = int(np.searchsorted(history.steps, step))
        settings = {int(row): history.settings.row(int(row)) for row in rows}
        metrics = {name: curve[rows, at] for name, curve in history.curves.items()}
        self._call(lambda callback: getattr(callback, "on_segment", callback)(step, settings, metrics))

    def on_end(self, result: Result) -> None:
        """Tell every callback that has ``on_end`` of the result."""
        self._call(lambda callback: getattr(callback, "on_end", lambda _: None)(result))

    def check(self) -> None:
        """Raise the error of a callback."""
        if self.error is not None:
            raise self.error

    def _call(self, tell: Callable[[Any], object]) -> None:
        if self.error is not None:
            return
        try:
            for callback in self._callbacks:
                tell(callback)
        except Exception as error:
            error.add_note("raised by a callback of sweep.run")
            self.error = error
