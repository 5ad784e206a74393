"""Dimensions of whole numbers: numbers of layers or of neighbours, batch sizes."""

from collections.abc import Callable

import numpy as np

from regopt._core.numerics import check_whole
from regopt.sweep.space._dimensions import Column, Dimension


def uniform_int(low: int, high: int, *, static: bool = False) -> Dimension:
    """Whole numbers from low to high, both included, all equally likely.

    A grid takes all of them; with ``points`` it takes as many evenly spaced numbers, rounded, each once.

    Args:
        low: the smallest number.
        high: the largest number, > low.
        static: whether the task gets a Python int, such as a width or a depth, with a program for each value; otherwise
            the number is traced.

    Returns:
        The dimension.

    Raises:
        ValueError: the ends are no whole numbers, or not low < high.

    Example:
        >>> from regopt import sweep
        >>> sweep.grid({"layers": sweep.uniform_int(1, 4)}).numbers["layers"].tolist()
        [1, 2, 3, 4]
        >>> sweep.grid({"width": sweep.uniform_int(8, 64, static=True)}, points=3).static["width"]
        (8, 36, 64)
    """
    _check_ends(low, high, "[-2147483648, inf)")

    def levels(points: int | None) -> np.ndarray:
        return np.arange(low, high + 1) if points is None else _rounded(np.linspace(low, high, _checked(points)))

    return _whole(lambda u: np.minimum(np.floor(low + u * (high - low + 1)), high), levels, static=static, log=False)


def log_uniform_int(low: int, high: int, *, static: bool = False) -> Dimension:
    """Whole numbers from low to high, both included, whose logarithm is about uniform.

    A draw is uniform in the logarithm between ``low - 1/2`` and ``high + 1/2``, and rounded. A grid spaces its points
    geometrically and rounds them, each number once.

    Args:
        low: the smallest number, >= 1.
        high: the largest number, > low.
        static: whether the task gets a Python int, such as a width or a depth, with a program for each value; otherwise
            the number is traced.

    Returns:
        The dimension.

    Raises:
        ValueError: the ends are no whole numbers, or not 1 <= low < high.

    Example:
        >>> from regopt import sweep
        >>> sweep.grid({"batch_size": sweep.log_uniform_int(8, 128)}, points=5).static["batch_size"]
        (8, 16, 32, 64, 128)

    References:
        Bergstra, J., & Bengio, Y. (2012). Random search for hyper-parameter optimization. Journal of Machine Learning
        Research, 13, 281-305. Section 2, which calls such numbers drawn geometrically.
    """
    _check_ends(low, high, "[1, inf)")

    def at(u: np.ndarray) -> np.ndarray:
        first, last = np.log(low - 0.5), np.log(high + 0.5)
        return np.clip(np.rint(np.exp(first + u * (last - first))), low, high)

    def levels(points: int | None) -> np.ndarray:
        if points is None:
            raise ValueError("a grid needs points for each logarithmic dimension: grid(space, points=8)")
        return _rounded(np.geomspace(low, high, _checked(points)))

    return _whole(at, levels, static=static, log=True)


def _check_ends(low: int, high: int, interval: str) -> None:
    check_whole("low", low, interval)
    check_whole("high", high, f"({low}, inf)")


def _checked(points: int) -> int:
    check_whole("points", points, "[1, inf)")
    return points


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.unique(np.rint(values)).astype(int)


def _whole(
    at: Callable[[np.ndarray], np.ndarray], levels: Callable[[int | None], np.ndarray], *, static: bool, log: bool
) -> Dimension:
    def column(values: np.ndarray) -> Column:
        values = values.astype(int)
        return tuple(values.tolist()) if static else values

    return Dimension(
        at=lambda u: column(at(u)),
        levels=lambda points: column(levels(points)),
        static=static,
        log=log,
        whole=True,
    )
