"""Decompositions of the error of a model into bias, variance and noise.

They are estimated from the predictions of many replicas of a learner, trained on newly drawn training sets or with new
seeds, with the replicas along the first axis. For linear models and nearest neighbours there are closed forms.
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
