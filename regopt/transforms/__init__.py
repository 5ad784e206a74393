"""Gradient transformations: the parts that optimizers are composed of."""

from regopt.transforms.accumulated import (
    ScaleByAdadeltaState,
    ScaleByAdagradState,
    ScaleByRmspropState,
    scale_by_adadelta,
    scale_by_adagrad,
    scale_by_rmsprop,
)
from regopt.transforms.accumulation import AccumulateState, accumulate
from regopt.transforms.adaptive import (
    ScaleByAdamaxState,
    ScaleByAdamState,
    ScaleByAmsgradState,
    ScaleByNadamState,
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_nadam,
)
from regopt.transforms.averaging import AverageParamsState, LookaheadState, average_params, lookahead
from regopt.transforms.centralization import centralize
from regopt.transforms.clipping import clip, clip_by_global_norm, clip_by_layer_norm, clip_by_unit_norm
from regopt.transforms.evaluation import evaluation_params, final_params
from regopt.transforms.gradient_noise import AddGradientNoiseState, add_gradient_noise
from regopt.transforms.gradients import ScaleByLearningRateState, scale_by_learning_rate
from regopt.transforms.guard import GuardState, guard
from regopt.transforms.momentum import (
    EmaMomentumState,
    HeavyBallState,
    NesterovState,
    ema_momentum,
    heavy_ball,
    nesterov,
)
from regopt.transforms.plateau import ReduceOnPlateauState, reduce_on_plateau
from regopt.transforms.proximal import ConstraintState, ProximalState
from regopt.transforms.regularize import AddPenaltyGradientState, add_penalty_gradient, regularize
from regopt.transforms.sam import SamState, sam
from regopt.transforms.schedule_free import ScheduleFreeState, schedule_free_adamw, schedule_free_sgd
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
from regopt.transforms.signs import ScaleByLionState, scale_by_lion

__all__ = [
    "AccumulateState",
    "AddGradientNoiseState",
    "AddPenaltyGradientState",
    "AverageParamsState",
    "BFGSState",
    "ConstraintState",
    "EmaMomentumState",
    "GuardState",
    "HeavyBallState",
    "LevenbergMarquardtState",
    "LineSearchState",
    "LookaheadState",
    "NesterovState",
    "NewtonCGState",
    "NewtonState",
    "NonlinearCGState",
    "ProximalState",
    "ReduceOnPlateauState",
    "SamState",
    "ScaleByAdadeltaState",
    "ScaleByAdagradState",
    "ScaleByAdamState",
    "ScaleByAdamaxState",
    "ScaleByAmsgradState",
    "ScaleByLearningRateState",
    "ScaleByLionState",
    "ScaleByNadamState",
    "ScaleByRmspropState",
    "ScheduleFreeState",
    "accumulate",
    "add_gradient_noise",
    "add_penalty_gradient",
    "average_params",
    "bfgs",
    "centralize",
    "clip",
    "clip_by_global_norm",
    "clip_by_layer_norm",
    "clip_by_unit_norm",
    "diagonal_newton",
    "ema_momentum",
    "evaluation_params",
    "final_params",
    "gauss_newton",
    "guard",
    "heavy_ball",
    "lbfgs",
    "levenberg_marquardt",
    "lookahead",
    "nesterov",
    "newton",
    "newton_cg",
    "nonlinear_cg",
    "reduce_on_plateau",
    "regularize",
    "sam",
    "scale_by_adadelta",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_amsgrad",
    "scale_by_exact_linesearch",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_nadam",
    "scale_by_rmsprop",
    "schedule_free_adamw",
    "schedule_free_sgd",
]
