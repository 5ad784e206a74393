"""The catalogue of this package's factories, a file for each family.

A new factory is a row in the file of its family. This package is not imported by ``import regopt``.
"""

import math

from regopt.testing._catalogue import (
    _augment,
    _initializers,
    _noise,
    _optimizers,
    _penalties,
    _projections,
    _schedules,
    _second_order,
    _stopping,
    _transforms,
    _wrappers,
)
from regopt.testing._row import Row

__all__ = ["CATALOGUE"]

NAN = math.nan
REFUSED = {  # what lies outside the range of an argument of this name, wherever it stands
    **dict.fromkeys(("learning_rate", "eps", "eps_root", "weight_decay", "initial_accumulator"), (NAN, -1.0)),
    **dict.fromkeys(("b1", "b2", "momentum", "decay", "rate", "probability", "l1_ratio"), (NAN, -1.0, 2.0)),
    **dict.fromkeys(("strength", "radius", "max_norm", "max_delta", "rho", "gain", "patience"), (NAN, -1.0)),
    **dict.fromkeys(("regularization", "damping", "deviation", "smoothing", "transition_steps"), (NAN, -1.0)),
}
_ROWS = [
    *_optimizers.ROWS,
    *_second_order.ROWS,
    *_wrappers.ROWS,
    *_transforms.ROWS,
    *_optimizers.DIRECTIONS,
    *_penalties.ROWS,
    *_projections.ROWS,
    *_schedules.ROWS,
    *_noise.ROWS,
    *_augment.ROWS,
    *_initializers.ROWS,
    *_stopping.ROWS,
]


def _with_refused(row: Row) -> Row:
    """The row with the refused values that go with the names of its numbers, its own first."""
    usual = {name: REFUSED[name] for name in row.numbers if name in REFUSED}
    return row._replace(refused={**usual, **row.refused})


CATALOGUE: tuple[Row, ...] = tuple(map(_with_refused, _ROWS))
