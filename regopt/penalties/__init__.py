"""Penalties: value, proximal operator and mask on one object."""

from regopt.penalties.grouped import exclusive, group_lasso, l2_norm, sparse_group_lasso
from regopt.penalties.indicators import box, non_negative
from regopt.penalties.nonconvex import l0, log_sum, mcp, scad
from regopt.penalties.separable import elastic_net, huber, l1, l2
from regopt.tree import weights_only

__all__ = [
    "box",
    "elastic_net",
    "exclusive",
    "group_lasso",
    "huber",
    "l0",
    "l1",
    "l2",
    "l2_norm",
    "log_sum",
    "mcp",
    "non_negative",
    "scad",
    "sparse_group_lasso",
    "weights_only",
]
