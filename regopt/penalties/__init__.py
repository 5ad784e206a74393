"""Penalties: value, proximal operator and mask on one object."""

from regopt.penalties.separable import l1, l2
from regopt.tree import weights_only

__all__ = ["l1", "l2", "weights_only"]
