"""Put a penalty on any optimizer: in the gradient, decoupled, as a proximal step, or as a constraint.

What an optimizer can do is read from the program of its update, and from the protocols on its state
(``regopt._core.protocols``).
"""

from regopt.regularization._constraint import ConstraintState
from regopt.regularization._gradient import AddPenaltyGradientState, add_penalty_gradient
from regopt.regularization._metric import Metric, metric_of
from regopt.regularization._proximal import ProximalState
from regopt.regularization._regularize import regularize

__all__ = [
    "AddPenaltyGradientState",
    "ConstraintState",
    "Metric",
    "ProximalState",
    "add_penalty_gradient",
    "metric_of",
    "regularize",
]
