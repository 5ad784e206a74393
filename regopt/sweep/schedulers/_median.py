"""The median rule: prune a setting whose best score is worse than the median of the others' mean scores."""

import numpy as np

from regopt._core.numerics import check_whole
from regopt.sweep.schedulers._scheduler import Decision, Scheduler


def median_rule(grace_period: int = 1, min_samples: int = 5) -> Scheduler:
    """End a setting whose best score so far is worse than the median of all mean scores up to there.

    Args:
        grace_period: segments before which nothing is pruned, >= 1.
        min_samples: settings, itself included, that must have come as far before one is pruned, >= 1.

    Returns:
        The scheduler.

    Raises:
        ValueError: an argument lies outside its range.

    References: Golovin et al. (2017), section 3.2.1. There the median is over finished trials; in a sweep that trains
    all at once it is over those that have come as far.
    """
    check_whole("grace_period", grace_period, "[1, inf)")
    check_whole("min_samples", min_samples, "[1, inf)")

    def decide(state):
        nobody = np.zeros_like(state.going)
        best = np.fmin.accumulate(state.scores, axis=1)
        means = np.cumsum(state.scores, axis=1) / np.arange(1, state.scores.shape[1] + 1)
        prune = nobody.copy()
        asked = state.going & (state.segments >= grace_period)
        for segments in np.unique(state.segments[asked]):
            there, at = state.segments >= segments, asked & (state.segments == segments)
            if there.sum() >= min_samples:
                prune |= at & (best[:, segments - 1] > np.median(means[there, segments - 1]))
        return Decision(nobody, prune)

    return Scheduler(decide, f"median_rule(grace_period={grace_period}, min_samples={min_samples})")
