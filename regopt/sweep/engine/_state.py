"""The whole state of a sweep in training, as one tree that a checkpoint saves and restores."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.engine._group import Group, Held
from regopt.sweep.results._history import History


class Kept(NamedTuple):
    """The best state of a group among those that are no longer on the devices."""

    index: int  # the row of its setting, -1 without one
    score: float
    state: Tree


@dataclasses.dataclass
class Spent:
    """The cost of a sweep so far, earlier processes included."""

    seconds: float = 0.0  # of earlier processes
    trained: int = 0  # slots of all calls that trained a setting
    slots: int = 0  # slots of all calls
    began: float = dataclasses.field(default_factory=time.perf_counter)

    @property
    def seconds_now(self) -> float:
        """Seconds of all processes, up to now."""
        return self.seconds + time.perf_counter() - self.began

    @property
    def busy_share(self) -> float:
        """The share of the slots of all calls that trained a setting; NaN before the first call."""
        return self.trained / self.slots if self.slots else float("nan")


class SweepState:
    """A sweep in training: the lanes on the devices, the history, the best states that have left the devices.

    Args:
        groups: the groups of settings, each cleared for a new start.
        history: the history of all settings.
        scores: ``[settings, evaluations]`` of a history, smaller is better.
    """

    def __init__(self, groups: list[Group], history: History, scores: Callable[[History], np.ndarray]):
        self.groups, self.history = groups, history
        self._scores = scores
        self.owed = np.zeros(len(history.settings), bool)  # settings that the current round has yet to train
        self.kept = [Kept(-1, np.inf, group.kept_zeros()) for group in groups]
        self.spent = Spent()

    def scores(self) -> np.ndarray:
        """``[settings, evaluations]``: how good the settings were, as ``History.scores``."""
        return self._scores(self.history)

    def kept_scores(self) -> np.ndarray:
        """``[settings]``: the score of each at its kept step; smaller is better, infinite where it has none."""
        segments = self.history.segments
        at = np.maximum(segments - 1, 0)
        return np.where(segments > 0, self.scores()[np.arange(len(at)), at], np.inf)

    def keep_best(self, group: Group, lanes: np.ndarray) -> None:
        """Keep the best state of lanes that leave the devices, if it is better than the one kept."""
        rows = group.indices[lanes]
        scores = np.where(self.history.diverged[rows], np.inf, self.kept_scores()[rows])
        best, number = int(np.argmin(scores)), self.groups.index(group)
        kept = self.kept[number]
        if (scores[best], rows[best]) < (kept.score, kept.index):  # of equals the first, as ``Result.best`` has it
            state = group.recipe.kept(group.lane(group.held, int(lanes[best])))
            self.kept[number] = Kept(int(rows[best]), float(scores[best]), state)

    def to_tree(self) -> dict[str, Any]:
        """Everything that another process needs in order to go on, as a tree of arrays."""
        spent = self.spent
        groups = [
            {
                "buffer": group.held.buffer,
                "constants": group.held.constants,
                "device": group.held.places.device,
                "place": group.held.places.place,
                "kept": (np.array(best.index), np.array(best.score, float), best.state),
            }
            for group, best in zip(self.groups, self.kept, strict=True)
        ]
        return {
            "history": self.history.to_tree(),
            "owed": self.owed,
            "spent": np.array([spent.seconds_now, spent.trained, spent.slots], float),
            "groups": groups,
        }

    def form(self) -> dict[str, Any]:
        """The tree with shapes in place of arrays on devices, the form of what ``restore`` takes."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) if isinstance(x, jax.Array) else x,
            self.to_tree(),
        )

    def make_room(self) -> None:
        """Free the lanes on the devices: those that are restored may fill half of the memory."""
        for group in self.groups:
            group.release()

    def restore(self, tree: dict[str, Any]) -> None:
        """Go on from what ``to_tree`` gave."""
        self.history.restore(tree["history"])
        self.owed = np.array(tree["owed"])
        seconds, trained, slots = tree["spent"]
        self.spent.seconds, self.spent.trained, self.spent.slots = float(seconds), int(trained), int(slots)
        for number, (group, saved) in enumerate(zip(self.groups, tree["groups"], strict=True)):
            places = group.held.places
            places.restore(saved["device"], saved["place"])
            group.held = Held(saved["buffer"], saved["constants"], places)
            group.numbers = {name: column[group.indices] for name, column in self.history.settings.numbers.items()}
            index, score, state = saved["kept"]
            self.kept[number] = Kept(int(index), float(score), state)
