"""The same settings trained on many training sets: the predictions from which bias, variance and ensembles come."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
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
    """The predictions of all replicates of some settings."""

    predictions: np.ndarray  # [settings, replicas, seeds, points, ...], float; NaN where a replicate diverged
    result: Result  # the sweep of all replicates, in the order of the first three axes


def replicate(
    task: Task,
    settings: Settings | Space,
    data: Splits,
    resamples: Sequence[Sequence[int]] | np.ndarray | jax.Array,
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
        resamples: training sets as indices into ``data.train``, whole numbers ``[replicas, examples]``.
        seeds: trainings of a setting on a resample, >= 1, each with its own initial state and order of the data. The
            same seeds serve all settings and resamples, so with 1 seed nothing varies but the training set.
        inputs: where to predict, with the points on the first axis.
        **run_options: further arguments of ``run``, such as ``steps`` and ``eval_every``.

    Returns:
        The predictions, and the result of the sweep.

    Raises:
        ValueError: ``seeds`` is out of range, the settings have a column ``replica`` or ``seed`` of their own, the task
            has no ``predict``, or ``run`` refuses an argument.

    Example:
        >>> import numpy as np
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> rows = np.array([[0, 0], [1, 3], [2, 2]])  # data.train is [0, 1, 2, 1]
        >>> settings = sweep.from_columns({"rate": [0.5, 1.0]})
        >>> points = np.zeros(1, np.float32)
        >>> made = sweep.replicate(MEAN_TASK, settings, MEAN_DATA, rows, inputs=points, steps=1, eval_every=1)
        >>> made.predictions[:, :, 0, 0].tolist()  # a rate of 1 finds the mean of each resample in one step
        [[0.0, 0.5, 1.0], [0.0, 1.0, 2.0]]

    References:
        Geman, S., Bienenstock, E., & Doursat, R. (1992). Neural networks and the bias/variance dilemma. Neural
        Computation, 4(1), 1-58. For the decomposition that the predictions serve.
    """
    check_whole("seeds", seeds, "[1, inf)")
    listed = settings if isinstance(settings, Settings) else grid(settings)
    if taken := {"replica", "seed"} & set(listed.columns):
        raise ValueError(
            f"settings must have no column {min(taken)}: replicate adds the columns replica and seed itself"
        )
    check_predicts(task)
    places = as_resamples(resamples, data)
    result = run(task, _crossed(listed, len(places), seeds), data, resamples=places, **run_options)
    outputs = result.predict(inputs)
    return Replication(outputs.reshape(len(listed), len(places), seeds, *outputs.shape[1:]), result)


def _crossed(settings: Settings, replicas: int, seeds: int) -> Settings:
    """Every setting with every replica and seed, the seeds varying fastest.

    One seed needs no column: with a key that all lanes share, no lane has to draw an order of its own.
    """
    rows = np.repeat(np.arange(len(settings)), replicas * seeds)
    numbers = {name: column[rows] for name, column in settings.numbers.items()}
    numbers["replica"] = np.tile(np.repeat(np.arange(replicas), seeds), len(settings))
    if seeds > 1:
        numbers["seed"] = np.tile(np.arange(seeds), len(settings) * replicas)
    return Settings(numbers, settings.take(rows).static)
