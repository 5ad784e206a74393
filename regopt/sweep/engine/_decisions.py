"""The decisions of a scheduler that change settings in training: whose state each goes on from, with which numbers."""

from collections.abc import Mapping

import numpy as np

from regopt._core.messages import brief
from regopt.sweep.results._history import History
from regopt.sweep.schedulers import Decision, Scheduler


def read_only(array: np.ndarray) -> np.ndarray:
    """The array as a scheduler sees it, which must not write into the table of a sweep."""
    seen = np.asarray(array).view()
    seen.flags.writeable = False
    return seen


def taken_over(
    decision: Decision, scheduler: Scheduler, history: History, groups: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The row whose state each setting goes on from, and the numbers of all settings.

    Those that have ended, and take no state over, keep their numbers.

    Args:
        decision: the decision of the scheduler, with arrays of the right shapes.
        scheduler: the scheduler that made it.
        history: the history of the sweep so far.
        groups: ``[settings]``, int: the number of the group of each setting.

    Returns:
        The rows, ``[settings]``, and the columns that change.

    Raises:
        ValueError: a column is not one that the scheduler changes, has fractions for whole numbers, or a state would
            go to a setting of another group.
    """
    own = np.arange(len(groups))
    parents = own if decision.parents is None else np.asarray(decision.parents)
    if (other := np.flatnonzero(groups[parents] != groups)).size:
        row = other[0]
        raise ValueError(
            f"the scheduler's parents must have the same static values as the settings that continue them, got "
            f"{parents[row]} for setting {row}"
        )
    goes_on = history.training | (parents != own)
    before = history.settings.numbers
    columns = {name: _checked(name, column, before, scheduler) for name, column in decision.numbers.items()}
    return parents, {name: np.where(goes_on, column, before[name]) for name, column in columns.items()}


def _checked(name: str, column: np.ndarray, numbers: Mapping[str, np.ndarray], scheduler: Scheduler) -> np.ndarray:
    """A column that changes, as an array of numbers like the one before."""
    if name not in scheduler.changes:
        raise ValueError(
            f"the scheduler's numbers must be among its changes, {brief(list(scheduler.changes))}, got {brief(name)}"
        )
    column, kinds = np.asarray(column), numbers[name].dtype.kind
    if column.dtype.kind not in ("iu" if kinds in "iu" else "iuf"):
        what = "whole numbers" if kinds in "iu" else "numbers"
        raise ValueError(f"the scheduler's {name} must hold {what}, as the column does, got {brief(column)}")
    return column
