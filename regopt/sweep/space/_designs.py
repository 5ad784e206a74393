"""Designs that draw settings from a space: grids, random and low-discrepancy designs, or settings listed one by one."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from regopt._core.messages import brief, suggestion
from regopt._core.numerics import check_whole
from regopt.sweep.space._conditional import distinct, resolved
from regopt.sweep.space._dimensions import Column, Space, check_space, choice
from regopt.sweep.space._settings import Settings


def grid(space: Space, points: int | Mapping[str, int] | None = None) -> Settings:
    """Every combination of the levels of each dimension, the last one varying fastest.

    Args:
        space: dimensions by name.
        points: number of levels of each continuous dimension, >= 1, one number for all or by name; choices, static
            values, seeds and replicas have their own levels.

    Returns:
        The settings.

    Raises:
        ValueError: a continuous dimension has no number of points, or ``points`` names no dimension.

    Example:
        >>> from regopt import sweep
        >>> settings = sweep.grid({"rate": sweep.log_uniform(0.01, 1.0), "width": sweep.static([8, 16])}, points=3)
        >>> len(settings), settings.row(0), settings.row(5)
        (6, {'rate': 0.01, 'width': 8}, {'rate': 1.0, 'width': 16})

    References:
        Bergstra, J., & Bengio, Y. (2012). Random search for hyper-parameter optimization. Journal of Machine Learning
        Research, 13, 281-305. Section 1, for when ``random`` is better than a grid.
    """
    check_space(space)
    by_name = points if isinstance(points, Mapping) else dict.fromkeys(space, points)
    if unknown := set(by_name) - set(space):
        name = min(unknown, key=str)
        raise ValueError(f"points names {brief(name)}, which the space does not have; {suggestion(str(name), space)}")
    levels = [dimension.levels(by_name.get(name)) for name, dimension in space.items()]
    indices = np.meshgrid(*(np.arange(len(level)) for level in levels), indexing="ij")
    columns = [_take(level, i.ravel()) for level, i in zip(levels, indices, strict=True)]
    named = resolved(space, dict(zip(space, columns, strict=True)))
    rows = distinct(space, named)
    return _settings(space, [_take(column, rows) for column in named.values()])


def random(space: Space, count: int, seed: int = 0) -> Settings:
    """``count`` independent settings, each crossed with the seeds and replicas.

    Args:
        space: dimensions by name.
        count: number of settings before they are crossed, >= 1.
        seed: seed of the draw, >= 0.

    Returns:
        The settings.

    Raises:
        ValueError: count is below 1, or seed below 0.

    Example:
        >>> from regopt import sweep
        >>> settings = sweep.random({"rate": sweep.uniform(0.0, 1.0), "seed": sweep.seeds(2)}, count=3)
        >>> len(settings), settings.numbers["seed"].tolist()
        (6, [0, 1, 0, 1, 0, 1])

    References:
        Bergstra, J., & Bengio, Y. (2012). Random search for hyper-parameter optimization. Journal of Machine Learning
        Research, 13, 281-305.
    """
    return _design(space, count, seed, lambda dims: np.random.default_rng(seed).random((count, dims)))


def sobol(space: Space, count: int, seed: int = 0) -> Settings:
    """``count`` settings of a scrambled Sobol sequence, each crossed with the seeds and replicas.

    The points cover the space more evenly than independent ones, most evenly where count is a power of two. They are
    those of ``scipy.stats.qmc.Sobol``.

    Args:
        space: dimensions by name.
        count: number of settings before they are crossed, >= 1.
        seed: seed of the scrambling, >= 0.

    Returns:
        The settings.

    Raises:
        ValueError: count is below 1, or seed below 0.

    Example:
        >>> from regopt import sweep
        >>> settings = sweep.sobol({"rate": sweep.uniform(0.0, 1.0)}, count=4)
        >>> sorted((settings.numbers["rate"] * 4).astype(int).tolist())  # one in each quarter of the range
        [0, 1, 2, 3]

    References:
        Sobol, I. M. (1967). On the distribution of points in a cube and the approximate evaluation of integrals. USSR
        Computational Mathematics and Mathematical Physics, 7(4), 86-112.

        Owen, A. B. (1998). Scrambling Sobol' and Niederreiter-Xing points. Journal of Complexity, 14(4), 466-489.
    """
    from scipy.stats import qmc

    def draw(dims):
        power = max(count - 1, 0).bit_length()
        return qmc.Sobol(dims, rng=seed).random_base2(power)[:count]

    return _design(space, count, seed, draw)


def latin_hypercube(space: Space, count: int, seed: int = 0) -> Settings:
    """``count`` settings, one in each of ``count`` slices of every dimension, each crossed with the seeds and replicas.

    The points are those of ``scipy.stats.qmc.LatinHypercube``.

    Args:
        space: dimensions by name.
        count: number of settings before they are crossed, >= 1.
        seed: seed of the draw, >= 0.

    Returns:
        The settings.

    Raises:
        ValueError: count is below 1, or seed below 0.

    Example:
        >>> from regopt import sweep
        >>> settings = sweep.latin_hypercube({"rate": sweep.uniform(0.0, 1.0)}, count=5)
        >>> sorted((settings.numbers["rate"] * 5).astype(int).tolist())  # one in each fifth of the range
        [0, 1, 2, 3, 4]

    References:
        McKay, M. D., Beckman, R. J., & Conover, W. J. (1979). A comparison of three methods for selecting values of
        input variables in the analysis of output from a computer code. Technometrics, 21(2), 239-245.
    """
    from scipy.stats import qmc

    return _design(space, count, seed, lambda dims: qmc.LatinHypercube(dims, rng=seed).random(count))


def from_columns(columns: Mapping[str, Sequence[object] | np.ndarray]) -> Settings:
    """Settings listed one by one; a column of numbers is traced, any other is static.

    Args:
        columns: columns of one length by name.

    Returns:
        The settings.

    Raises:
        ValueError: ``columns`` is no dict of lists, the columns differ in length or are empty, or ``Settings`` refuses
            a name or a value.

    Example:
        >>> from regopt import sweep
        >>> settings = sweep.from_columns({"rate": [0.1, 0.2], "activation": ["relu", "tanh"]})
        >>> settings.row(1), list(settings.static)
        ({'rate': 0.2, 'activation': 'tanh'}, ['activation'])
    """
    if not isinstance(columns, Mapping):
        raise ValueError(f"columns must be a dict from names to lists, got {brief(columns)}")
    space = {name: choice(column) for name, column in columns.items()}
    return _settings(space, [space[name].levels(None) for name in columns])


def _take(values: Column, indices: np.ndarray) -> Column:
    return values[indices] if isinstance(values, np.ndarray) else tuple(values[i] for i in indices)


def _design(space: Space, count: int, seed: int, draw: Callable[[int], np.ndarray]) -> Settings:
    """Points of the unit cube mapped to the drawn dimensions, crossed with the others."""
    check_space(space)
    check_whole("count", count, "[1, inf)")
    check_whole("seed", seed, "[0, inf)")
    crossed = {name: dimension for name, dimension in space.items() if dimension.crossed}
    drawn = [name for name in space if name not in crossed]
    cube = draw(len(drawn)) if drawn else np.zeros((1, 0))
    repeats = grid(crossed).numbers if crossed else {}
    times = len(next(iter(repeats.values()))) if crossed else 1
    points = np.repeat(np.arange(len(cube)), times)
    columns = []
    for name, dimension in space.items():
        if name in crossed:
            columns.append(np.tile(repeats[name], len(cube)))
        else:
            columns.append(_take(dimension.at(cube[:, drawn.index(name)]), points))
    named = resolved(space, dict(zip(space, columns, strict=True)))
    return _settings(space, list(named.values()))


def _settings(space: Space, columns: Sequence[Column]) -> Settings:
    named = dict(zip(space, columns, strict=True))
    return Settings(
        numbers={name: np.asarray(column) for name, column in named.items() if not space[name].static},
        static={name: tuple(column) for name, column in named.items() if space[name].static},
    )
