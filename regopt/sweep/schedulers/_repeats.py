"""Schedulers that decide on settings rather than on their repeats: by the mean over seeds, replicas and folds."""

from collections.abc import Callable, Sequence

import numpy as np

from regopt._core.messages import brief
from regopt.report import REPEATED
from regopt.sweep.schedulers._scheduler import Decision, SchedulerState

Decide = Callable[[SchedulerState], Decision]


def check_over(over: object) -> None:
    """Check that these are names of columns."""
    if isinstance(over, str) or not isinstance(over, Sequence) or not all(isinstance(name, str) for name in over):
        raise ValueError(f"over must be a list of names of columns, got {brief(over)}")


def words(over: Sequence[str]) -> str:
    """The argument as it stands in the name of a scheduler; empty where it is the default."""
    return "" if tuple(over) == REPEATED else f", over={tuple(over)}"


def by_mean(decide: Decide, over: Sequence[str]) -> Decide:
    """A rule for settings, each with the mean score of its repeats, from one for rows.

    Repeats that do not fit on the devices in one wave count as several settings. A repeat that is ahead of the others
    waits for them, and a setting is pruned with all its repeats. A setting of which a repeat diverged has an infinite
    score.

    Args:
        decide: the rule for rows.
        over: the columns that only repeat a setting.

    Returns:
        The rule.
    """

    def decide_settings(state: SchedulerState) -> Decision:
        if not set(over) & set(state.numbers):
            return decide(state)
        unit = _units(state, over)
        count = int(unit.max()) + 1
        if count == len(unit):
            return decide(state)
        first = np.unique(unit, return_index=True)[1]
        total = state.scores.shape[1]
        going = np.zeros(count, bool)
        np.logical_or.at(going, unit, state.going)
        segments = np.full(count, total)
        np.minimum.at(segments, unit, np.where(state.going, state.segments, total))  # of those that may go on
        furthest = np.zeros(count, int)
        np.maximum.at(furthest, unit, state.segments)
        segments = np.where(going, segments, furthest)
        decision = decide(
            state._replace(
                scores=_mean_scores(state.scores, unit, segments),
                segments=segments,
                going=going,
                wave=state.wave[first],
                group=state.group[first],
                numbers={name: column[first] for name, column in state.numbers.items()},
                parents=state.parents[first],
            )
        )
        ahead = state.going & (state.segments > segments[unit])
        return Decision((decision.wait[unit] & state.going) | ahead, decision.prune[unit] & state.going)

    return decide_settings


def _mean_scores(scores: np.ndarray, unit: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """``[settings, evaluations]``: means over the repeats trained that far, infinite once one of them has diverged."""
    means = np.full((len(segments), scores.shape[1]), np.nan)
    for number in range(len(segments)):
        rows = scores[unit == number]
        bad = np.logical_or.accumulate(np.any(np.isinf(rows), axis=0))
        known = ~np.isnan(rows)
        sums = np.sum(np.where(known, rows, 0.0), axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(known.any(axis=0), sums / known.sum(axis=0), np.nan)
        done = np.arange(scores.shape[1]) < segments[number]
        means[number] = np.where(done, np.where(bad, np.inf, mean), np.nan)
    return means


def _units(state: SchedulerState, over: Sequence[str]) -> np.ndarray:
    """``[rows]``, int: the number of the setting that each row repeats, in order of appearance."""
    columns = [column for name, column in state.numbers.items() if name not in over]
    numbers: dict[tuple[object, ...], int] = {}
    keys = zip(state.wave.tolist(), state.group.tolist(), *(column.tolist() for column in columns), strict=True)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])
