"""What a scheduler is: a pure function from the table of a sweep so far to a decision.

A scheduler sees nothing but the table and is asked between rounds of calls, so the same command makes the same
decisions, also after an interruption. A diverged setting scores infinity, so it never outlives another one.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class SchedulerState(NamedTuple):
    """What a scheduler sees: NumPy arrays with the settings on the first axis."""

    scores: np.ndarray  # [settings, evaluations], float: smaller is better, inf diverged, NaN not trained so far
    segments: np.ndarray  # [settings], int: segments done
    going: np.ndarray  # [settings], bool: neither done, stopped, diverged nor pruned
    wave: np.ndarray  # [settings], int: settings of one wave fit on the devices at the same time
    group: np.ndarray  # [settings], int: those of one group have the same static values
    numbers: Mapping[str, np.ndarray]  # each [settings]: the traced columns
    parents: np.ndarray  # [settings, evaluations], int: whose state a segment began with, -1 where not decided
    others: np.ndarray = np.empty((0, 0))  # as scores, of the settings of other hosts


class Decision(NamedTuple):
    """What a scheduler says."""

    wait: np.ndarray  # [settings], bool: not to be trained before something else has happened
    prune: np.ndarray  # [settings], bool: to end now
    parents: np.ndarray | None = None  # [settings], int: whose state to go on from; None or the own row: one's own
    numbers: Mapping[str, np.ndarray] = {}  # columns that change, each [settings]


class Scheduler(NamedTuple):
    """``decide(state) -> decision``."""

    decide: Callable[[SchedulerState], Decision]
    name: str  # with all its arguments, for messages and reports
    changes: tuple[str, ...] = ()  # names of the numbers that it may change
    draws_fractions: tuple[str, ...] = ()  # of these, those that need not stay whole numbers
    meets_others: bool = False  # wants the settings of other hosts in the standing
