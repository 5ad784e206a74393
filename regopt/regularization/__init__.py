"""Put a penalty on any optimizer: in the gradient, decoupled, as a proximal step, or as a constraint.

Optimizers are known here by the protocols on their state (``regopt._core.protocols``), never by their names.
"""

from regopt.regularization._constraint import ConstraintState
from regopt.regularization._gradient import AddPenaltyGradientState, add_penalty_gradient
from regopt.regularization._proximal import ProximalState
from regopt.regularization._regularize import regularize

__all__ = ["AddPenaltyGradientState", "ConstraintState", "ProximalState", "add_penalty_gradient", "regularize"]
