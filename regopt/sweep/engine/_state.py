"""The state of a sweep in training, which a checkpoint saves as one tree, and the trained states of its result."""

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from regopt._core.io import JsonObject
from regopt._core.types import Tree
from regopt.sweep.engine._checks import check_predicts
from regopt.sweep.engine._entries import zeros
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._recipe import Held
from regopt.sweep.results import Result
from regopt.sweep.results._at_rest import KeyPath, Lanes, StatesAtRest, as_numpy, paths_of
from regopt.sweep.results._history import History


class Kept(NamedTuple):
    """The best state of a group among those that are no longer on the devices."""

    index: int  # the row of its setting, -1 without one
    score: float
    state: Tree


@dataclasses.dataclass
class Spent:
    """The cost of a sweep so far, earlier processes included."""

    seconds: float = 0.0  # up to ``since``
    trained: int = 0  # seats, in all calls, that trained a setting
    seats: int = 0  # seats of all calls
    trace_seconds: float = 0.0
    compile_seconds: float = 0.0
    since: float | None = dataclasses.field(default_factory=time.perf_counter)  # None once the sweep has ended

    @property
    def seconds_now(self) -> float:
        """Seconds of all processes, up to now or to the end of the sweep."""
        return self.seconds + (0.0 if self.since is None else time.perf_counter() - self.since)

    @property
    def busy_share(self) -> float:
        """The share of the seats of all calls that trained a setting; NaN before the first call."""
        return self.trained / self.seats if self.seats else float("nan")

    def stop(self) -> None:
        """Stop the clock."""
        self.seconds, self.since = self.seconds_now, None

    def add_call(self, trained: int, seats: int, trace_seconds: float, compile_seconds: float) -> None:
        """Add a call that has been read, and the seconds in which programs were compiled for it."""
        self.trained += trained
        self.seats += seats
        self.trace_seconds += trace_seconds
        self.compile_seconds += compile_seconds

    def leave_out(self, seconds: float) -> None:
        """Leave out a time in which only programs were compiled."""
        if self.since is not None:
            self.since += seconds

    def to_array(self) -> np.ndarray:
        """All costs as numbers, for a store."""
        return np.array([self.seconds_now, self.trained, self.seats, self.trace_seconds, self.compile_seconds], float)

    def add(self, numbers: np.ndarray) -> None:
        """Add what ``to_array`` gave in an earlier process."""
        seconds, trained, seats, trace, compiled = numbers.tolist()
        self.seconds += seconds
        self.trained += int(trained)
        self.seats += int(seats)
        self.trace_seconds += trace
        self.compile_seconds += compiled


class SweepState:
    """A sweep in training: the lanes on the devices, the history, the best states that have left the devices.

    Args:
        groups: the groups of settings, each cleared for a new start.
        history: the history of all settings.
        scores: ``[rows, evaluations]`` of some rows of a history, smaller is better.
    """

    def __init__(self, groups: list[Group], history: History, scores: Callable[[History, np.ndarray], np.ndarray]):
        self.groups, self.history = groups, history
        self._scores_of = scores
        self._scores = np.full((len(history.settings), len(history.steps)), np.nan)
        self.changed = np.ones(len(history.settings), bool)  # since their scores were computed
        self.owed = np.zeros(len(history.settings), bool)  # settings that the current round has yet to train
        self.late = {number for number, group in enumerate(groups) if not group.is_ready}  # hold no lanes yet
        self.kept = [Kept(-1, np.inf, _kept_zeros(group)) for group in groups]
        self.spent = Spent(
            trace_seconds=sum(group.trace_seconds for group in groups),
            compile_seconds=sum(group.compile_seconds for group in groups),
        )

    @property
    def is_whole(self) -> bool:
        """Whether the lanes on the devices are where the history says, so that they may be saved."""
        return not self.late and not any(group.in_flight for group in self.groups)

    def scores(self) -> np.ndarray:
        """``[settings, evaluations]``: how good the settings were, as ``History.scores``; not to be written into."""
        rows = np.flatnonzero(self.changed)
        self._scores[rows], self.changed[rows] = self._scores_of(self.history, rows), False
        return self._scores

    def kept_scores(self) -> np.ndarray:
        """``[settings]``: the score of each at its kept step; smaller is better, infinite where it has none."""
        segments = self.history.segments
        at = np.maximum(segments - 1, 0)
        return np.where(segments > 0, self.scores()[np.arange(len(at)), at], np.inf)

    def open(self, group: Group) -> None:
        """Let a group whose programs were compiled late begin."""
        group.compile().release()  # frees the old buffer first, as there may be no room for two
        group.clear()
        self.late.discard(self.groups.index(group))
        self.spent.trace_seconds += group.trace_seconds
        self.spent.compile_seconds += group.compile_seconds

    def keep_best(self, group: Group, lanes: np.ndarray) -> None:
        """Keep the best state of lanes that leave the devices, if it is better than the one kept."""
        rows = group.indices[lanes]
        scores = np.where(self.history.diverged[rows], np.inf, self.kept_scores()[rows])
        best, number = int(np.argmin(scores)), self.groups.index(group)
        kept = self.kept[number]
        if (scores[best], rows[best]) < (kept.score, kept.index):  # the first wins a tie, as in ``Result.best``
            state = group.recipe.kept(group.lane(group.held, int(lanes[best])))
            self.kept[number] = Kept(int(rows[best]), float(scores[best]), state)

    def to_tree(self) -> dict[str, Tree]:
        """Everything that another process needs in order to go on, as a tree of arrays."""
        collected = [group.collect() for group in self.groups]
        groups = [
            {
                "buffer": buffer,
                "constants": constants,
                "device": group.held.places.device,
                "place": group.held.places.place,
                "kept": (np.array(best.index), np.array(best.score, float), best.state),
            }
            for group, best, (buffer, constants) in zip(self.groups, self.kept, collected, strict=True)
        ]
        return {
            "history": self.history.to_tree(),
            "owed": self.owed,
            "spent": self.spent.to_array(),
            "groups": groups,
        }

    def form(self) -> dict[str, Tree]:
        """The tree with shapes in place of arrays on devices, the form of what ``restore`` takes."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) if isinstance(x, jax.Array) else x,
            self.to_tree(),
        )

    def make_room(self) -> None:
        """Free the lanes on the devices: those that are restored may fill half of the memory."""
        for group in self.groups:
            group.release()

    def restore(self, tree: dict[str, Tree], *, done: bool) -> None:
        """Go on from what ``to_tree`` gave; a sweep that was done then costs nothing more."""
        self.history.restore(tree["history"])
        self.changed[:] = True
        self.owed = np.array(tree["owed"])
        if done:
            self.spent = Spent(since=None)
        self.spent.add(tree["spent"])
        for number, (group, saved) in enumerate(zip(self.groups, tree["groups"], strict=True)):
            places = group.held.places
            places.restore(saved["device"], saved["place"])
            group.hold(saved["buffer"], saved["constants"], places)
            group.numbers = {name: column[group.indices] for name, column in self.history.settings.numbers.items()}
            index, score, state = saved["kept"]
            self.kept[number] = Kept(int(index), float(score), state)

    def forget_seats(self) -> None:
        """Begin a new round, because the seats of the current one belong to calls of other sizes."""
        self.history.seats[:], self.owed[:] = -1, False


def _kept_zeros(group: Group) -> Tree:
    """Zeros in the form of the state that is kept of a lane."""
    return jax.tree.map(zeros, group.recipe.kept(group.lane_form))


class LanesOnDevices:
    """The ``States`` of a result that was trained in this process.

    Args:
        groups: the groups of the settings.
        held: for each group, what is on the devices.
        kept: for each group, the best of the states that have left the devices.
        refit: trains one setting again, or all of them.
    """

    def __init__(self, groups: list[Group], held: list[Held], kept: list[Kept], refit: Callable[[int | None], Result]):
        self._groups, self._held, self._kept, self._refit = groups, held, kept, refit

    def state(self, setting: int) -> Tree:
        """See ``States``."""
        group, lane = find(self._groups, setting)
        number = self._groups.index(group)
        held, kept = self._held[number], self._kept[number]
        if setting == kept.index:
            return kept.state
        if held.places.place[lane] < 0:
            raise ValueError(
                f"the state of setting {setting} is not kept: refit({setting}) trains it again to the same bits, "
                "and a sweep with more slots keeps more states"
            )
        return group.recipe.kept(group.lane(held, lane))

    def describe(self) -> list[JsonObject]:
        """For each group what a reader of the saved buffer needs, as JSON values: see ``StatesInFolder``."""
        return [
            {
                "indices": group.indices.tolist(),
                "capacity": group.capacity,
                "paths": [list(path) for path in paths],
                "chosen": chosen,
            }
            for group, held in zip(self._groups, self._held, strict=True)
            for paths, chosen in [_kept_leaves(group)]
        ]

    def __reduce__(self) -> tuple[type[StatesAtRest], tuple[list[Lanes]]]:
        groups = []
        for group, held, kept in zip(self._groups, self._held, self._kept, strict=True):
            paths, chosen = _kept_leaves(group)
            leaves = jax.tree.leaves(held.buffer)
            places = held.places
            entries = np.where(places.place >= 0, places.device * group.capacity + places.place, -1)
            arrays = [as_numpy(leaves[at]) for at in chosen]
            left = [as_numpy(leaf) for leaf in jax.tree.leaves(kept.state)]
            groups.append(Lanes(group.indices, entries, paths, arrays, kept.index, left))
        return StatesAtRest, (groups,)

    def refit(self, setting: int | None) -> Result:
        """See ``States``."""
        return self._refit(setting)

    def outputs(self, wanted: np.ndarray, inputs: Tree) -> np.ndarray:
        """See ``States``; NaN for settings that are not wanted."""
        check_predicts(self._groups[0].recipe.task)
        for group in self._groups:
            group.compile()  # where an interrupted sweep had not come to it
        inputs = self._groups[0].on_each(inputs)
        like = [group.output(its, inputs) for group, its in zip(self._groups, self._held, strict=True)]
        if len({one.shape for one in like}) > 1:
            raise ValueError(
                f"task.predict must return arrays of one shape for all settings, got {[one.shape for one in like]}"
            )
        dtype = np.result_type(np.float32, *(one.dtype for one in like))  # with room for NaN
        outputs = np.full((len(wanted), *like[0].shape), np.nan, dtype)
        for group, its in zip(self._groups, self._held, strict=True):
            lanes = np.flatnonzero(wanted[group.indices])
            if np.any(its.places.place[lanes] < 0):
                raise ValueError(
                    "predict needs the states of all settings on the devices: run the sweep with more slots"
                )
            for owners, _, some in group.predict(its, lanes, inputs):
                outputs[group.indices[owners]] = some
        return outputs


def _kept_leaves(group: Group) -> tuple[list[KeyPath], list[int]]:
    """The paths of the leaves of a lane's kept state, and their places among the leaves of the buffer."""
    structure = jax.tree.structure(group.lane_form)
    kept = group.recipe.kept(jax.tree.unflatten(structure, range(structure.num_leaves)))
    return paths_of(kept), jax.tree.leaves(kept)


def find(groups: list[Group], setting: int) -> tuple[Group, int]:
    """The group of a setting, and its lane there."""
    group = next(group for group in groups if setting in group.indices)
    return group, int(np.flatnonzero(group.indices == setting)[0])
