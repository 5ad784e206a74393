"""The course of a sweep: rounds of calls, and between them the decisions who goes on.

A round is fixed before its first call, and decisions are made only when all of its calls have been read: what is
decided depends on the table alone, not on time, nor on where an earlier process was interrupted; but for a scheduler
that asks for the tables of other hosts.
"""

import itertools
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np

from regopt.sweep.engine._group import Group
from regopt.sweep.results._history import History
from regopt.sweep.schedulers import Scheduler, SchedulerState


class Watcher(Protocol):
    """Who looks on: a progress line, a store, a keeper of states."""

    def leaving(self, group: Group, lanes: np.ndarray) -> None:
        """Ended lanes are about to lose their places."""
        ...

    def call_done(self, group: Group, rows: np.ndarray) -> None:
        """A call with these settings has been read and recorded."""
        ...

    def wants_pause(self) -> bool:
        """Asked before every call but the first after a pause: whether all calls shall be read before the next."""
        ...

    def paused(self, rounds: "Rounds") -> None:
        """All calls have been read, in the midst of a round or at its end: nothing is in flight."""
        ...


class Rounds:
    """A sweep's course over its groups.

    Args:
        groups: of settings.
        record: what is known of the settings.
        scheduler: who decides; None lets all train.
        monitor: the metric it goes by.
        mode: whether a smaller or a larger one is better.
        keeps_best: the best value so far counts, rather than the last.
        slots: ``[settings, evaluations]``: in which slot to train each segment; by default as ``Places`` says.
        others: scores of the settings of other hosts, as they are when asked.
    """

    def __init__(
        self,
        groups: list[Group],
        history: History,
        scheduler: Scheduler | None,
        *,
        monitor: str,
        mode: Literal["min", "max"],
        keeps_best: bool,
        slots: np.ndarray | None = None,
        others: Callable[[], np.ndarray] | None = None,
    ):
        self._others = others
        self.groups, self.history, self.scheduler = groups, history, scheduler
        self._scores: Callable[[], np.ndarray] = lambda: history.scores(monitor, mode, keeps_best=keeps_best)
        self._slots = slots
        size = len(history.settings)
        self.owed = np.zeros(size, bool)  # settings that the round in hand has yet to train
        self._group, self._wave = np.zeros(size, int), np.zeros(size, int)
        for number, group in enumerate(groups):
            self._group[group.indices] = number
            self._wave[group.indices] = group.held.places.waves

    def run(self, watcher: Watcher, halt: Callable[[], bool]) -> bool:
        """Round after round, to the end of all settings.

        Args:
            watcher: told of every call and round.
            halt: asked before every call; once it says so, those begun are still read.

        Returns:
            Whether it was halted before the end.
        """
        while True:
            if not self.owed.any():
                self._begin_round(watcher)
            if not self.owed.any():
                return False
            for group in self.groups:
                self._train(group, watcher, halt)
                if halt():
                    return bool(self.history.training.any())

    def _begin_round(self, watcher: Watcher) -> None:
        wait = np.zeros_like(self.owed) if self.scheduler is None else self._decide(self.scheduler)
        training, segments = self.history.training, self.history.segments
        for group in self.groups:
            places, rows = group.held.places, group.indices
            leavers = places.leavers(~training[rows])
            if len(leavers):
                watcher.leaving(group, leavers)
            group.start(places.admit(leavers))
            self.owed[rows] = places.ready(segments[rows], training[rows], wait[rows])
        if training.any() and not self.owed.any():
            raise ValueError("the scheduler lets none of the settings train that have not ended")

    def _decide(self, scheduler: Scheduler) -> np.ndarray:
        """Act on what the scheduler says; returns who must wait."""
        history = self.history
        state = SchedulerState(
            self._scores(),
            history.segments,
            history.training.copy(),
            self._wave,
            self._group,
            history.settings.numbers,
            history.parents,
            *([] if self._others is None else [self._others()]),
        )
        decision = scheduler.decide(state)
        history.end(decision.prune)
        if decision.parents is not None:
            self._take_over(decision.parents, decision.numbers)
        return decision.wait

    def _take_over(self, parents: np.ndarray, numbers: Any) -> None:
        for group in self.groups:
            own = np.arange(len(group.indices))
            lane_of = np.full(len(parents), -1)
            lane_of[group.indices] = own
            theirs = lane_of[parents[group.indices]]
            changed = np.flatnonzero(theirs != own)
            if len(changed):
                columns = {name: column[group.indices] for name, column in numbers.items()}
                group.take_over(changed, theirs[changed], columns)
        self.history.take_over(parents, numbers)

    def _train(self, group: Group, watcher: Watcher, halt: Callable[[], bool]) -> None:
        """What the round has yet to train of a group, pausing where the watcher wants to."""
        history = self.history
        while not halt() and self.owed[group.indices].any():
            owed, segments = self.owed[group.indices], history.segments[group.indices]
            segment = int(segments[owed].min())
            lanes = np.flatnonzero(owed & (segments == segment))
            again = None if self._slots is None else self._slots[group.indices[lanes], segment]
            first_step, stop = segment * int(history.steps[0]), _first_runs(watcher.wants_pause, halt)
            for owners, slots, (metrics, marks) in group.train(lanes, first_step, stop, again):
                rows = group.indices[owners]
                history.add(segment, rows, slots, metrics, marks)
                self.owed[rows] = False
                watcher.call_done(group, rows)
            watcher.paused(self)


def _first_runs(pause: Callable[[], bool], halt: Callable[[], bool]) -> Callable[[], bool]:
    """Whether to begin no further call: one begins after every pause, unless all is to end."""
    asked = itertools.count()
    return lambda: halt() or (next(asked) > 0 and pause())
