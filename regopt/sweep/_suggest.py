"""Settings that an Optuna sampler suggests, in batches: ask for them, train them in one program, tell the results."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regopt._core.messages import brief
from regopt._core.metrics import as_loss
from regopt._core.numerics import check_whole
from regopt._core.types import Mode, Setting
from regopt.sweep.results import Result
from regopt.sweep.results._tables import mode_in
from regopt.sweep.space import Dimension, Settings, grid
from regopt.sweep.space._conditional import holds
from regopt.sweep.space._dimensions import Column, Space, check_space

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import CategoricalChoiceType

_DIRECTIONS: dict[str, Mode] = {"MINIMIZE": "min", "MAXIMIZE": "max"}
Constraints = Callable[[Setting], Mapping[str, float]]


def ask(study: "optuna.Study", space: Space, count: int) -> tuple[list["optuna.Trial"], Settings]:
    """Ask a study for settings; each is crossed with the seeds and replicas of the space.

    The parameters of a trial are the values of its setting, so ``study.best_params`` may be used as they are; a static
    value of a type that Optuna cannot store, such as a function, is stored by its name. A conditional dimension is no
    parameter of a trial in which its condition does not hold.

    Any sampler will do. One that takes account of trials that have no value yet (``constant_liar=True`` of the TPE
    sampler) suits batches. If all batches have the same number of settings, ``run`` compiles only once. With static
    dimensions it compiles again for a batch whose groups have other sizes, unless ``slots`` and ``chunk`` are given:
    with ``run(..., slots=4, chunk=4)`` all groups of at least four settings share their programs, and at most four
    states of each group are kept.

    Args:
        study: an ``optuna.Study``, with the directions of the metrics that ``tell`` gives it.
        space: dimensions by name.
        count: number of trials, >= 1.

    Returns:
        The trials, for ``tell``, and the settings, with the repeats of a trial next to each other.

    Raises:
        ValueError: ``count`` is below 1, or ``space`` is no space or has nothing to suggest.
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
        raise ValueError("space must have at least one dimension other than seeds and replicas")
    _require_optuna()
    labels = {name: _labels(dimension.levels(None)) for name, dimension in drawn.items() if dimension.listed}
    trials = [study.ask() for _ in range(count)]
    suggested = [_suggested(trial, drawn, labels) for trial in trials]
    crossed = {name: dimension for name, dimension in space.items() if dimension.crossed}
    repeats = grid(crossed).numbers if crossed else {}
    times = len(next(iter(repeats.values()))) if crossed else 1
    numbers, static = {}, {}
    for name, dimension in space.items():
        if dimension.crossed:
            numbers[name] = np.tile(repeats[name], count)
        elif dimension.static:
            static[name] = tuple(values[name] for values in suggested for _ in range(times))
        else:
            numbers[name] = np.repeat(np.array([values[name] for values in suggested]), times)
    return trials, Settings(numbers, static)


def tell(
    study: "optuna.Study",
    trials: Sequence["optuna.Trial"],
    result: Result,
    metric: str | Sequence[str] | None = None,
    *,
    constraints: Constraints | None = None,
) -> None:
    """Tell a study the values of its trials.

    The value of a trial is the mean over its repeats at their kept steps, and the means at each evaluation are its
    intermediate values; a study of several objectives has none. A trial with a repeat that diverged gets the worst
    value, an infinite one, so that the sampler learns to avoid such settings. Where the scheduler has pruned trials,
    which a sampler ranks behind all others, the diverged ones are pruned too, without a value, which ranks them last. A
    trial fails only if a repeat was not trained.

    Args:
        study: the study that was asked.
        trials: what ``ask`` returned.
        result: the result of the settings that it returned.
        metric: the metric whose value to tell, or one for each objective of the study; the ``monitor`` of the sweep by
            default.
        constraints: ``row -> {name: value}``, where a trial is feasible if no value is above 0: the row has the
            setting of the trial and the means of its metrics by name. For samplers that know constraints; see
            ``optuna.Trial.set_constraint``.

    Raises:
        ValueError: the result is not of these trials, has no such metric, or the study has another direction than the
            metric; or ``constraints`` is not a function that returns a mapping.
        ImportError: Optuna is not installed.

    Example:
        >>> import optuna
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        >>> trials, settings = sweep.ask(study, {"rate": sweep.choice([0.5, 1e30])}, 4)
        >>> sweep.tell(study, trials, sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1))
        >>> [trial.value for trial in study.trials], study.best_params  # three settings diverged
        ([inf, 0.00390625, inf, inf], {'rate': 0.5})

    References:
        Akiba, T., Sano, S., Yanase, T., Ohta, T., & Koyama, M. (2019). Optuna: A next-generation hyperparameter
        optimization framework. KDD.
    """
    _require_optuna()
    metrics = _told_metrics(study, result, metric)
    kept, status = result.kept_metrics(), result.status
    if not trials or len(status) % len(trials):
        raise ValueError(
            f"result must have equally many repeats of each of the {len(trials)} trials, got {len(status)} settings"
        )
    if constraints is not None and not callable(constraints):
        raise ValueError(f"constraints must be a function of a row, got {brief(constraints)}")
    times = len(status) // len(trials)
    others = [_difference(trial, result.history.settings.row(place * times)) for place, trial in enumerate(trials)]
    if all(others):  # a few may have been changed by hand before the run
        raise ValueError(f"result must be of the settings that came with the trials: {others[0]}")
    some_pruned = bool(np.any(status == "pruned"))
    modes: list[Mode] = [_DIRECTIONS[direction.name] for direction in study.directions]
    scores = [
        as_loss(result.history.scores(name, mode, keeps_best=result.keeps_best), mode)
        for name, mode in zip(metrics, modes, strict=True)
    ]
    for place, trial in enumerate(trials):
        rows = slice(place * times, (place + 1) * times)
        means = {name: float(np.mean(values[rows])) for name, values in kept.items()}
        outcome = _Outcome(
            unfinished="unfinished" in status[rows],
            diverged="diverged" in status[rows] or not all(np.isfinite(means[name]) for name in metrics),
            pruned="pruned" in status[rows],
            values=[means[name] for name in metrics],
            worst=[as_loss(np.inf, mode) for mode in modes],
            curve=np.mean(scores[0][rows], axis=0) if len(metrics) == 1 else None,
        )
        if constraints is not None and not outcome.unfinished:
            _constrain(trial, constraints(result.history.settings.row(rows.start) | means))
        _tell_one(study, trial, outcome, result.history.steps, some_pruned=some_pruned)


class _Outcome(NamedTuple):
    """The outcome of a trial over its repeats."""

    unfinished: bool
    diverged: bool
    pruned: bool
    values: list[float]
    worst: list[float]
    curve: np.ndarray | None  # [evaluations]: means over the repeats; None for several objectives


def _tell_one(
    study: "optuna.Study", trial: "optuna.Trial", outcome: _Outcome, steps: np.ndarray, *, some_pruned: bool
) -> None:
    from optuna.trial import TrialState

    if outcome.unfinished:
        study.tell(trial, state=TrialState.FAIL)
        return
    if outcome.diverged:
        if some_pruned and outcome.curve is not None:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, outcome.worst)
        return
    if outcome.curve is not None:
        for step, value in zip(steps.tolist(), outcome.curve.tolist(), strict=True):
            if np.isfinite(value):
                trial.report(value, step)
    if outcome.pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, outcome.values)


def _told_metrics(study: "optuna.Study", result: Result, metric: str | Sequence[str] | None) -> list[str]:
    """The metric of each objective of the study, after a check of its direction."""
    if metric is None and len(study.directions) > 1:
        raise ValueError(
            f"metric must name one metric for each of the study's {len(study.directions)} objectives, got None"
        )
    metrics = [result.monitor] if metric is None else [metric] if isinstance(metric, str) else list(metric)
    if len(metrics) != len(study.directions):
        raise ValueError(
            f"metric must name one metric for each of the study's {len(study.directions)} objectives, got {metrics}"
        )
    for name, direction in zip(metrics, study.directions, strict=True):
        if name not in result.history.curves:
            raise ValueError(f"metric must be one of {list(result.history.curves)}, got {name!r}")
        mode = mode_in(result, name)
        if _DIRECTIONS.get(direction.name) != mode:
            better, makes = ("smaller", "minimize") if mode == "min" else ("larger", "maximize")
            raise ValueError(
                f"the study is to {direction.name.lower()} {name}, but a {better} value of it is better: make it with "
                f'optuna.create_study(direction="{makes}")'
            )
    return metrics


def _difference(trial: "optuna.Trial", setting: Setting) -> str | None:
    """The first value in which a setting differs from its trial; those that are stored by name are not compared."""
    for name, value in trial.params.items():
        own = setting.get(name)
        own = own.item() if isinstance(own, np.generic) else own
        by_name = isinstance(value, str) and not isinstance(own, str) and name in setting
        if value != own and not by_name:
            return f"trial {trial.number} has {name} = {brief(value)}, and its row of the result has {brief(own)}"
    return None


def _constrain(trial: "optuna.Trial", values: object) -> None:
    if not isinstance(values, Mapping):
        raise ValueError(f"constraints must return a dict from names to numbers, got {brief(values)}")
    for name, value in values.items():
        trial.set_constraint(name, np.inf if np.isnan(value) else float(value))  # a diverged trial is not feasible


def _suggested(
    trial: "optuna.Trial", drawn: Mapping[str, Dimension], labels: Mapping[str, list["CategoricalChoiceType"]]
) -> Setting:
    """The values that the study suggests for one trial, by name; ``otherwise`` where a condition does not hold."""
    values: Setting = {}
    for name, dimension in drawn.items():
        if not holds(dimension, values):
            values[name] = dimension.otherwise
        elif dimension.listed:
            chosen = trial.suggest_categorical(name, labels[name])
            values[name] = dimension.levels(None)[labels[name].index(chosen)]
        else:
            low, high = (value.item() for value in np.asarray(dimension.levels(2)))  # both ends, exactly
            suggest = trial.suggest_int if dimension.whole else trial.suggest_float
            values[name] = suggest(name, low, high, log=dimension.log)
    return values


def _labels(levels: Column) -> list["CategoricalChoiceType"]:
    """The values of a dimension as a study stores them: as they are, or by name where it could not tell them apart."""
    values = [value.item() if isinstance(value, np.generic) else value for value in levels]
    storable = [value for value in values if isinstance(value, str | bool | int | float | None)]
    if len(storable) == len(values) == len(set(storable)):
        return storable
    names = [getattr(value, "__qualname__", None) or repr(value) for value in values]
    return [name if names.count(name) == 1 else f"{name} #{at}" for at, name in enumerate(names)]


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ImportError("sweep.ask needs Optuna: pip install 'regopt[optuna]'") from error
