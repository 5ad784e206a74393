"""Dimensions that apply only where other columns have certain values, such as a momentum for one of two optimizers."""

from collections.abc import Mapping

import numpy as np

from regopt._core.messages import brief
from regopt._core.numerics import check_number
from regopt.sweep.space._dimensions import Column, Dimension, Space


def conditional(dimension: Dimension, where: Mapping[str, object], otherwise: object) -> Dimension:
    """A dimension that is searched only in settings whose other columns have the values that ``where`` names.

    A grid has one setting for all the levels where the condition does not hold, and an Optuna study is not asked for
    the value there. The names in ``where`` must come before this one in the space.

    Args:
        dimension: the values where the condition holds.
        where: for each name the value that its column must have, or a list of such values.
        otherwise: the value of the column elsewhere: a number that the task can compute with, or for a static dimension
            any hashable object.

    Returns:
        The dimension.

    Raises:
        ValueError: ``dimension`` is no dimension or one of repeats, ``where`` is no dict or empty, or ``otherwise``
            does not fit the dimension.

    Example:
        >>> from regopt import sweep
        >>> space = {
        ...     "optimizer": sweep.static(["adam", "sgd"]),
        ...     "momentum": sweep.conditional(sweep.choice([0.5, 0.9]), {"optimizer": "sgd"}, otherwise=0.0),
        ... }
        >>> settings = sweep.grid(space)
        >>> [settings.row(at) for at in range(len(settings))][:2]
        [{'momentum': 0.0, 'optimizer': 'adam'}, {'momentum': 0.5, 'optimizer': 'sgd'}]
        >>> len(settings)
        3

    References:
        Bergstra, J., Bardenet, R., Bengio, Y., & Kegl, B. (2011). Algorithms for hyper-parameter optimization. NeurIPS.
        Section 2, for spaces with the structure of a tree.
    """
    if not isinstance(dimension, Dimension):
        raise ValueError(f"dimension must come from uniform, choice or the like, got {brief(dimension)}")
    if dimension.crossed:
        raise ValueError(
            "dimension must vary between settings, got seeds, replicas or folds, which repeat every setting"
        )
    if not isinstance(where, Mapping) or not where:
        raise ValueError(f"where must be a dict from the names of columns to values, got {brief(where)}")
    if dimension.static:
        try:
            hash(otherwise)
        except TypeError as error:
            raise ValueError(f"otherwise must be hashable, got {brief(otherwise)}") from error
    else:
        check_number("otherwise", otherwise, "(-inf, inf)")
    condition = {
        name: tuple(values) if isinstance(values, list | np.ndarray) else (values,) for name, values in where.items()
    }
    return dimension._replace(condition=condition, otherwise=otherwise)


def holds(dimension: Dimension, known: Mapping[str, object]) -> bool:
    """Whether the condition of a dimension holds for one setting, of which the columns before are known."""
    return all(known[name] in values for name, values in (dimension.condition or {}).items())


def resolved(space: Space, columns: Mapping[str, Column]) -> dict[str, Column]:
    """The columns of all settings, with ``otherwise`` where a condition does not hold."""
    found: dict[str, Column] = {}
    for name, column in columns.items():
        dimension = space[name]
        if dimension.condition is not None:
            rows = range(len(column))
            on = np.array(
                [holds(dimension, {other: found[other][row] for other in dimension.condition}) for row in rows]
            )
            if dimension.static:
                column = tuple(value if own else dimension.otherwise for value, own in zip(column, on, strict=True))
            else:
                column = np.where(on, np.asarray(column), np.asarray(dimension.otherwise))
        found[name] = column
    return found


def distinct(space: Space, columns: Mapping[str, Column]) -> np.ndarray:
    """The first row of each distinct setting; levels of a dimension whose condition does not hold repeat settings."""
    if not any(dimension.condition for dimension in space.values()):
        return np.arange(len(next(iter(columns.values()))))
    first: dict[tuple[object, ...], int] = {}
    for row, values in enumerate(zip(*columns.values(), strict=True)):
        first.setdefault(tuple((type(value), value) for value in values), row)
    return np.array(list(first.values()))
