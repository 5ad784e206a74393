"""Projections onto sets, for ``regularize(..., how="constraint")`` and for direct use.

The functions of ``optax.projections`` have their names there, and refuse numbers that describe no set. Those defined
here take trees, and every number may be traced.
"""

from regopt.projections._balls import (
    projection_group_balls,
    projection_l1_ball,
    projection_l2_ball,
    projection_l12_ball,
    projection_max_norm,
)
from regopt.projections._from_optax import (
    projection_halfspace,
    projection_hypercube,
    projection_hyperplane,
    projection_l1_sphere,
    projection_l2_sphere,
    projection_linf_ball,
    projection_non_negative,
    projection_simplex,
    projection_vector,
)
from regopt.projections._ordered import projection_box_section, projection_isotonic, projection_sparse_simplex
from regopt.projections._polyhedron import projection_polyhedron
from regopt.projections._sets import projection_affine, projection_box, projection_intersection
from regopt.projections._spectral import projection_nuclear_ball, projection_spectral_ball
from regopt.projections._transport import (
    kl_projection_birkhoff,
    kl_projection_transport,
    projection_birkhoff,
    projection_transport,
)

__all__ = [
    "kl_projection_birkhoff",
    "kl_projection_transport",
    "projection_affine",
    "projection_birkhoff",
    "projection_box",
    "projection_box_section",
    "projection_group_balls",
    "projection_halfspace",
    "projection_hypercube",
    "projection_hyperplane",
    "projection_intersection",
    "projection_isotonic",
    "projection_l1_ball",
    "projection_l1_sphere",
    "projection_l2_ball",
    "projection_l2_sphere",
    "projection_l12_ball",
    "projection_linf_ball",
    "projection_max_norm",
    "projection_non_negative",
    "projection_nuclear_ball",
    "projection_polyhedron",
    "projection_simplex",
    "projection_sparse_simplex",
    "projection_spectral_ball",
    "projection_transport",
    "projection_vector",
]
