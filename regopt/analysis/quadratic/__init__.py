"""Regularisation of a quadratic objective, exactly: L2, L1, early stopping, and how they correspond.

The objective is ``J(w) = (w - w*)' H (w - w*) / 2``, with H symmetric and positive semidefinite (a convex loss has
no more than that: with fewer examples than parameters some eigenvalues are 0). Along the eigenvectors of H
everything is a *shrinkage* in [0, 1], the fraction of ``w*`` (or of the way from a starting point to it) that is
reached: ``l / (l + strength)`` for L2 and ``1 - (1 - learning_rate l)**steps`` for gradient descent.

Every number may be traced. ``hessian`` is a matrix ``[n, n]``, or the pair that ``jnp.linalg.eigh`` returns:
eigenvalues ``[n]`` and eigenvectors ``[n, n]`` in its columns. Derivatives through a matrix's own
eigendecomposition need distinct eigenvalues; give the pair where they are not.
"""

from regopt.analysis.quadratic._ridge import ridge_alpha, ridge_solution
from regopt.analysis.quadratic._shrinkage import (
    early_stopping_shrinkage,
    effective_parameters,
    equivalent_steps,
    equivalent_strength,
    gradient_flow_shrinkage,
    l2_shrinkage,
    shrinkage_risk,
)
from regopt.analysis.quadratic._solutions import (
    eigendecomposition,
    gradient_descent_path,
    gradient_flow_path,
    l1_solution,
    l2_solution,
    penalty_radius,
)

__all__ = [
    "early_stopping_shrinkage",
    "effective_parameters",
    "eigendecomposition",
    "equivalent_steps",
    "equivalent_strength",
    "gradient_descent_path",
    "gradient_flow_path",
    "gradient_flow_shrinkage",
    "l1_solution",
    "l2_shrinkage",
    "l2_solution",
    "penalty_radius",
    "ridge_alpha",
    "ridge_solution",
    "shrinkage_risk",
]
