"""Population based training: the worst settings continue from the states of the best, with changed numbers."""

from collections.abc import Mapping

import numpy as np

from regopt._core.messages import brief
from regopt._core.numerics import check_number, check_whole
from regopt.sweep.schedulers._scheduler import Decision, Scheduler, SchedulerState
from regopt.sweep.space import Dimension
from regopt.sweep.space._dimensions import check_space


def population_based_training(
    explore: Mapping[str, Dimension],
    every: int = 1,
    *,
    fraction: float = 0.2,
    resample: float = 0.25,
    factors: tuple[float, float] = (0.8, 1.2),
    seed: int = 0,
) -> Scheduler:
    """Between segments the worst settings copy the state of one of the best, and continue it with changed numbers.

    A setting of the worst ``fraction`` takes the state and the numbers of one drawn from the best ``fraction`` (the
    paper's truncation selection). Each number to explore is then drawn from its dimension again with probability
    ``resample``; otherwise it is multiplied by one of the ``factors`` and kept within the ends of the dimension. A
    number with listed values is drawn again or stays. Only settings with the same static values exchange states. All
    settings must fit on the devices at the same time, and there is no early stopping. A diverged setting is among the
    worst and is never copied.

    Args:
        explore: the numbers that change, each with its dimension.
        every: segments between exchanges, >= 1.
        fraction: the share of the settings of a group that is replaced, in (0, 0.5]; at least one setting of a group of
            two or more.
        resample: the probability that a number is drawn again, in [0, 1].
        factors: the factors of which one multiplies a number, each > 0.
        seed: seed of the draws, >= 0; the same command makes the same draws.

    Returns:
        The scheduler. ``Result.lineage`` lists which setting copied which, and the numbers used in each segment.

    Raises:
        ValueError: an argument lies outside its range, ``explore`` is empty, or a dimension is static or crossed.

    Example:
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.2, 0.5, 0.9]})
        >>> pbt = sweep.population_based_training({"rate": sweep.uniform(0.0, 1.0)}, every=2, fraction=0.25)
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1, scheduler=pbt)
        >>> lineage = result.lineage()
        >>> lineage[lineage["parent"] != lineage["setting"]][["setting", "step", "parent"]].values.tolist()
        [[0, 2, 3]]

    References:
        Jaderberg, M., Dalibard, V., Osindero, S., Czarnecki, W. M., Donahue, J., Razavi, A., Vinyals, O., Green, T.,
        Dunning, I., Simonyan, K., Fernando, C., & Kavukcuoglu, K. (2017). Population based training of neural networks.
        arXiv:1711.09846. Algorithm 1 and section 4.1.
    """
    check_whole("every", every, "[1, inf)")
    check_number("fraction", fraction, "(0, 0.5]")
    check_number("resample", resample, "[0, 1]")
    check_whole("seed", seed, "[0, inf)")
    if not (isinstance(factors, tuple | list) and factors):
        raise ValueError(f"factors must be a tuple of numbers in (0, inf), got {brief(factors)}")
    for factor in factors:
        check_number("factors", factor, "(0, inf)")
    _check_explored(explore)

    def decide(state: SchedulerState) -> Decision:
        nobody = np.zeros_like(state.going)
        total = state.scores.shape[1]
        at = int(state.segments[state.going].min(initial=total))  # an exchange waits for the slowest settings
        wait = state.going & (state.segments > at)
        due = 0 < at < total and at % every == 0 and np.all(state.parents[state.going, at] < 0)
        if wait.any() or not due:
            return Decision(wait, nobody)
        draw = np.random.default_rng([seed, at])
        parents = np.arange(len(nobody))
        numbers = {name: state.numbers[name].copy() for name in explore}
        scores = np.where(np.isnan(state.scores[:, at - 1]), np.inf, state.scores[:, at - 1])
        for group in np.unique(state.group):
            rows = np.flatnonzero(state.group == group)
            order = rows[np.argsort(scores[rows], kind="stable")]
            count = min(max(round(fraction * len(rows)), 1), len(rows) // 2)
            best = [row for row in order[:count] if np.isfinite(scores[row])]
            for row in order[len(rows) - count :] if best else ():
                parents[row] = draw.choice(best)
                for name, dimension in explore.items():
                    numbers[name][row] = _explored(state.numbers[name][parents[row]], dimension, draw)
        return Decision(nobody, nobody, parents, numbers)

    def _explored(value, dimension: Dimension, draw: np.random.Generator):
        anew = dimension.at(draw.uniform(size=1))[0]
        if draw.uniform() < resample:
            return anew
        if dimension.listed:
            return value
        low, high = np.asarray(dimension.at(np.array([0.0, 1.0])))
        return np.clip(value * draw.choice(factors), low, high)

    drawn = {name: np.asarray(dimension.at(np.linspace(0, 1, 5))).tolist() for name, dimension in explore.items()}
    arguments = f"{drawn}, {every}, fraction={fraction}, resample={resample}, factors={factors}, seed={seed}"
    fractions = tuple(name for name, levels in drawn.items() if not all(type(level) is int for level in levels))
    name = f"population_based_training({arguments})"
    return Scheduler(decide, name, tuple(explore), fractions, lambda total: range(every, total, every))


def _check_explored(explore: Mapping[str, Dimension]) -> None:
    """Require at least one number, and only such as may change in training."""
    check_space(explore)
    if not explore:
        raise ValueError("explore must name at least one number, got none")
    for name, dimension in explore.items():
        if dimension.static or dimension.crossed:
            raise ValueError(f"explore must name numbers that may change in training, got {brief(name)}")
