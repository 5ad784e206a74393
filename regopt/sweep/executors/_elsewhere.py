"""How the settings of other hosts stand, for a scheduler that waits for nobody.

What a host reads here is as old as the other's last save, so what is decided by it depends on who was faster.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from regopt.sweep.results import load
from regopt.sweep.results._history import History
from regopt.sweep.results._io import NAME
from regopt.sweep.results._layout import shares_in


class Elsewhere:
    """The scores in the other shares of a sweep, read again where they were saved anew.

    Args:
        share: folder of one's own share, beside the others.
        scores: of a record, ``[settings, evaluations]``.
    """

    def __init__(self, share: Path, scores: Callable[[History], np.ndarray]):
        self._share, self._scores = share, scores
        self._seen: dict[Path, tuple[int, np.ndarray]] = {}  # when a share was saved, and its scores

    def __call__(self) -> np.ndarray:
        """``[settings, evaluations]``: as ``SchedulerState.scores``; no rows before others have saved anything."""
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
        except (OSError, ValueError):  # not there yet, or damaged, which is said where the shares are put together
            return
