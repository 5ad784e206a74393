"""One course of a sweep: its settings from the first step to the result."""

import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from regopt._core.types import Tree
from regopt.sweep.engine._checkpointing import Kept, Saving
from regopt.sweep.engine._checks import check_predicts
from regopt.sweep.engine._group import Group, Held
from regopt.sweep.engine._progress import SweepProgress
from regopt.sweep.engine._rounds import Rounds
from regopt.sweep.engine._signals import interruptible
from regopt.sweep.results import Result
from regopt.sweep.results._history import History
from regopt.sweep.schedulers import Decision, Scheduler, SchedulerState
from regopt.sweep.space import Settings


class Course:
    """What all trainings of a sweep share: the first, and each that trains one setting again.

    Args:
        groups: of the settings, compiled.
        settings: all of them.
        steps: of the evaluations, ``[evaluations]``.
        scheduler: who goes on; None trains all.
        monitor: the metric that counts.
        mode: whether a smaller or a larger one is better.
        keeps_best: early stopping keeps the best state.
    """

    def __init__(
        self,
        groups: list[Group],
        settings: Settings,
        steps: np.ndarray,
        scheduler: Scheduler | None,
        monitor: str,
        mode: Literal["min", "max"],
        keeps_best: bool,
    ):
        self.groups, self.settings, self.steps, self.scheduler = groups, settings, steps, scheduler
        self.monitor, self.keeps_best = monitor, keeps_best
        self.mode: Literal["min", "max"] = mode

    def train(
        self,
        only: int | None = None,
        before: History | None = None,
        *,
        progress: bool = False,
        saving: Saving | None = None,
        others: Callable[[], np.ndarray] | None = None,
    ) -> Result:
        """Train all settings, or one of them alone, in the slots that it had before.

        Args:
            only: the one.
            before: what is known of it from then.
            progress: show it.
            saving: where to; None saves nothing.
            others: scores of other hosts' settings, for a scheduler that compares with them.
        """
        if only is not None and self.scheduler is not None and self.scheduler.changes:
            raise ValueError("a setting that took over others' states can't be trained alone: run the sweep again")
        history = self._record()
        for group in self.groups:
            group.clear()
        if only is not None:
            history.training[:] = np.arange(len(self.settings)) == only
        slots = None if only is None or before is None else self._slots_again(only, before.slots)
        rounds = Rounds(
            self.groups,
            history,
            self.scheduler if only is None else _as_before(only, before),
            monitor=self.monitor,
            mode=self.mode,
            keeps_best=self.keeps_best,
            slots=slots,
            others=others,
        )
        watcher = Watching(self, history)
        done = saving is not None and saving.restore(rounds, watcher.kept, watcher.spent)
        bar = SweepProgress(
            progress, segments=len(self.steps) * watcher.asked, settings=watcher.asked, monitor=self.monitor
        )
        interrupted = False
        with interruptible(terminable=saving is not None) as asked_to_end:
            if not done:
                with bar:
                    interrupted = rounds.run(watcher.showing(bar, saving), asked_to_end)
            result = self.result(history, watcher, interrupted=interrupted)
            if saving is not None:
                if not done:
                    saving.save(rounds, watcher.kept, watcher.spent_now(), done=not interrupted)
                saving.save_table(result)  # also where a kill came between the two
        return result

    def _slots_again(self, only: int, slots: np.ndarray) -> np.ndarray:
        """In which slots to train one setting again, which is held by itself from now on; the first if it had none."""
        slots = np.where(slots < 0, np.maximum(slots[:, :1], 0), slots)
        for group in self.groups:
            group.held.places.alone(None)
        number, lane = self._find(only)
        group = self.groups[number]
        group.held.places.alone(lane, int(slots[only, 0]) // group.chunk)
        group.start(np.array([lane]))
        return slots

    def _find(self, index: int) -> tuple[int, int]:
        """The group of a setting, and its lane there."""
        number = next(number for number, group in enumerate(self.groups) if index in group.indices)
        return number, int(np.flatnonzero(self.groups[number].indices == index)[0])

    def _record(self) -> History:
        metrics = list(dict.fromkeys(name for group in self.groups for name in group.metrics))
        changes = () if self.scheduler is None else self.scheduler.changes
        return History.empty(self.settings, metrics, self.steps, changes)

    def scores(self, history: History) -> np.ndarray:
        """``[settings, evaluations]``: how good settings were; smaller is better."""
        return history.scores(self.monitor, self.mode, keeps_best=self.keeps_best)

    def result(self, history: History, watcher: "Watching", *, interrupted: bool) -> Result:
        """What is known so far."""
        largest = max(self.groups, key=lambda group: len(group.indices))
        held = [group.held for group in self.groups]

        def state_of(index: int) -> Any:
            number, lane = self._find(index)
            group, its, kept = self.groups[number], held[number], watcher.kept[number]
            if index == kept.index:
                return kept.state
            if its.places.place[lane] < 0:
                raise ValueError(
                    f"the state of setting {index} is not kept: train it again to the same bits by refit({index}), "
                    "or hold more settings at a time by slots"
                )
            return group.recipe.kept(group.lane(its, lane))

        def outputs_of(wanted: np.ndarray, inputs: Tree) -> np.ndarray:
            check_predicts(self.groups[0].recipe.task)
            return predict(self.groups, held, wanted, inputs)

        return Result(
            history=history,
            monitor=self.monitor,
            mode=self.mode,
            keeps_best=self.keeps_best,
            interrupted=interrupted,
            trace_seconds=sum(group.trace_seconds for group in self.groups),
            compile_seconds=sum(group.compile_seconds for group in self.groups),
            run_seconds=float(watcher.spent_now()[0]),
            chunk=largest.chunk,
            temporary_bytes=largest.temporary_bytes,
            busy_share=watcher.busy_share,
            state_of=state_of,
            refit_of=lambda only: self.train(only, history),
            outputs_of=outputs_of,
        )


def _as_before(only: int, before: History | None) -> Scheduler | None:
    """Prunes a setting where it was pruned before, if it was."""
    if before is None or not before.pruned[only]:
        return None

    def decide(state: SchedulerState) -> Decision:
        nobody = np.zeros_like(state.going)
        return Decision(nobody, state.going & (state.segments >= before.segments[only]))

    return Scheduler(decide, "as before")


class Watching:
    """Looks on while a sweep trains: shows progress, saves, and keeps the best of the states that leave the devices."""

    def __init__(self, course: Course, history: History):
        self._course, self._record = course, history
        self._asked = history.training.copy()
        self.spent = np.zeros(3)  # seconds before this process, lanes trained, slots of the calls
        self._began = time.perf_counter()
        self._bar: SweepProgress | None = None
        self._saving: Saving | None = None
        self.kept = [Kept(-1, np.inf, group.kept_zeros()) for group in course.groups]

    def showing(self, bar: SweepProgress, saving: Saving | None) -> "Watching":
        """Show the progress on this bar from now on, and save."""
        self._bar, self._saving = bar, saving
        return self

    @property
    def asked(self) -> int:
        """How many settings are to be trained, those that an earlier process has trained included."""
        return int(self._asked.sum())

    @property
    def busy_share(self) -> float:
        """Of the slots of all calls, those that trained a setting; NaN before the first call."""
        _, trained, slots = self.spent
        return float(trained / slots) if slots else float("nan")

    def spent_now(self) -> np.ndarray:
        """As ``spent``, with the seconds up to now."""
        return self.spent + [time.perf_counter() - self._began, 0, 0]

    def leaving(self, group: Group, lanes: np.ndarray) -> None:
        """Keep the state of the best lane, if it is better than the one kept."""
        rows = group.indices[lanes]
        scores = np.where(self._record.diverged[rows], np.inf, self._scores()[rows])
        best = int(np.argmin(scores))
        number = self._course.groups.index(group)
        kept = self.kept[number]
        if (scores[best], rows[best]) < (kept.score, kept.index):  # of equals the first, as ``Result.best`` has it
            state = group.recipe.kept(group.lane(group.held, int(lanes[best])))
            self.kept[number] = Kept(int(rows[best]), float(scores[best]), state)

    def call_done(self, group: Group, rows: np.ndarray) -> None:
        """Count the call, and show what is done."""
        self.spent += [0, len(rows), group.devices * group.chunk]
        if self._saving is not None:
            self._saving.alive()
        if self._bar is None or not self._bar.shown:
            return
        history = self._record
        segments = np.where(history.training, history.segments, len(history.steps))[self._asked]
        best = np.nanmin(np.append(self._scores(), np.inf))
        self._bar.update(
            completed=int(segments.sum()),
            done=int(np.sum(self._asked & ~history.training)),
            best=float(best if self._course.mode == "min" else -best),
            running=int(np.sum(self._asked & history.training & (history.segments > 0))),
            pruned=int(np.sum(self._asked & history.pruned)),
            diverged=int(np.sum(self._asked & history.diverged)),
        )

    def wants_pause(self) -> bool:
        """Whether it is time to save."""
        return self._saving is not None and self._saving.due()

    def paused(self, rounds: Rounds) -> None:
        """Save, if it is time."""
        if self._saving is None:
            return
        if due := self._saving.due():
            self._saving.save(rounds, self.kept, self.spent_now(), done=False)
        if due or self._saving.table_due():
            self._saving.save_table(self._course.result(rounds.history, self, interrupted=True))

    def _scores(self) -> np.ndarray:
        """[settings]: the score of each at its kept step; smaller is better."""
        history = self._record
        scores = self._course.scores(history)
        at = np.maximum(history.segments - 1, 0)
        return np.where(history.segments > 0, scores[np.arange(len(at)), at], np.inf)


def predict(groups: list[Group], held: list[Held], wanted: np.ndarray, inputs: Tree) -> np.ndarray:
    """Outputs of the wanted settings, ``[settings, ...]``, NaN for the others."""
    inputs = groups[0].on_each(inputs)
    like = [group.output(its, inputs) for group, its in zip(groups, held, strict=True)]
    if len({one.shape for one in like}) > 1:
        raise ValueError(f"task.predict must give all settings one shape, got {[one.shape for one in like]}")
    dtype = np.result_type(np.float32, *(one.dtype for one in like))  # with room for NaN
    outputs = np.full((len(wanted), *like[0].shape), np.nan, dtype)
    for group, its in zip(groups, held, strict=True):
        lanes = np.flatnonzero(wanted[group.indices])
        if np.any(its.places.place[lanes] < 0):
            raise ValueError("outputs need all states on the devices: hold more settings at a time by slots")
        for owners, _, some in group.predict(its, lanes, inputs):
            outputs[group.indices[owners]] = some
    return outputs
