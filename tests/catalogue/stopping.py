"""Stopping rules."""

from catalogue.row import Row
from regopt import stopping

ROWS = [
    Row(
        stopping.early_stopping,
        "stopping",
        {"patience": (2.0, 3.0), "every": (10.0, 4.0)},
        {"patience": (0.0,)},
    ),
]
