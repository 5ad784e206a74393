"""Dimensions that repeat every setting: by seed, by resample of the training set, by fold of a cross-validation."""

import numpy as np

from regopt._core.numerics import check_whole
from regopt.sweep.space._dimensions import Dimension, listed


def seeds(count: int, first: int = 0) -> Dimension:
    """Repeats of every setting, one with each of ``count`` seeds.

    The column must have the name ``seed``: it decides the initial state of a setting and its order of the data.

    Args:
        count: number of seeds, >= 1.
        first: the first seed, >= 0.

    Returns:
        The dimension.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> from regopt import sweep
        >>> sweep.grid({"rate": sweep.choice([0.1, 0.3]), "seed": sweep.seeds(2, first=5)}).numbers["seed"].tolist()
        [5, 6, 5, 6]

    References:
        Bouthillier, X., et al. (2021). Accounting for variance in machine learning benchmarks. MLSys. For what one seed
        hides.
    """
    check_whole("count", count, "[1, inf)")
    check_whole("first", first, "[0, inf)")
    return _crossed(np.arange(first, first + count))


def replicas(count: int) -> Dimension:
    """Repeats of every setting, one on each of the first ``count`` resamples of the training set.

    The column must have the name ``replica``: it is the row of ``run(..., resamples=...)`` that a setting trains on,
    and nothing else. The initial state and the order of the data depend on the seed.

    Args:
        count: number of replicas, >= 1.

    Returns:
        The dimension.

    Raises:
        ValueError: the count lies outside its range.

    Example:
        >>> import jax
        >>> from regopt import data, sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.grid({"rate": sweep.choice([0.5]), "replica": sweep.replicas(3)})
        >>> rows = data.bootstrap(jax.random.key(0), replicas=3, examples=4)
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=2, eval_every=1, resamples=rows)
        >>> result.to_pandas()["replica"].tolist()
        [0, 1, 2]

    References:
        Efron, B. (1979). Bootstrap methods: Another look at the jackknife. Annals of Statistics, 7(1), 1-26.
    """
    check_whole("count", count, "[1, inf)")
    return _crossed(np.arange(count))


def folds(count: int) -> Dimension:
    """Cross-validation of every setting: trained ``count`` times, each time without one part of the training set.

    The column must have the name ``fold``. ``sweep.run`` divides ``data.train`` into as many random parts of one size;
    a setting is evaluated on the part that its ``fold`` names, and trained on all other examples. What a division into
    equal parts leaves over, at most ``count - 1`` examples, is always trained on. ``data.validation`` stays unused, so
    it may hold a test set, or be left out. ``Result.best`` and the halving schedulers go by the mean over the folds.

    Args:
        count: number of folds, >= 2.

    Returns:
        The dimension.

    Raises:
        ValueError: the count lies outside its range.

    Example:
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.grid({"rate": sweep.choice([0.5, 1.0]), "fold": sweep.folds(2)})
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=2, eval_every=1)
        >>> result.best().setting["rate"], result.best().rows
        (0.5, (0, 1))

    References:
        Stone, M. (1974). Cross-validatory choice and assessment of statistical predictions. Journal of the Royal
        Statistical Society B, 36(2), 111-147.
    """
    check_whole("count", count, "[2, inf)")
    return _crossed(np.arange(count))


def _crossed(values: np.ndarray) -> Dimension:
    return listed(values, lambda indices: values[indices], static=False)._replace(crossed=True)
