"""The dimensions of a space: numbers, choices and static values.

A space is a dict from names to dimensions. Numbers become arrays with one entry for each setting and are traced. Static
values (a width, the name of an optimizer) divide the settings into groups, each with a program of its own. The designs
that draw settings from a space are in ``_designs.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from regopt._core.messages import brief, suggestion
from regopt._core.numerics import check_number, check_whole
from regopt.report import REPEATED

Column = np.ndarray | tuple[object, ...]  # numbers, or static values


class Dimension(NamedTuple):
    """One axis of a space.

    ``at(u)`` maps u in [0, 1), shape [n], to n values. ``levels(points)`` gives the values of a grid. The values of a
    ``static`` dimension stay Python objects; a ``crossed`` one (seeds, replicas) is combined with every setting of a
    design; a ``listed`` one has no values between those that were given; one with ``log`` is uniform in its logarithm;
    one of ``whole`` numbers has both ends among its values. A dimension with a ``condition`` has its values only in the
    settings whose other columns have one of the values listed there, and the value ``otherwise`` in all others.
    """

    at: Callable[[np.ndarray], Column]
    levels: Callable[[int | None], Column]
    static: bool = False
    crossed: bool = False
    listed: bool = False
    log: bool = False
    whole: bool = False
    condition: Mapping[str, tuple[object, ...]] | None = None
    otherwise: object = None


Space = Mapping[str, Dimension]


def log_uniform(low: float, high: float) -> Dimension:
    """Numbers whose logarithm is uniform on [low, high); a grid spaces them geometrically, both ends included.

    Args:
        low: the low end, > 0.
        high: the high end, > low and finite.

    Returns:
        The dimension.

    Raises:
        ValueError: the ends are not 0 < low < high, or not finite.

    Example:
        >>> from regopt import sweep
        >>> sweep.grid({"rate": sweep.log_uniform(0.01, 100.0)}, points=3).numbers["rate"].tolist()
        [0.01, 1.0, 100.0]

    References:
        Bergstra, J., & Bengio, Y. (2012). Random search for hyper-parameter optimization. Journal of Machine Learning
        Research, 13, 281-305. Section 2, which calls such numbers drawn geometrically.
    """
    check_number("low", low, "(0, inf)")
    check_number("high", high, f"({low}, inf)")
    return Dimension(
        at=lambda u: np.exp(np.log(low) + u * np.log(high / low)),
        levels=lambda points: np.geomspace(low, high, _points(points)),
        log=True,
    )


def uniform(low: float, high: float) -> Dimension:
    """Numbers uniform on [low, high); a grid spaces them evenly, both ends included.

    Args:
        low: the low end, finite.
        high: the high end, > low and finite.

    Returns:
        The dimension.

    Raises:
        ValueError: the ends are not low < high, or not finite.

    Example:
        >>> from regopt import sweep
        >>> sweep.grid({"rate": sweep.uniform(0.0, 0.5)}, points=3).numbers["rate"].tolist()
        [0.0, 0.25, 0.5]
    """
    check_number("low", low, "(-inf, inf)")
    check_number("high", high, f"({low}, inf)")
    return Dimension(
        at=lambda u: low + u * (high - low),
        levels=lambda points: np.linspace(low, high, _points(points)),
    )


def choice(values: Sequence[object] | np.ndarray) -> Dimension:
    """One of the values, all equally likely; a grid takes each of them.

    Numbers are traced, so any of them runs in the same program; anything else (strings, bools, functions) is static.

    Args:
        values: what to choose from, at least one.

    Returns:
        The dimension.

    Raises:
        ValueError: there are no values, they are no list, or one does not fit: a whole number must lie in [-2**31,
            2**31), and a static value must be hashable.

    Example:
        >>> from regopt import sweep
        >>> sweep.choice([0.1, 0.3]).static, sweep.choice(["relu", "tanh"]).static
        (False, True)
    """
    _check_list(values)
    is_array = hasattr(values, "dtype")  # NumPy's or JAX's
    if not is_array and any(isinstance(v, bool) or not isinstance(v, int | float | np.number) for v in values):
        return static(values)
    column = np.asarray(values)
    if not is_array and column.dtype.kind == "O":
        raise ValueError(f"whole numbers must lie in [-2**31, 2**31), got {brief(max(column.tolist(), key=abs))}")
    if column.dtype.kind not in "iuf":
        return static(column.tolist())
    return listed(column, lambda indices: column[indices], static=False)


def static(values: Sequence[object] | np.ndarray) -> Dimension:
    """One of the values, given to the task as the Python object it is; each combination of static values is compiled.

    Args:
        values: hashable objects, at least one: widths, names, functions.

    Returns:
        The dimension.

    Raises:
        ValueError: there are no values, they are no list, or one is not hashable.

    Example:
        >>> from regopt import sweep
        >>> settings = sweep.grid({"width": sweep.static([8, 16]), "rate": sweep.choice([0.1, 0.3])})
        >>> [(static, rows.tolist()) for static, rows in settings.groups()]  # two programs for four settings
        [({'width': 8}, [0, 1]), ({'width': 16}, [2, 3])]
    """
    _check_list(values)
    for value in values:
        try:
            hash(value)
        except TypeError as error:
            raise ValueError(f"static values must be hashable, got {brief(value)}") from error
    return listed(values, lambda indices: tuple(values[i] for i in indices), static=True)


def check_space(space: object) -> None:
    """Check that a space maps names to dimensions."""
    if not isinstance(space, Mapping):
        raise ValueError(f"space must be a dict from names to dimensions, got {brief(space)}")
    for name, dimension in space.items():
        if not isinstance(dimension, Dimension):
            raise ValueError(
                f"the dimension {name} must come from uniform, choice or the like, got {brief(dimension)}; "
                "values to choose from are choice([...]), also a single one"
            )
        if dimension.crossed and name not in REPEATED:
            raise ValueError(f"seeds, replicas and folds must have the column seed, replica or fold, got {brief(name)}")
    before: dict[str, Dimension] = {}
    for name, dimension in space.items():
        for other, values in (dimension.condition or {}).items():
            _check_condition(name, other, values, before)
        before[name] = dimension


def _check_condition(name: str, other: str, values: tuple[object, ...], before: Space) -> None:
    """Check that a condition names a dimension before its own, and values that this one can have."""
    if other not in before:
        nearest = f"; {suggestion(str(other), before)}" if before else ""
        raise ValueError(
            f"the dimension {name} depends on {brief(other)}, which must come before it in the space{nearest}"
        )
    dimension = before[other]
    if not dimension.listed:
        return
    possible = [*dimension.levels(None), *([] if dimension.condition is None else [dimension.otherwise])]
    for value in values:
        if value not in possible:
            plain = [each.item() if isinstance(each, np.generic) else each for each in possible]
            raise ValueError(
                f"the dimension {name} depends on {other} = {brief(value)}, which is none of its values: {brief(plain)}"
            )


def _check_list(values: object) -> None:
    """Check that the values are a list, a tuple or the like, or an array ``[n]``."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    if not is_list and getattr(values, "ndim", None) != 1:
        raise ValueError(f"values must be a list or a one-dimensional array, got {brief(values)}")


def _points(points: int | None) -> int:
    if points is None:
        raise ValueError("a grid needs points for each continuous dimension: grid(space, points=8)")
    check_whole("points", points, "[1, inf)")
    return points


def listed(values: Sequence[object] | np.ndarray, take: Callable[[np.ndarray], Column], *, static: bool) -> Dimension:
    """The dimension of listed values, all equally likely; ``take`` maps an array of indices to the values."""
    if len(values) == 0:
        raise ValueError("a dimension needs at least one value, got none")
    count = len(values)
    return Dimension(
        at=lambda u: take(np.minimum((u * count).astype(int), count - 1)),
        levels=lambda _: take(np.arange(count)),
        static=static,
        listed=True,
    )
