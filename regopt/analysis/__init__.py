"""The theory of regularisation as pure functions: exact identities, limits and decompositions of errors."""

from regopt.analysis import bias_variance, critical_points, quadratic
from regopt.analysis._averages import exponential_average
from regopt.analysis._backpropagation import Backpropagated, backpropagate, layer_jacobians
from regopt.analysis._chaos import lyapunov_exponents
from regopt.analysis._convexity import CounterExample, negative_curvature, nonconvex_function, nonconvex_set
from regopt.analysis._diagnosis import (
    ADVICE,
    BOTH,
    GOOD,
    OVERFITS,
    SUSPICIOUS,
    UNDERFITS,
    LearningCurve,
    advice,
    diagnose,
    fit_learning_curve,
    read_learning_curve,
)
from regopt.analysis._dropout import (
    dropout_error,
    ensemble_error,
    enumerate_masks,
    expected_dropout_error,
    geometric_ensemble,
    normalized_geometric_mean,
)
from regopt.analysis._dropout_penalties import dropout_least_squares, noising_penalty, quadratic_penalty
from regopt.analysis._equivalence import function_gap, nearest_strength
from regopt.analysis._propagation import (
    Propagation,
    gaussian_growth,
    measure_propagation,
    normal_mean,
    predict_propagation,
)

__all__ = [
    "ADVICE",
    "BOTH",
    "GOOD",
    "OVERFITS",
    "SUSPICIOUS",
    "UNDERFITS",
    "Backpropagated",
    "CounterExample",
    "LearningCurve",
    "Propagation",
    "advice",
    "backpropagate",
    "bias_variance",
    "critical_points",
    "diagnose",
    "dropout_error",
    "dropout_least_squares",
    "ensemble_error",
    "enumerate_masks",
    "expected_dropout_error",
    "exponential_average",
    "fit_learning_curve",
    "function_gap",
    "gaussian_growth",
    "geometric_ensemble",
    "layer_jacobians",
    "lyapunov_exponents",
    "measure_propagation",
    "nearest_strength",
    "negative_curvature",
    "noising_penalty",
    "nonconvex_function",
    "nonconvex_set",
    "normal_mean",
    "normalized_geometric_mean",
    "predict_propagation",
    "quadratic",
    "quadratic_penalty",
    "read_learning_curve",
]
