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
from regopt.transforms.regularize import AddPenaltyGradientState, add_penalty_gradient, regularize

__all__ = [
    "AddPenaltyGradientState",
    "EmaMomentumState",
    "HeavyBallState",
    "NesterovState",
    "ScaleByAdadeltaState",
    "ScaleByAdagradState",
    "ScaleByAdamState",
    "ScaleByLearningRateState",
    "ScaleByRmspropState",
    "add_penalty_gradient",
    "clip",
    "clip_by_global_norm",
    "clip_by_layer_norm",
    "clip_by_unit_norm",
    "ema_momentum",
    "evaluation_params",
    "heavy_ball",
    "nesterov",
    "regularize",
    "scale_by_adadelta",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_learning_rate",
    "scale_by_rmsprop",
]
