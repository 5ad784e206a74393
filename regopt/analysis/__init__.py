"""The theory of regularisation as pure functions: exact identities, limits and decompositions of errors."""

from regopt.analysis import bias_variance, critical_points, quadratic
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
    "LearningCurve",
    "Propagation",
    "advice",
    "bias_variance",
    "critical_points",
    "diagnose",
    "dropout_error",
    "dropout_least_squares",
    "ensemble_error",
    "enumerate_masks",
    "expected_dropout_error",
    "fit_learning_curve",
    "function_gap",
    "gaussian_growth",
    "geometric_ensemble",
    "measure_propagation",
    "nearest_strength",
    "noising_penalty",
    "normal_mean",
    "normalized_geometric_mean",
    "predict_propagation",
    "quadratic",
    "quadratic_penalty",
    "read_learning_curve",
]
