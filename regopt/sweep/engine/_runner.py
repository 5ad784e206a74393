"""The runner of a sweep: from the first step, or from a checkpoint, to the result."""

import contextlib
from collections.abc import Callable, Iterator

import jax
import numpy as np

from regopt._core.metrics import as_loss
from regopt.sweep.checkpoint import StoreError
from regopt.sweep.engine._callbacks import Callbacks
from regopt.sweep.engine._checkpointing import Checkpointing
from regopt.sweep.engine._config import SweepConfig
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._progress import SweepProgress
from regopt.sweep.engine._rounds import CallDone, Compiling, Leaving, Paused, Rounds
from regopt.sweep.engine._signals import interruptible
from regopt.sweep.engine._state import LanesOnDevices, SweepState, find
from regopt.sweep.results import Result
from regopt.sweep.results._history import History
from regopt.sweep.schedulers import Decision, Scheduler, SchedulerState
from regopt.sweep.space import Settings


class Runner:
    """Trains the settings of a sweep, all of them or one again, with programs that are compiled once.

    Args:
        groups: the groups of the settings, compiled.
        settings: all settings.
        config: the arguments of the sweep.
    """

    mixed = False  # whether settings train on several kinds of devices

    def __init__(self, groups: list[Group], settings: Settings, config: SweepConfig):
        self.groups, self.settings, self._config = groups, settings, config

    def train(
        self,
        checkpointing: Checkpointing | None = None,
        *,
        halt: Callable[[], bool] | None = None,
        progress: bool = False,
        callbacks: Callbacks | None = None,
    ) -> Result:
        """Train all settings.

        Args:
            checkpointing: where the sweep is saved and resumed from; None saves nothing.
            halt: tells whether an end has been asked for; by default SIGINT asks for it.
            progress: show a progress line.
            callbacks: the callbacks, which are told of each segment and of the end.

        Returns:
            The result; ``interrupted`` is True if an end was asked for before all settings were done.
        """
        state = self._new_state()
        rounds = Rounds(state, self._config.scheduler, together=self._config.iterated is not None)
        with interruptible() if halt is None else contextlib.nullcontext(halt) as halt:
            return self._run(state, rounds, checkpointing, halt, progress=progress, callbacks=callbacks or Callbacks())

    def refit(self, setting: int | None, before: History) -> Result:
        """Train one setting again, alone, in the seats that it had before; None trains all of them again.

        Args:
            setting: the row of the setting.
            before: the history of the training before.

        Returns:
            A result in which only that setting is trained.

        Raises:
            ValueError: the setting continued from the state of another one, or the scheduler may change its numbers.
        """
        if setting is None:
            return self.train()
        scheduler = self._config.scheduler
        group, lane = find(self.groups, setting)
        group.compile()
        took_over = (before.parents[setting] >= 0) & (before.parents[setting] != setting)
        if scheduler is not None and (scheduler.changes or took_over.any()):
            raise ValueError(
                "a setting cannot be trained alone if it continued from the state of another one, or if the scheduler "
                "may change its numbers: run the sweep again"
            )
        state = self._new_state()
        state.history.training[:] = np.arange(len(self.settings)) == setting
        known = before.seats[setting][before.seats[setting] >= 0]
        seats = np.where(before.seats < 0, known[0] if len(known) else 0, before.seats)
        for each in self.groups:
            each.held.places.alone(None)
        group.held.places.alone(lane, group.held.places.sizes.device_of(int(seats[setting, 0])))
        group.start(np.array([lane]))
        with interruptible() as halt:
            rounds = Rounds(state, _as_before(setting, before), seats)
            return self._run(state, rounds, None, halt, progress=False, callbacks=Callbacks())

    def scores(self, history: History, rows: np.ndarray) -> np.ndarray:
        """``[rows, evaluations]``: how good some settings were; smaller is better."""
        config = self._config
        return history.scores(config.monitor, config.direction, keeps_best=config.keeps_best, rows=rows)

    def _new_state(self) -> SweepState:
        """The state before any training; what was held on the devices before stays as it is."""
        for group in self.groups:
            group.clear()
        metrics = list(dict.fromkeys(name for group in self.groups for name in group.metrics))
        scheduler = self._config.scheduler
        changes = () if scheduler is None else scheduler.changes
        history = History.empty(self.settings, metrics, self._config.evaluated, changes, mixed=self.mixed)
        return SweepState(self.groups, history, self.scores)

    def _run(
        self,
        state: SweepState,
        rounds: Rounds,
        checkpointing: Checkpointing | None,
        halt: Callable[[], bool],
        *,
        progress: bool,
        callbacks: Callbacks,
    ) -> Result:
        """Train until all settings have ended, or an end is asked for."""
        if checkpointing is not None:
            checkpointing.extend(state)
        asked = state.history.training.copy()
        done = checkpointing is not None and checkpointing.restore(state)
        count = int(asked.sum())
        bar = SweepProgress(
            progress, segments=len(state.history.steps) * count, settings=count, monitor=self._config.monitor
        )
        if not done:
            with bar, self._keeping(state, rounds, checkpointing, callbacks):

                def seen(rows: np.ndarray) -> None:
                    callbacks.on_segment(state.history, rows)
                    self._show(bar, state, asked)

                self._follow(state, rounds, checkpointing, lambda: halt() or callbacks.error is not None, seen)
                if checkpointing is not None or (asked.all() and not state.history.training.any()):
                    rounds.open()
                bar.ends()
                self._show(bar, state, asked)
                callbacks.check()
        for group in self.groups:
            group.settle()
        state.spent.stop()
        interrupted = not done and bool(state.history.training.any())
        result = self._result(state, interrupted=interrupted)
        try:
            if checkpointing is not None:
                if not done:
                    checkpointing.save(state, done=not interrupted)
                checkpointing.save_table(result)  # also if an earlier process was killed between these two saves
            callbacks.on_end(result)
            callbacks.check()
        except (Exception, SystemExit) as error:
            error.partial_result = result  # type: ignore[attr-defined]
            error.add_note("what was trained is in the error's partial_result")
            callbacks.on_end(result)
            raise
        return result

    def _follow(
        self,
        state: SweepState,
        rounds: Rounds,
        checkpointing: Checkpointing | None,
        halt: Callable[[], bool],
        seen: Callable[[np.ndarray], None],
    ) -> None:
        """Go through the rounds: keep the best of the states that leave, count and show the calls, save."""
        due = (lambda: False) if checkpointing is None else lambda: checkpointing.due() and rounds.compiled
        for event in rounds.run(due, halt):
            match event:
                case Leaving(group, lanes):
                    state.keep_best(group, lanes)
                case CallDone(group, rows, seats):
                    state.spent.add_call(len(rows), seats, *group.late_seconds())
                    if checkpointing is not None:
                        checkpointing.alive()
                    seen(rows)
                case Compiling():
                    if checkpointing is not None:
                        checkpointing.alive()
                case Paused():
                    if checkpointing is not None and due():
                        rounds.open()
                        self._save(state, checkpointing)

    @contextlib.contextmanager
    def _keeping(
        self, state: SweepState, rounds: Rounds, checkpointing: Checkpointing | None, callbacks: Callbacks
    ) -> Iterator[None]:
        """Save what was trained when an error ends the sweep; the error gets the result so far, and a note on it."""
        try:
            yield
        except (Exception, SystemExit) as error:
            state.spent.stop()
            result = self._result(state, interrupted=True)
            error.partial_result = result  # type: ignore[attr-defined]
            note = f"{int(state.history.segments.sum())} segments were trained, see the error's partial_result"
            if checkpointing is not None and not isinstance(error, StoreError):
                if not any(group.in_flight for group in self.groups):  # else there are no states to save
                    with contextlib.suppress(Exception):  # an error of the compiler must not hide this one
                        rounds.open()
                note += checkpointing.keep(state, result)
            error.add_note(note)
            callbacks.on_end(result)  # an error of theirs doesn't hide this one
            raise

    def _save(self, state: SweepState, checkpointing: Checkpointing) -> None:
        """Save the state and the table."""
        checkpointing.save(state, done=False)
        checkpointing.save_table(self._result(state, interrupted=True))

    def _show(self, bar: SweepProgress, state: SweepState, asked: np.ndarray) -> None:
        """Show what is done of the settings that were asked for."""
        if not bar.shown:
            return
        history = state.history
        segments = np.where(history.training, history.segments, len(history.steps))[asked]
        best = float(np.nanmin(np.append(state.kept_scores(), np.inf)))
        bar.update(
            completed=int(segments.sum()),
            done=int(np.sum(asked & ~history.training)),
            best=as_loss(best, self._config.direction),
            running=int(np.sum(asked & history.training & (history.segments > 0))),
            pruned=int(np.sum(asked & history.pruned)),
            diverged=int(np.sum(asked & history.diverged)),
        )

    def _parameters(self) -> np.ndarray:
        """[settings], int: the number of parameters of each setting."""
        counts = np.zeros(len(self.settings), int)
        for group in self.groups:
            counts[group.indices] = _parameters_of(group)
        return counts

    def _result(self, state: SweepState, *, interrupted: bool) -> Result:
        """The result as far as it is known."""
        largest = max(self.groups, key=lambda group: len(group.indices))
        history, config = state.history, self._config
        return Result(
            history=history,
            monitor=config.monitor,
            mode=config.direction,
            keeps_best=config.keeps_best,
            interrupted=interrupted,
            trace_seconds=state.spent.trace_seconds,
            compile_seconds=state.spent.compile_seconds,
            run_seconds=state.spent.seconds_now,
            chunk=largest.chunk,
            temporary_bytes=largest.temporary_bytes,
            busy_share=state.spent.busy_share,
            modes=dict(getattr(config.task, "modes", None) or {}),
            parameters=self._parameters(),
            states=LanesOnDevices(
                self.groups,
                [group.held for group in self.groups],
                state.kept,
                lambda setting: self.refit(setting, history),
            ),
        )


def _as_before(setting: int, before: History) -> Scheduler | None:
    """A scheduler that prunes a setting at the segment at which it was pruned before; None if it was not pruned."""
    if not before.pruned[setting]:
        return None

    def decide(state: SchedulerState) -> Decision:
        nobody = np.zeros_like(state.going)
        return Decision(nobody, state.going & (state.segments >= before.segments[setting]))

    return Scheduler(decide, "as before")


def _parameters_of(group: Group) -> int:
    """The number of parameters of a lane: the entries of ``state.params``, or of a state without such a field."""
    state = group.lane_form.state
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(getattr(state, "params", state)))
