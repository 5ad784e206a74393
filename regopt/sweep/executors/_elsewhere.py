"""The scores of the settings of other hosts, for an asynchronous scheduler.

The scores are as old as the last save of the other host, so decisions from them depend on which host was faster.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from regopt.sweep.results import load
from regopt.sweep.results._history import History
from regopt.sweep.results._io import NAME
from regopt.sweep.results._layout import shares_in


class Elsewhere:
    """The scores in the other shares of a sweep, read again after each save of a share.

    Args:
        share: folder of the share of this host, beside those of the others.
        scores: maps a history to its scores, ``[settings, evaluations]``.
    """

    def __init__(self, share: Path, scores: Callable[[History], np.ndarray]):
        self._share, self._scores = share, scores
        self._seen: dict[Path, tuple[int, np.ndarray]] = {}  # by share: the time of its last save, and its scores

    def __call__(self) -> np.ndarray:
        """The scores, ``[settings, evaluations]``, as ``SchedulerState.scores``; no rows before the first save."""
        for share in shares_in(self._share.parent)[1].values():
            if share != self._share:
                self._read(share)
        found = [scores for _, scores in self._seen.values()]
        return np.concatenate(found) if found else np.empty((0, 0))

    def _read(self, share: Path) -> None:
        try:
            saved = (share / NAME).stat().st_mtime_ns
            if saved != self._seen.get(share, (None,))[0]:
                self._seen[share] = saved, self._scores(load(share).history)
        except (OSError, ValueError):  # not there yet, or damaged, which the merge of the shares reports
            return
