"""Regularised optimization for JAX: compose, sweep, understand."""

__version__ = "0.1.0"

from regopt import (
    data,
    layers,
    losses,
    noise,
    numerics,
    penalties,
    schedules,
    stopping,
    sweep,
    transforms,
    tree,
)
from regopt.optimizers import (
    adadelta,
    adagrad,
    adam,
    adamw,
    ema_momentum,
    heavy_ball,
    nesterov,
    rmsprop,
    rmsprop_nesterov,
    sgd,
)
from regopt.transforms.evaluation import evaluation_params
from regopt.transforms.regularize import regularize

__all__ = [
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "data",
    "ema_momentum",
    "evaluation_params",
    "heavy_ball",
    "layers",
    "losses",
    "nesterov",
    "noise",
    "numerics",
    "penalties",
    "regularize",
    "rmsprop",
    "rmsprop_nesterov",
    "schedules",
    "sgd",
    "stopping",
    "sweep",
    "transforms",
    "tree",
]
