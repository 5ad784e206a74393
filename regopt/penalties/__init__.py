"""Penalties: value, proximal operator and mask on one object."""

from regopt.penalties.indicators import box, non_negative
from regopt.penalties.nonconvex import l0, log_sum, mcp, scad
from regopt.penalties.separable import elastic_net, huber, l1, l2
from regopt.tree import weights_only

__all__ = ["box", "elastic_net", "huber", "l0", "l1", "l2", "log_sum", "mcp", "non_negative", "scad", "weights_only"]
