"""Penalties."""

from catalogue.row import Row
from regopt import penalties
from regopt.types import Penalty

STRENGTH = (0.3, 1.7)


def box_at_its_own_points(lower, upper) -> Penalty:
    """The box, its value taken at the projection, where it is finite."""
    penalty = penalties.box(lower, upper)
    return penalty._replace(value=lambda params: penalty.value(penalty.prox(params, 1.0)))


ROWS = [
    Row(penalties.l1, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.l2, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(
        penalties.elastic_net,
        "penalty",
        {"strength": STRENGTH, "l1_ratio": (0.3, 0.9)},
        {"strength": (0.0,), "l1_ratio": (0.0, 1.0)},
    ),
    Row(penalties.huber, "penalty", {"strength": STRENGTH, "delta": (0.4, 1.3)}, {"strength": (0.0,)}),
    # a gamma below the step of 0.5, where the prox jumps, too
    Row(penalties.mcp, "penalty", {"strength": STRENGTH, "gamma": (1.5, 3.0, 0.4)}, {"strength": (0.0,)}),
    Row(penalties.scad, "penalty", {"strength": STRENGTH, "gamma": (1.2, 3.7)}, {"strength": (0.0,), "gamma": (1.5,)}),
    Row(penalties.log_sum, "penalty", {"strength": STRENGTH, "eps": (0.2, 2.0)}, {"strength": (0.0,)}),
    Row(penalties.l0, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.box, "penalty", {"lower": (-0.3, 0.1), "upper": (0.4, 0.7)}, {}, build=box_at_its_own_points),
    Row(penalties.non_negative, "penalty", {}),
    Row(penalties.l2_norm, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.group_lasso, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(
        penalties.sparse_group_lasso,
        "penalty",
        {"strength": STRENGTH, "l1_ratio": (0.3, 0.9)},
        {"strength": (0.0,), "l1_ratio": (0.0, 1.0)},
    ),
    Row(penalties.exclusive, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
]
