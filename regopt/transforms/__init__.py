"""Gradient transformations: the parts that optimizers are composed of."""

from regopt.transforms.adaptive import ScaleByAdamState, scale_by_adam
from regopt.transforms.evaluation import evaluation_params
from regopt.transforms.gradients import ScaleByLearningRateState, scale_by_learning_rate
from regopt.transforms.momentum import HeavyBallState, heavy_ball
from regopt.transforms.regularize import AddPenaltyGradientState, add_penalty_gradient, regularize

__all__ = [
    "AddPenaltyGradientState",
    "HeavyBallState",
    "ScaleByAdamState",
    "ScaleByLearningRateState",
    "add_penalty_gradient",
    "evaluation_params",
    "heavy_ball",
    "regularize",
    "scale_by_adam",
    "scale_by_learning_rate",
]
