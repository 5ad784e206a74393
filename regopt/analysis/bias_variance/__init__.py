"""Where a model's error comes from: bias, variance and noise.

From the predictions of many replicas, the same learner trained on training sets drawn anew or with new seeds, which
come in with the replicas on the first axis; and in closed form for linear models and nearest neighbours.
"""

from regopt.analysis.bias_variance._classification import (
    ZeroOne,
    decompose_cross_entropy,
    decompose_kohavi_wolpert,
    decompose_zero_one,
)
from regopt.analysis.bias_variance._double_descent import (
    conditional_error,
    min_norm_error,
    min_norm_error_exact,
    optimal_ridge_error,
    ridge_error_limit,
    stieltjes,
)
from regopt.analysis.bias_variance._linear import (
    least_squares_optimism,
    least_squares_variance,
    nearest_neighbours_error,
    ridge_error,
)
from regopt.analysis.bias_variance._parts import Decomposition, Parts
from regopt.analysis.bias_variance._squared_error import VarianceComponents, decompose, variance_components

__all__ = [
    "Decomposition",
    "Parts",
    "VarianceComponents",
    "ZeroOne",
    "conditional_error",
    "decompose",
    "decompose_cross_entropy",
    "decompose_kohavi_wolpert",
    "decompose_zero_one",
    "least_squares_optimism",
    "least_squares_variance",
    "min_norm_error",
    "min_norm_error_exact",
    "nearest_neighbours_error",
    "optimal_ridge_error",
    "ridge_error",
    "ridge_error_limit",
    "stieltjes",
    "variance_components",
]
