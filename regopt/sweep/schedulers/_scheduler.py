"""A scheduler is a pure function from the table of a sweep so far to a decision.

It sees only the table and is asked between rounds of calls, so the same command makes the same decisions, also after an
interruption. A diverged setting has an infinite score, so it never outlives another one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class SchedulerState(NamedTuple):
    """The table that a scheduler decides from: NumPy arrays with the settings on the first axis."""

    scores: np.ndarray  # [settings, evaluations], float: smaller is better, inf diverged, NaN not trained so far
    segments: np.ndarray  # [settings], int: number of segments done
    going: np.ndarray  # [settings], bool: neither done, stopped, diverged nor pruned
    wave: np.ndarray  # [settings], int: the settings of one wave fit on the devices at the same time
    group: np.ndarray  # [settings], int: those of one group have the same static values
    numbers: Mapping[str, np.ndarray]  # each [settings]: the traced columns
    parents: np.ndarray  # [settings, evaluations], int: the row whose state a segment began with, -1 where undecided


class Decision(NamedTuple):
    """The decision of a scheduler between two rounds."""

    wait: np.ndarray  # [settings], bool: settings that must not train in the next round
    prune: np.ndarray  # [settings], bool: settings that end now
    parents: np.ndarray | None = None  # [settings], int: the row whose state each continues; None: its own
    numbers: Mapping[str, np.ndarray] = {}  # columns among the scheduler's ``changes``, each [settings]


class Scheduler(NamedTuple):
    """A rule ``decide(state) -> decision`` with its name.

    A scheduler of your own is such a tuple; its ``decide`` must be a function of the state alone:

    >>> import numpy as np
    >>> from regopt import sweep
    >>> from regopt.testing import MEAN_DATA, MEAN_TASK
    >>> def worse_than_one(state):
    ...     last = state.scores[np.arange(len(state.going)), np.maximum(state.segments - 1, 0)]
    ...     return sweep.Decision(wait=np.zeros_like(state.going), prune=state.going & (last > 1.0))
    >>> settings = sweep.from_columns({"rate": [0.5, 2.5]})
    >>> scheduler = sweep.Scheduler(worse_than_one, "worse_than_one")
    >>> sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1, scheduler=scheduler).status.tolist()
    ['done', 'pruned']

    ``rungs(total)`` may return the numbers of segments, of a total, after which the rule decides on settings that have
    all trained equally far. In between, the workers of an executor train without waiting for each other.
    ``going(total)`` may return the share of the settings that train in each segment, which is 1 for the first; where
    few train in the last ones, a CPU uses smaller chunks from the start.
    """

    decide: Callable[[SchedulerState], Decision]
    name: str  # with all its arguments, for messages and reports
    changes: tuple[str, ...] = ()  # names of the numbers that it may change
    draws_fractions: tuple[str, ...] = ()  # those of ``changes`` whose new values may be fractions
    rungs: Callable[[int], Collection[int]] | None = None  # see above; None asks after each segment
    going: Callable[[int], Sequence[float]] | None = None  # see above; None where it is not known

    def next_rung(self, segments: int, total: int) -> int:
        """The number of segments, of the total, at which settings that have all done ``segments`` are decided on."""
        if self.rungs is None:
            return segments + 1
        return min((rung for rung in self.rungs(total) if rung > segments), default=total)
