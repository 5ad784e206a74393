"""Gradient transformations: the parts that optimizers are composed of."""

from regopt.transforms.accumulated import (
    ScaleByAdadeltaState,
    ScaleByAdagradState,
    ScaleByRmspropState,
    scale_by_adadelta,
    scale_by_adagrad,
    scale_by_rmsprop,
)
from regopt.transforms.adaptive import ScaleByAdamState, scale_by_adam
from regopt.transforms.clipping import clip, clip_by_global_norm, clip_by_layer_norm, clip_by_unit_norm
from regopt.transforms.evaluation import evaluation_params
from regopt.transforms.gradients import ScaleByLearningRateState, scale_by_learning_rate
from regopt.transforms.momentum import (
    EmaMomentumState,
    HeavyBallState,
    NesterovState,
    ema_momentum,
    heavy_ball,
    nesterov,
)
from regopt.transforms.plateau import ReduceOnPlateauState, reduce_on_plateau
from regopt.transforms.regularize import AddPenaltyGradientState, add_penalty_gradient, regularize
from regopt.transforms.second_order import (
    BFGSState,
    LevenbergMarquardtState,
    LineSearchState,
    NewtonCGState,
    NewtonState,
    NonlinearCGState,
    bfgs,
    diagonal_newton,
    gauss_newton,
    lbfgs,
    levenberg_marquardt,
    newton,
    newton_cg,
    nonlinear_cg,
    scale_by_exact_linesearch,
)

__all__ = [
    "AddPenaltyGradientState",
    "BFGSState",
    "EmaMomentumState",
    "HeavyBallState",
    "LevenbergMarquardtState",
    "LineSearchState",
    "NesterovState",
    "NewtonCGState",
    "NewtonState",
    "NonlinearCGState",
    "ReduceOnPlateauState",
    "ScaleByAdadeltaState",
    "ScaleByAdagradState",
    "ScaleByAdamState",
    "ScaleByLearningRateState",
    "ScaleByRmspropState",
    "add_penalty_gradient",
    "bfgs",
    "clip",
    "clip_by_global_norm",
    "clip_by_layer_norm",
    "clip_by_unit_norm",
    "diagonal_newton",
    "ema_momentum",
    "evaluation_params",
    "gauss_newton",
    "heavy_ball",
    "lbfgs",
    "levenberg_marquardt",
    "nesterov",
    "newton",
    "newton_cg",
    "nonlinear_cg",
    "reduce_on_plateau",
    "regularize",
    "scale_by_adadelta",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_exact_linesearch",
    "scale_by_learning_rate",
    "scale_by_rmsprop",
]
