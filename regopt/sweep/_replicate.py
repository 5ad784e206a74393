"""The same settings trained on many training sets: the predictions that bias, variance and ensembles are made of."""

from typing import Any, NamedTuple

import numpy as np

from regopt._core.numerics import check_whole
from regopt._core.types import Task, Tree
from regopt.data import Splits
from regopt.sweep._run import run
from regopt.sweep.engine._checks import as_resamples, check_predicts
from regopt.sweep.results import Result
from regopt.sweep.space import Settings, grid
from regopt.sweep.space._dimensions import Space


class Replication(NamedTuple):
    """What replicates of some settings predict."""

    predictions: np.ndarray  # [settings, replicas, seeds, points, ...], float; NaN where a replicate diverged
    result: Result  # of all replicates, in the order of the first three axes


def replicate(
    task: Task,
    settings: Settings | Space,
    data: Splits,
    resamples: Any,
    *,
    seeds: int = 1,
    inputs: Tree,
    **run_options: Any,
) -> Replication:
    """Train every setting on every resample with every seed, and predict at ``inputs``.

    Args:
        task: what to train, with a ``predict``; see ``supervised``.
        settings: which settings; of a space all combinations, as ``grid`` makes them.
        data: examples; see ``run``.
        resamples: training sets as places in ``data.train``, whole numbers ``[replicas, examples]``.
        seeds: trainings of a setting on a resample, >= 1, each with its own initial state and order of the data.
            The same ones serve all settings and resamples, so 1 varies nothing but the training set.
        inputs: where to predict, with the points on the first axis.
        **run_options: further arguments of ``run``, such as ``steps`` and ``eval_every``.

    Returns:
        The predictions, and the result of the sweep.

    Raises:
        ValueError: ``seeds`` is out of range, the settings have a column ``replica`` or ``seed`` of their own, the
            task has no ``predict``, or ``run`` refuses an argument.
    """
    check_whole("seeds", seeds, "[1, inf)")
    listed = settings if isinstance(settings, Settings) else grid(settings)
    if taken := {"replica", "seed"} & set(listed.columns):
        raise ValueError(f"settings must have no column {min(taken)}: replicate makes the replicas and the seeds")
    check_predicts(task)
    places = as_resamples(resamples, data)
    result = run(task, _crossed(listed, len(places), seeds), data, resamples=places, **run_options)
    outputs = result.predict(inputs)
    return Replication(outputs.reshape(len(listed), len(places), seeds, *outputs.shape[1:]), result)


def _crossed(settings: Settings, replicas: int, seeds: int) -> Settings:
    """Every setting with every replica and seed, the seeds varying fastest.

    One seed needs no column: a key that all share spares each lane the drawing of its own order.
    """
    rows = np.repeat(np.arange(len(settings)), replicas * seeds)
    numbers = {name: column[rows] for name, column in settings.numbers.items()}
    numbers["replica"] = np.tile(np.repeat(np.arange(replicas), seeds), len(settings))
    if seeds > 1:
        numbers["seed"] = np.tile(np.arange(seeds), len(settings) * replicas)
    return Settings(numbers, settings.take(rows).static)
