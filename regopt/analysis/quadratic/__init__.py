"""Exact regularisation of a quadratic objective: L2, L1, early stopping, and their correspondence.

The objective is ``J(w) = (w - w*)' H (w - w*) / 2`` with a symmetric and positive semidefinite H. Some eigenvalues are
0 if there are fewer examples than parameters. Along each eigenvector of H the result is a *shrinkage* in [0, 1], the
fraction of ``w*`` (or of the way from a starting point to ``w*``) that is reached. It is ``l / (l + strength)`` for L2
and ``1 - (1 - learning_rate l)**steps`` for gradient descent.

Every number may be traced. ``hessian`` is a matrix ``[n, n]`` or the pair that ``jnp.linalg.eigh`` returns: eigenvalues
``[n]`` and eigenvectors ``[n, n]`` in columns. Derivatives through the eigendecomposition of a matrix need distinct
eigenvalues; otherwise the pair should be passed.
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
