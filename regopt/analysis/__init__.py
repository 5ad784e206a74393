"""What the textbook proves about regularisation, as pure functions: exact where it is exact."""

from regopt.analysis import bias_variance, quadratic
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
    dropout_least_squares,
    ensemble_error,
    enumerate_masks,
    expected_dropout_error,
    geometric_ensemble,
    noising_penalty,
    normalized_geometric_mean,
    quadratic_penalty,
)
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
