"""Schedulers that decide on settings rather than on their repeats: by the mean over seeds, replicas and folds."""

from collections.abc import Callable, Sequence

import numpy as np

from regopt._core.messages import brief
from regopt.report import REPEATED
from regopt.sweep.schedulers._scheduler import Decision, SchedulerState

Decide = Callable[[SchedulerState], Decision]


def check_over(over: object) -> None:
    """Check that ``over`` is a list of names of columns."""
    if isinstance(over, str) or not isinstance(over, Sequence) or not all(isinstance(name, str) for name in over):
        raise ValueError(f"over must be a list of names of columns, got {brief(over)}")


def words(over: Sequence[str]) -> str:
    """The argument ``over`` in the name of a scheduler; empty where it is the default."""
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
    order = np.argsort(unit, kind="stable")
    firsts = np.searchsorted(unit[order], np.arange(len(segments)))
    rows = scores[order]
    known = ~np.isnan(rows)
    count = np.add.reduceat(known, firsts, dtype=int)
    mean = np.add.reduceat(np.where(known, rows, 0.0), firsts) / np.maximum(count, 1)
    bad = np.logical_or.accumulate(np.logical_or.reduceat(np.isinf(rows), firsts), axis=1)
    done = np.arange(scores.shape[1]) < segments[:, None]
    return np.where(done & (bad | (count > 0)), np.where(bad, np.inf, mean), np.nan)


def _units(state: SchedulerState, over: Sequence[str]) -> np.ndarray:
    """``[rows]``, int: the number of the setting that each row repeats, in order of appearance."""
    columns = [column for name, column in state.numbers.items() if name not in over]
    codes = np.zeros(len(state.wave), int)
    for column in (state.wave, state.group, *columns):
        values, code = np.unique(column, return_inverse=True)
        codes = np.unique(codes * len(values) + code, return_inverse=True)[1]
    order = np.argsort(np.unique(codes, return_index=True)[1])
    return np.argsort(order)[codes]
