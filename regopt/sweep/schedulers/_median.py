"""The median rule: a setting whose best score is worse than the median of all mean scores is pruned."""

from collections.abc import Sequence

import numpy as np

from regopt._core.numerics import check_whole
from regopt.report import REPEATED
from regopt.sweep.schedulers._repeats import by_mean, check_over, words
from regopt.sweep.schedulers._scheduler import Decision, Scheduler


def median_rule(grace_period: int = 1, min_samples: int = 5, *, over: Sequence[str] = REPEATED) -> Scheduler:
    """Prune a setting whose best score so far is worse than the median, over all settings, of their mean score so far.

    In the paper the median is over finished trials. A sweep trains all settings at once, so here it is over the
    settings that have trained at least as many segments.

    Args:
        grace_period: segments before which nothing is pruned, >= 1.
        min_samples: the number of settings, itself included, that must have come as far before one is pruned, >= 1.
        over: the columns that only repeat a setting. The repeats of a setting that are trained at the same time share
            one score, their mean, and go on or are pruned together; ``()`` makes each row a setting of its own.

    Returns:
        The scheduler.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.2, 0.5, 0.9]})
        >>> rule = sweep.median_rule(grace_period=2, min_samples=3)
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1, scheduler=rule)
        >>> result.status.tolist()
        ['pruned', 'pruned', 'done', 'done']

    References:
        Golovin, D., Solnik, B., Moitra, S., Kochanski, G., Karro, J., & Sculley, D. (2017). Google Vizier: A service
        for black-box optimization. KDD. Section 3.2.2.
    """
    check_whole("grace_period", grace_period, "[1, inf)")
    check_whole("min_samples", min_samples, "[1, inf)")
    check_over(over)

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

    name = f"median_rule(grace_period={grace_period}, min_samples={min_samples}{words(over)})"
    return Scheduler(by_mean(decide, over), name, rungs=lambda total: range(grace_period, total))
