"""Rounds: which settings train next, call by call, and between rounds the decisions of the scheduler.

A round is fixed before its first call, and a decision is made only after all calls of a round have been read. So
decisions depend on the table alone, neither on time nor on where an earlier process was interrupted. Where all lanes
are held, have come equally far and keep their seats, a round goes on to the next segment at which the scheduler
decides. The lanes of a group whose programs still compile get their places when it is the group's turn to train.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from regopt.sweep.engine._checks import check_decision, check_held
from regopt.sweep.engine._decisions import read_only, taken_over
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._placement import NONE
from regopt.sweep.engine._state import SweepState
from regopt.sweep.schedulers import Scheduler, SchedulerState

LOOK = 0.1  # seconds between looks at what else is to be done while a program compiles


class Leaving(NamedTuple):
    """Event: lanes of settings that have ended are about to lose their places."""

    group: Group
    lanes: np.ndarray


class CallDone(NamedTuple):
    """Event: one or more calls of a segment have been read, and are in the history."""

    group: Group
    rows: np.ndarray  # the settings that they trained
    seats: int  # of all of them, busy or not


class Compiling(NamedTuple):
    """Event: nothing runs until a program is compiled."""


class Paused(NamedTuple):
    """Event: no call is running, within a round or at its end, so the state may be saved."""


Event = Leaving | CallDone | Compiling | Paused


class Rounds:
    """The rounds of a sweep over its groups.

    Args:
        state: the state of the sweep, which the rounds continue and change.
        scheduler: the rule that decides; None lets all settings train to the end.
        seats: ``[settings, evaluations]``: the seat in which to train each segment; by default as ``Places`` plans.
        together: whether all settings that train must be at the same segment, and so rounds have one.
    """

    def __init__(
        self,
        state: SweepState,
        scheduler: Scheduler | None,
        seats: np.ndarray | None = None,
        *,
        together: bool = False,
    ):
        self._together = together
        self._state, self._scheduler, self._seats = state, scheduler, seats
        size = len(state.history.settings)
        self._group, self._wave = np.zeros(size, int), np.zeros(size, int)
        for number, group in enumerate(state.groups):
            self._group[group.indices] = number
            self._wave[group.indices] = group.held.places.waves
        self._until: int | None = None  # the end of the current round, as ``_end_of_round`` gives it
        self._seats_before: dict[Group, np.ndarray] = {}  # see ``_before``

    def run(self, pause: Callable[[], bool], halt: Callable[[], bool]) -> Iterator[Event]:
        """Train round after round, until all settings have ended or the sweep is halted.

        Args:
            pause: asked before every call but the first after a pause: whether to read all calls before the next.
            halt: asked before every call; after it returns True none is started, and those that run are still read.

        Yields:
            Each event, before the next call or decision.
        """
        state = self._state
        while True:
            if not state.owed.any():
                yield from self._begin_round()
            if not state.owed.any():
                return
            for number, group in enumerate(state.groups):
                if number in state.late and state.owed[group.indices].any():
                    yield from self._wait(group, halt)
                    if halt():
                        return
                    self._open(group)
                yield from self._train(group, pause, halt)
                if halt():
                    return

    @property
    def compiled(self) -> bool:
        """Whether the programs of all groups are compiled, so that ``open`` does not wait."""
        return all(self._state.groups[number].compiled_within(0) for number in self._state.late)

    def open(self) -> None:
        """Wait for the programs of all groups, and let their lanes begin, so that the state is whole."""
        for number in sorted(self._state.late):
            self._open(self._state.groups[number])

    def _wait(self, group: Group, halt: Callable[[], bool]) -> Iterator[Event]:
        """Wait until a group's programs are compiled, or an end is asked for."""
        began = time.perf_counter()
        while not group.compiled_within(LOOK) and not halt():
            yield Compiling()
        self._state.spent.leave_out(time.perf_counter() - began)

    def _open(self, group: Group) -> None:
        """Let all lanes of a group begin, at its place in the round that was fixed without it."""
        self._state.open(group)
        group.start(group.held.places.admit(NONE))
        if self._seats is None:
            self._plan(group, self._until)

    def _begin_round(self) -> Iterator[Event]:
        """Let the scheduler decide, admit settings where others have ended, and fix the settings of the round."""
        state, history = self._state, self._state.history
        wait = np.zeros_like(state.owed) if self._scheduler is None else self._decide(self._scheduler)
        training, segments = history.training, history.segments
        for number, group in enumerate(state.groups):
            places, rows = group.held.places, group.indices
            if number in state.late:  # it has room for all of its lanes
                state.owed[rows] = training[rows] & ~wait[rows]
                continue
            leavers = places.leavers(~training[rows])
            if len(leavers):
                yield Leaving(group, leavers)
            group.start(places.admit(leavers))
            state.owed[rows] = places.ready(segments[rows], training[rows], wait[rows])
        if training.any() and not state.owed.any():
            raise ValueError(
                "the scheduler must let a setting train while some have not ended, but it told all of them to wait"
            )
        if self._together and not np.array_equal(state.owed, training):
            raise ValueError(
                "the scheduler must let all settings train that have not ended where data.train can only be iterated "
                "over, as they need the same batches at the same time"
            )
        if self._seats is None and state.owed.any():
            self._until = self._end_of_round()
            for number, group in enumerate(state.groups):
                if number not in state.late:
                    self._plan(group, self._until)

    def _plan(self, group: Group, until: int | None) -> None:
        """Write down the seats in which the settings of the round train, which a process that resumes takes as well."""
        history, owed = self._state.history, np.flatnonzero(self._state.owed[group.indices])
        segments, before = history.segments[group.indices[owed]], self._before(group)
        for segment in np.unique(segments):
            lanes = owed[segments == segment]
            ahead = len(history.steps) - int(segment)
            planned = group.held.places.plan(lanes, ahead * group.price, before)
            history.seats[group.indices[lanes], segment : until or segment + 1] = planned[:, None]

    def _before(self, group: Group, used: np.ndarray = NONE) -> np.ndarray:
        """A seat of each size of the calls that have trained a group: those in the table, and those ``used`` now."""
        history, sizes = self._state.history, group.held.places.sizes
        if (known := self._seats_before.get(group)) is None:
            done = np.arange(len(history.steps)) < history.segments[group.indices][:, None]
            known = history.seats[group.indices][done]
        seats = np.append(known, used)
        self._seats_before[group] = sizes.firsts[np.unique(sizes.of(seats[seats >= 0]))]
        return self._seats_before[group]

    def _decide(self, scheduler: Scheduler) -> np.ndarray:
        """Apply the decision of the scheduler; returns the settings that must wait."""
        history = self._state.history
        decision = scheduler.decide(
            SchedulerState(
                self._state.scores().copy(),
                history.segments,
                history.training.copy(),
                self._wave,
                self._group,
                {name: read_only(column) for name, column in history.settings.numbers.items()},
                read_only(history.parents),
            )
        )
        check_decision(decision, len(history.training))
        history.end(decision.prune)
        if decision.parents is not None or decision.numbers:
            self._take_over(*taken_over(decision, scheduler, history, self._group))
        return decision.wait

    def _take_over(self, parents: np.ndarray, numbers: Mapping[str, np.ndarray]) -> None:
        """Let settings continue from the states of others, with other numbers."""
        self.open()
        for group in self._state.groups:
            own = np.arange(len(group.indices))
            lane_of = np.full(len(parents), -1)
            lane_of[group.indices] = own
            theirs = lane_of[parents[group.indices]]
            columns = {name: column[group.indices] for name, column in numbers.items()}
            others = [column != group.numbers[name] for name, column in columns.items()]
            changed = np.flatnonzero(np.any([theirs != own, *others], axis=0))
            if len(changed):
                check_held(group.size, len(own))
                group.take_over(changed, theirs[changed], columns)
        self._state.history.take_over(parents, numbers)
        self._state.changed[:] = True
        self._seats_before.clear()

    def _train(self, group: Group, pause: Callable[[], bool], halt: Callable[[], bool]) -> Iterator[Event]:
        """Train the settings of a group that the round has yet to train."""
        state, history = self._state, self._state.history
        while not halt() and state.owed[group.indices].any():
            until = self._end_of_round()
            lanes = np.flatnonzero(state.owed[group.indices])
            segments = history.segments[group.indices[lanes]]
            if until is None:
                lanes, segments = lanes[segments == segments.min()], segments[segments == segments.min()]
            end = int(segments[0]) + 1 if until is None else until
            seats = (history.seats if self._seats is None else self._seats)[group.indices[lanes], segments]
            reports = group.advance(lanes, segments, end, _after_one(pause, halt), seats)
            for segment, kind, seats, (owners, used, (metrics, marks)) in reports:
                rows = group.indices[owners]
                history.add(segment, rows, used, metrics, marks, kind)
                state.changed[rows] = True
                self._before(group, used)
                history.seats[rows[~history.training[rows]], segment + 1 :] = -1
                state.owed[rows] = history.training[rows] & (segment + 1 < end)
                yield CallDone(group, rows, seats)
            yield Paused()

    def _end_of_round(self) -> int | None:
        """The number of segments at which the round ends; None where it ends after one segment of each setting.

        It follows from the table, so a process that goes on within a round finds the same end.
        """
        state, history = self._state, self._state.history
        if self._together or self._seats is not None or not all(_keeps_slots(group) for group in state.groups):
            return None
        segments = history.segments
        behind = int(segments[state.owed].min())
        total = len(history.steps)
        end = total if self._scheduler is None else self._scheduler.next_rung(behind, total)
        together = np.where(state.owed, segments < end, segments == end)[history.training].all()
        return end if together and end > behind + 1 else None


def _keeps_slots(group: Group) -> bool:
    """Whether lanes may keep their seats for a round of several segments, because calls stay as full as they are."""
    places = group.held.places
    return not places.streams and not (places.packed and group.recipe.patience is not None)


def _after_one(pause: Callable[[], bool], halt: Callable[[], bool]) -> Callable[[], bool]:
    """A function that tells whether to start no further call; after a pause one call always starts, unless halted."""
    asked = itertools.count()
    return lambda: halt() or (next(asked) > 0 and pause())
