"""The history of a sweep while it trains: arrays that are filled segment by segment."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from regopt._core.metrics import as_loss
from regopt._core.types import Mode, Tree
from regopt.sweep.space import Settings


class Marks(NamedTuple):
    """The numbers from which the host decides whether a lane goes on; int32 scalars of one lane, -1 if not trained."""

    first_bad_step: jax.Array  # the first step of the segment with a NaN or an infinity, 0 without one
    stop: jax.Array
    best_step: jax.Array  # 0 without early stopping

    @property
    def trained(self) -> Tree:
        """Whether each lane has trained the segment."""
        return self.first_bad_step >= 0

    @property
    def ends(self) -> Tree:
        """Whether each lane ends with the segment."""
        return (self.first_bad_step > 0) | (self.stop > 0)


@dataclasses.dataclass
class History:
    """The history of each setting so far, as NumPy arrays with the settings on the first axis."""

    settings: Settings  # with the numbers as they are now
    steps: np.ndarray  # [evaluations], int: step of each evaluation
    curves: dict[str, np.ndarray]  # each [settings, evaluations], float; NaN where not trained
    training: np.ndarray  # [settings], bool: trains further
    stopped: np.ndarray  # [settings], bool: ended by early stopping
    pruned: np.ndarray  # [settings], bool: ended by the scheduler
    first_bad_step: np.ndarray  # [settings], int: see ``Result.to_pandas``; 0 where nothing was bad
    best_step: np.ndarray  # [settings], int: the best step so far with early stopping, else 0
    last_step: np.ndarray  # [settings], int: number of steps done
    seats: np.ndarray  # [settings, evaluations], int: the seat in which a segment is trained; -1 where none is planned
    parents: np.ndarray  # [settings, evaluations], int: the row whose state a segment began with, -1 if undecided
    used: dict[str, np.ndarray]  # each [settings, evaluations]: the values of the numbers that change in training
    places: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # of a mixed fleet, see ``DEVICE``

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read the pickles of earlier versions too."""
        seats = {"seats": state[SEATS]} if SEATS in state else {}
        self.__dict__.update({"places": {}} | {name: value for name, value in state.items() if name != SEATS} | seats)

    @classmethod
    def empty(
        cls,
        settings: Settings,
        metrics: Sequence[str],
        steps: np.ndarray,
        changing: Sequence[str] = (),
        *,
        mixed: bool = False,
    ) -> "History":
        """The history before any training.

        Args:
            settings: all settings of the sweep.
            metrics: the names of the curves.
            steps: the step of each evaluation.
            changing: the names of the numbers that a scheduler may change during training.
            mixed: whether settings train on several kinds of devices, so that the history says on which.

        Returns:
            The history, with all settings in training.
        """
        size = len(settings)
        return cls(
            settings=settings,
            steps=steps,
            curves={name: np.full((size, len(steps)), np.nan) for name in metrics},
            training=np.ones(size, bool),
            stopped=np.zeros(size, bool),
            pruned=np.zeros(size, bool),
            first_bad_step=np.zeros(size, int),
            best_step=np.zeros(size, int),
            last_step=np.zeros(size, int),
            seats=np.full((size, len(steps)), -1),
            parents=np.full((size, len(steps)), -1),
            used={name: np.full((size, len(steps)), np.nan) for name in changing},
            places={DEVICE: np.zeros(size, KIND)} if mixed else {},
        )

    def add(
        self,
        segment: int,
        rows: np.ndarray,
        seats: np.ndarray,
        metrics: Mapping[str, np.ndarray],
        marks: Marks,
        kind: str = "",
    ) -> None:
        """Record one segment of some settings, trained in these seats on this kind of device, and which end with it."""
        self.seats[rows, segment] = seats
        for kinds in self.places.values():
            kinds[rows] = kind.encode()
        for name, values in metrics.items():
            self.curves[name][rows, segment] = values
        for name, values in self.used.items():
            values[rows, segment] = self.settings.numbers[name][rows]
        self.last_step[rows] = self.steps[segment]
        self.first_bad_step[rows] = marks.first_bad_step
        self.best_step[rows] = marks.best_step
        self.stopped[rows] = marks.stop > 0
        is_last = segment == len(self.steps) - 1
        self.training[rows] = (marks.first_bad_step == 0) & (marks.stop == 0) & (not is_last)

    def end(self, rows: np.ndarray) -> None:
        """Mark settings that the scheduler ends, ``[settings]`` bool, as pruned, except those that have ended."""
        self.pruned |= rows & self.training
        self.training &= ~rows

    def take_over(self, parents: np.ndarray, numbers: Mapping[str, np.ndarray]) -> None:
        """Let some settings continue from the states of others, diverged ones too; their curves up to here stay.

        Args:
            parents: [settings], int: the row whose state each setting continues; its own row where it keeps its state.
            numbers: columns that change, each ``[settings]``.
        """
        rows = np.flatnonzero(parents != np.arange(len(parents)))
        begun = np.flatnonzero(self.segments[parents] < len(self.steps))
        self.parents[begun, self.segments[parents[begun]]] = parents[begun]
        self.settings = Settings({**self.settings.numbers, **numbers}, self.settings.static)
        self.first_bad_step[rows], self.best_step[rows] = 0, self.best_step[parents[rows]]
        self.last_step[rows], self.stopped[rows], self.pruned[rows] = self.last_step[parents[rows]], False, False
        self.training[rows] = self.last_step[rows] < self.steps[-1]

    @property
    def segments(self) -> np.ndarray:
        """[settings], int: number of segments done."""
        return self.last_step // self.steps[0]

    @property
    def diverged(self) -> np.ndarray:
        """[settings], bool: whether a NaN or an infinity occurred."""
        return self.first_bad_step > 0

    def scores(
        self, monitor: str, mode: Mode, *, keeps_best: bool, rows: np.ndarray | slice = slice(None)
    ) -> np.ndarray:
        """The score of each setting after each segment: ``[settings, evaluations]``, smaller is better.

        Args:
            monitor: the metric.
            mode: whether a smaller or a larger metric is better.
            keeps_best: whether the best value so far counts, rather than the last.
            rows: the settings whose scores are wanted; by default all.

        Returns:
            The scores; NaN after the last segment of a setting, infinite where its metric is not finite and after it
            has diverged.
        """
        values, bad_step = as_loss(self.curves[monitor][rows], mode), self.first_bad_step[rows, None]
        done = self.steps <= self.last_step[rows, None]
        diverged = (bad_step > 0) & (self.steps >= bad_step)
        values = np.where(diverged | ~np.isfinite(values), np.inf, values)
        if keeps_best:
            values = np.where(diverged, np.inf, np.fmin.accumulate(np.where(done, values, np.nan), axis=1))
        return np.where(done, values, np.nan)

    def to_tree(self) -> dict[str, Tree]:
        """Everything but steps and static values, as a tree of arrays for a store."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        parts = {"curves": dict(self.curves), "numbers": dict(self.settings.numbers), "used": dict(self.used)}
        parts |= {"places": dict(self.places)} if self.places else {}
        return {**parts, **arrays, SEATS: self.seats}

    def restore(self, tree: Mapping[str, Tree]) -> None:
        """Replace the history by the one that ``to_tree`` returned; the order of the columns stays."""
        numbers, curves, used = (
            {name: np.array(tree[part][name]) for name in columns}
            for part, columns in (("numbers", self.settings.numbers), ("curves", self.curves), ("used", self.used))
        )
        self.settings, self.curves, self.used = Settings(numbers, self.settings.static), curves, used
        for name in ARRAYS:
            setattr(self, name, np.array(tree[name]))
        self.seats = np.array(tree[SEATS])
        self.places = {name: np.array(tree["places"][name]) for name in self.places}


ARRAYS = ("training", "stopped", "pruned", "first_bad_step", "best_step", "last_step", "parents")
DEVICE = "device"  # [settings], bytes: the kind of device on which each was last trained; empty before that
KIND = "S64"  # the dtype of these names; longer ones are cut off
SEATS = "slots"  # the name of ``seats`` in files, from an earlier version
