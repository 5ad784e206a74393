"""Halving: at each rung the best ``1/eta`` of the settings go on, and the others are pruned."""

from collections.abc import Callable, Sequence

import numpy as np

from regopt._core.numerics import check_number, check_whole
from regopt.report import REPEATED
from regopt.sweep.schedulers._repeats import by_mean, check_over, words
from regopt.sweep.schedulers._scheduler import Decision, Scheduler, SchedulerState
from regopt.sweep.space._settings import rows_by


def successive_halving(eta: float = 3.0, min_resource: int = 1, *, over: Sequence[str] = REPEATED) -> Scheduler:
    """After ``min_resource * eta**k`` segments the best ``1/eta`` of the settings go on; the others are pruned.

    A segment is ``eval_every`` steps. A rung is decided when all settings that may reach it have reached it. Settings
    that do not fit on the devices together compete wave by wave.

    Args:
        eta: the factor by which each rung reduces the settings and lengthens the training, > 1.
        min_resource: segments before the first rung, >= 1.
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
        >>> halving = sweep.successive_halving(eta=2)
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1, scheduler=halving)
        >>> result.history.last_step.tolist()  # two settings end after one step, one after two
        [1, 1, 2, 4]

    References:
        Jamieson, K., & Talwalkar, A. (2016). Non-stochastic best arm identification and hyperparameter optimization.
        AISTATS. Figure 3.

        Li, L., Jamieson, K., DeSalvo, G., Rostamizadeh, A., & Talwalkar, A. (2018). Hyperband: A novel bandit-based
        approach to hyperparameter optimization. Journal of Machine Learning Research, 18(185), 1-52. Algorithm 1, the
        inner loop.
    """
    _check_halving(eta, min_resource)
    check_over(over)

    def decide(state):
        rungs = _rungs(state.scores.shape[1], eta, min_resource)
        return _halve(state, state.wave, lambda _: rungs, eta)

    name = f"successive_halving(eta={eta}, min_resource={min_resource}{words(over)})"
    return Scheduler(
        by_mean(decide, over),
        name,
        rungs=lambda total: _rungs(total, eta, min_resource),
        going=lambda total: _going(total, _rungs(total, eta, min_resource), eta).tolist(),
    )


def hyperband(eta: float = 3.0, *, over: Sequence[str] = REPEATED) -> Scheduler:
    """Brackets of successive halving, from many settings with an early first rung to a few that are never pruned.

    With ``R`` segments in all, bracket ``s`` of ``0 .. floor(log_eta R)`` has its first rung after ``R eta**-s``
    segments. Its share of the settings is in proportion to ``eta**s / (s + 1)``; they are drawn at random, always the
    same ones.

    Args:
        eta: the factor by which each rung reduces the settings of a bracket, > 1; see ``successive_halving``.
        over: the columns that only repeat a setting. The repeats of a setting that are trained at the same time share
            one score, their mean, and go on or are pruned together; ``()`` makes each row a setting of its own.

    Returns:
        The scheduler.

    Raises:
        ValueError: eta lies outside its range.

    Example:
        >>> import numpy as np
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": np.linspace(0.1, 0.9, 12)})
        >>> brackets = sweep.hyperband(eta=2)
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1, scheduler=brackets)
        >>> np.bincount(result.history.last_step).tolist()  # 3 end after one step, 3 after two, 6 after all four
        [0, 3, 3, 0, 6]

    References:
        Li, L., Jamieson, K., DeSalvo, G., Rostamizadeh, A., & Talwalkar, A. (2018). Hyperband: A novel bandit-based
        approach to hyperparameter optimization. Journal of Machine Learning Research, 18(185), 1-52. Algorithm 1.
    """
    _check_halving(eta, 1)
    check_over(over)

    def rungs_of(total):
        brackets = np.arange(int(np.log(total) / np.log(eta) + 1e-9), -1, -1)
        return brackets, [_rungs(total, eta, total / eta**bracket) for bracket in brackets[::-1]]

    def going(total):
        brackets, of_each = rungs_of(total)
        each = [_going(total, of_each[bracket], eta) for bracket in brackets]
        return np.average(each, axis=0, weights=eta**brackets / (brackets + 1.0)).tolist()

    def decide(state):
        size, total = state.scores.shape
        brackets, of_each = rungs_of(total)
        shares = np.cumsum(eta**brackets / (brackets + 1.0))
        member = brackets[np.searchsorted(shares / shares[-1], (np.arange(size) + 0.5) / size)]
        member = np.random.default_rng(0).permutation(member)
        cohort = state.wave * len(brackets) + member
        return _halve(state, cohort, lambda number: of_each[number % len(brackets)], eta)

    name = f"hyperband(eta={eta}{words(over)})"
    return Scheduler(by_mean(decide, over), name, rungs=lambda total: set().union(*rungs_of(total)[1]), going=going)


def asynchronous_halving(eta: float = 3.0, min_resource: int = 1, *, over: Sequence[str] = REPEATED) -> Scheduler:
    """Successive halving without waiting: a setting goes on past a rung if it is among the best so far there.

    A setting is pruned at a rung unless its score lies in the best ``1/eta`` of those that have come to the rung by
    then. Within one program, where all settings come to a rung together, ``successive_halving`` wastes less. This
    scheduler is for settings that pass through the devices one after the other.

    Args:
        eta: the factor by which each rung reduces the settings and lengthens the training, > 1.
        min_resource: segments before the first rung, >= 1.
        over: the columns that only repeat a setting. The repeats of a setting that are trained at the same time share
            one score, their mean, and go on or are pruned together; ``()`` makes each row a setting of its own.

    Returns:
        The scheduler.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.9, 0.5, 0.2, 0.1]})
        >>> asha = sweep.asynchronous_halving(eta=2)
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1, scheduler=asha)
        >>> result.history.last_step.tolist()
        [4, 2, 1, 1]

    References:
        Li, L., Jamieson, K., Rostamizadeh, A., Gonina, E., Ben-tzur, J., Hardt, M., Recht, B., & Talwalkar, A. (2020).
        A system for massively parallel hyperparameter tuning. MLSys. Algorithm 2, in the variant that stops rather than
        pauses.
    """
    _check_halving(eta, min_resource)
    check_over(over)

    def decide(state):
        nobody = np.zeros_like(state.going)
        prune = nobody.copy()
        for rung in _rungs(state.scores.shape[1], eta, min_resource):
            if (at := np.flatnonzero(state.going & (state.segments == rung))).size:
                scores = state.scores[state.segments >= rung, rung - 1]
                best = max(int(len(scores) / eta), 1)
                prune[at] = state.scores[at, rung - 1] > np.partition(scores, best - 1)[best - 1]
        return Decision(nobody, prune)

    name = f"asynchronous_halving(eta={eta}, min_resource={min_resource}{words(over)})"
    return Scheduler(
        by_mean(decide, over),
        name,
        rungs=lambda total: _rungs(total, eta, min_resource),
        going=lambda total: _going(total, _rungs(total, eta, min_resource), eta).tolist(),
    )


def _check_halving(eta: float, min_resource: int) -> None:
    check_number("eta", eta, "(1, inf)")
    check_whole("min_resource", min_resource, "[1, inf)")


def _rungs(total: int, eta: float, min_resource: float) -> list[int]:
    """The numbers of segments after which settings are pruned: whole, ascending, each below the total."""
    count = int(np.ceil(np.log(total / min_resource) / np.log(eta))) if min_resource < total else 0
    rungs = sorted({max(round(min_resource * eta**k), 1) for k in range(count)})
    return [rung for rung in rungs if rung < total]


def _going(total: int, rungs: list[int], eta: float) -> np.ndarray:
    """[total]: the share of the settings that train each segment."""
    return eta ** -np.searchsorted(rungs, np.arange(total), "right").astype(float)


def _halve(state: SchedulerState, cohort: np.ndarray, rungs_of: Callable[[int], list[int]], eta: float) -> Decision:
    """The decision at the synchronous rungs of each cohort in training, computed from all that is known of it."""
    wait, prune = np.zeros_like(state.going), np.zeros_like(state.going)
    trains = np.zeros(cohort.max() + 1, bool)  # by cohort
    trains[cohort[state.going & (state.segments > 0)]] = True
    rows = np.flatnonzero(trains[cohort])
    for members in rows_by(cohort[rows]):
        alive = rows[members]
        count = len(alive)
        for k, rung in enumerate(rungs_of(int(cohort[alive[0]]))):
            coming = state.going[alive] & (state.segments[alive] < rung)
            if coming.any():
                wait[alive] |= state.going[alive] & (state.segments[alive] >= rung)
                break
            at = np.minimum(state.segments[alive], rung) - 1
            scores = np.where(at >= 0, state.scores[alive, at], np.inf)
            keep = max(int(count / eta ** (k + 1) + 1e-9), 1)
            order = np.argsort(scores, kind="stable")
            losers = alive[order[keep:]]
            prune[losers] |= state.going[losers]
            alive = np.sort(alive[order[:keep]])
    return Decision(wait, prune)
