"""Settings that an Optuna sampler suggests, in batches: ask for them, train them in one program, tell the results."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from regopt._core.numerics import check_whole
from regopt.sweep.results import Result
from regopt.sweep.space import Dimension, Settings, grid
from regopt.sweep.space._dimensions import Space, check_space


def ask(study: Any, space: Space, count: int) -> tuple[list[Any], Settings]:
    """Ask a study for settings; each is crossed with the seeds and replicas of the space.

    Any sampler will do. One that takes account of trials that have no value yet (``constant_liar=True`` of the TPE
    sampler) suits batches. If all batches have the same number of settings, ``run`` compiles only once. Each trial
    comes from ``optuna.Study.ask``.

    Args:
        study: an ``optuna.Study``, with the direction of the metric that ``tell`` gives it.
        space: dimensions by name.
        count: number of trials, >= 1.

    Returns:
        The trials, for ``tell``, and the settings, the repeats of a trial in a row.

    Raises:
        ValueError: count is below 1, or the space has nothing to suggest.
        ImportError: Optuna is not installed.

    Example:
        >>> import optuna
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=optuna.samplers.TPESampler(constant_liar=True, seed=0))
        >>> space = {"rate": sweep.uniform(0.0, 1.0)}
        >>> for _ in range(3):
        ...     trials, settings = sweep.ask(study, space, 4)
        ...     result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1)
        ...     sweep.tell(study, trials, result)
        >>> len(study.trials), study.best_value < 1e-3
        (12, True)

    References:
        Akiba, T., Sano, S., Yanase, T., Ohta, T., & Koyama, M. (2019). Optuna: A next-generation hyperparameter
        optimization framework. KDD.
    """
    check_whole("count", count, "[1, inf)")
    check_space(space)
    drawn = {name: dimension for name, dimension in space.items() if not dimension.crossed}
    if not drawn:
        raise ValueError("space must have a dimension to suggest beside the seeds and replicas")
    forms = {name: _distribution(dimension) for name, dimension in drawn.items()}
    trials = [study.ask(forms) for _ in range(count)]
    crossed = {name: dimension for name, dimension in space.items() if dimension.crossed}
    repeats = grid(crossed).numbers if crossed else {}
    times = len(next(iter(repeats.values()))) if crossed else 1
    numbers, static = {}, {}
    for name, dimension in space.items():
        if dimension.crossed:
            numbers[name] = np.tile(repeats[name], count)
            continue
        values = [trial.params[name] for trial in trials]
        if dimension.listed:
            values = [dimension.levels(None)[place] for place in values]
        if dimension.static:
            static[name] = tuple(value for value in values for _ in range(times))
        else:
            numbers[name] = np.repeat(np.array(values), times)
    return trials, Settings(numbers, static)


def tell(study: Any, trials: Sequence[Any], result: Result, metric: str | None = None) -> None:
    """Tell a study the values of its trials.

    The value of a trial is the mean over its repeats at their kept steps. The trial fails if a repeat diverged or was
    not trained; one that the scheduler pruned is pruned in the study too, with the value that it had reached.

    Args:
        study: the study that was asked.
        trials: what ``ask`` returned.
        result: the result of the settings that it returned.
        metric: the metric whose value to tell; the ``monitor`` of the sweep by default.

    Raises:
        ValueError: the result is not of these trials, or has no such metric.
        ImportError: Optuna is not installed.

    Example:
        >>> import optuna
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        >>> trials, settings = sweep.ask(study, {"rate": sweep.choice([0.5, 1e30])}, 4)
        >>> sweep.tell(study, trials, sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1))
        >>> [trial.state.name for trial in study.trials], study.best_value  # a diverged setting fails
        (['FAIL', 'COMPLETE', 'FAIL', 'FAIL'], 0.00390625)

    References:
        Akiba, T., Sano, S., Yanase, T., Ohta, T., & Koyama, M. (2019). Optuna: A next-generation hyperparameter
        optimization framework. KDD.
    """
    from optuna.trial import TrialState

    metric = result.monitor if metric is None else metric
    kept, status = result.kept_metrics(), result.status
    if metric not in kept:
        raise ValueError(f"metric must be one of {list(kept)}, got {metric!r}")
    if not trials or len(status) % len(trials):
        raise ValueError(f"result must have the same repeats of {len(trials)} trials, got {len(status)} settings")
    times = len(status) // len(trials)
    for place, trial in enumerate(trials):
        rows = slice(place * times, (place + 1) * times)
        value = float(np.mean(kept[metric][rows]))
        if not np.isfinite(value) or "diverged" in status[rows] or "unfinished" in status[rows]:
            study.tell(trial, state=TrialState.FAIL)
        elif "pruned" in status[rows]:
            trial.report(value, int(result.kept_step[rows].max()))
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)


def _distribution(dimension: Dimension) -> Any:
    try:
        from optuna.distributions import CategoricalDistribution, FloatDistribution
    except ImportError as error:
        raise ImportError("sweep.ask needs Optuna: pip install 'regopt[optuna]'") from error
    if dimension.listed:
        return CategoricalDistribution(tuple(range(len(dimension.levels(None)))))
    low, high = np.asarray(dimension.levels(2))  # both ends, exactly
    return FloatDistribution(float(low), float(high), log=dimension.log)
