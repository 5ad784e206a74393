"""How settings are drawn from a space: grids, random and low-discrepancy designs, or listed one by one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from regopt._core.messages import brief, suggestion
from regopt._core.numerics import check_whole
from regopt.sweep.space._dimensions import Settings, Space, check_space, choice


def grid(space: Space, points: int | Mapping[str, int] | None = None) -> Settings:
    """Every combination of the levels of each dimension, the last one varying fastest.

    Args:
        space: dimensions by name.
        points: levels of each continuous dimension, one number for all or by name; choices, static values,
            seeds and replicas have their own.

    Returns:
        The settings.

    Raises:
        ValueError: a continuous dimension has no number of points, or ``points`` names no dimension.
    """
    check_space(space)
    by_name = points if isinstance(points, Mapping) else dict.fromkeys(space, points)
    if unknown := set(by_name) - set(space):
        name = min(unknown, key=str)
        raise ValueError(f"points names {brief(name)}, which the space has not; {suggestion(str(name), space)}")
    levels = [dimension.levels(by_name.get(name)) for name, dimension in space.items()]
    indices = np.meshgrid(*(np.arange(len(level)) for level in levels), indexing="ij")
    return _settings(space, [_take(level, i.ravel()) for level, i in zip(levels, indices, strict=True)])


def random(space: Space, count: int, seed: int = 0) -> Settings:
    """``count`` independent settings, each crossed with the seeds and replicas.

    Args:
        space: dimensions by name.
        count: how many settings, >= 1.
        seed: of the draw, >= 0.

    Returns:
        The settings.

    Raises:
        ValueError: count is below 1, or seed below 0.
    """
    return _design(space, count, seed, lambda dims: np.random.default_rng(seed).random((count, dims)))


def sobol(space: Space, count: int, seed: int = 0) -> Settings:
    """``count`` settings of a scrambled Sobol sequence, each crossed with the seeds and replicas.

    Balanced best where count is a power of two.

    Args:
        space: dimensions by name.
        count: how many settings, >= 1.
        seed: of the scrambling, >= 0.

    Returns:
        The settings.

    Raises:
        ValueError: count is below 1, or seed below 0.

    References: Sobol (1967); Owen (1998), as in ``scipy.stats.qmc.Sobol``.
    """
    from scipy.stats import qmc

    def draw(dims):
        power = max(count - 1, 0).bit_length()
        return qmc.Sobol(dims, rng=seed).random_base2(power)[:count]

    return _design(space, count, seed, draw)


def latin_hypercube(space: Space, count: int, seed: int = 0) -> Settings:
    """``count`` settings, one in each of ``count`` slices of every dimension, each crossed with the seeds and replicas.

    Args:
        space: dimensions by name.
        count: how many settings, >= 1.
        seed: of the draw, >= 0.

    Returns:
        The settings.

    Raises:
        ValueError: count is below 1, or seed below 0.

    References: McKay, Beckman & Conover (1979), as in ``scipy.stats.qmc.LatinHypercube``.
    """
    from scipy.stats import qmc

    return _design(space, count, seed, lambda dims: qmc.LatinHypercube(dims, rng=seed).random(count))


def from_columns(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> Settings:
    """Settings listed one by one; a column of numbers is traced, any other is static.

    Args:
        columns: equally long columns by name.

    Returns:
        The settings.

    Raises:
        ValueError: the columns differ in length or are empty.
    """
    if not isinstance(columns, Mapping):
        raise ValueError(f"columns must be a dict from names to lists, got {brief(columns)}")
    space = {name: choice(column) for name, column in columns.items()}
    return _settings(space, [space[name].levels(None) for name in columns])


def _take(values: Any, indices: np.ndarray) -> Any:
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
    return _settings(space, columns)


def _settings(space: Space, columns: Sequence[Any]) -> Settings:
    named = dict(zip(space, columns, strict=True))
    return Settings(
        numbers={name: np.asarray(column) for name, column in named.items() if not space[name].static},
        static={name: tuple(column) for name, column in named.items() if space[name].static},
    )
