"""Penalties."""

from catalogue.row import Row
from regopt import penalties

ROWS = [
    Row(penalties.l1, "penalty", {"strength": (0.3, 1.7)}, {"strength": (0.0,)}),
    Row(penalties.l2, "penalty", {"strength": (0.3, 1.7)}, {"strength": (0.0,)}),
]
