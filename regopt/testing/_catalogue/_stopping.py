"""Stopping rules."""

from regopt import training
from regopt.testing._row import Row

ROWS = [
    Row(
        training.early_stopping,
        "stopping",
        {"patience": (2.0, 3.0), "every": (10.0, 4.0)},
        {"patience": (0.0,)},
    ),
]
