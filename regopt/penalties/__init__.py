"""Penalties: value, proximal operator and mask on one object."""

from regopt._core.types import Penalty
from regopt._core.weights import weights_only
from regopt.penalties._activations import activity_l1, kl_sparsity
from regopt.penalties._algebra import scaled, total
from regopt.penalties._conventions import (
    CONVENTIONS,
    Convention,
    Library,
    decay_strength,
    elastic_net_numbers,
    l1_strength,
    l2_number,
    l2_strength,
)
from regopt.penalties._coupling import l2_sp, share, tie
from regopt.penalties._exclusive import exclusive_lasso
from regopt.penalties._explain import Explanation, explain
from regopt.penalties._grouped import group_lasso, l2_norm, sparse_group_lasso
from regopt.penalties._indicators import box, non_negative
from regopt.penalties._nonconvex import l0, log_sum, mcp, scad
from regopt.penalties._separable import elastic_net, huber, l1, l2
from regopt.penalties._sorted import sorted_l1
from regopt.penalties._spectral import nuclear, orthogonality, spectral_norm
from regopt.penalties._variation import total_variation

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Explanation",
    "Library",
    "Penalty",
    "activity_l1",
    "box",
    "decay_strength",
    "elastic_net",
    "elastic_net_numbers",
    "exclusive_lasso",
    "explain",
    "group_lasso",
    "huber",
    "kl_sparsity",
    "l0",
    "l1",
    "l1_strength",
    "l2",
    "l2_norm",
    "l2_number",
    "l2_sp",
    "l2_strength",
    "log_sum",
    "mcp",
    "non_negative",
    "nuclear",
    "orthogonality",
    "scad",
    "scaled",
    "share",
    "sorted_l1",
    "sparse_group_lasso",
    "spectral_norm",
    "tie",
    "total",
    "total_variation",
    "weights_only",
]
