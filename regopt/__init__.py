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
from regopt.transforms.second_order import (
    bfgs,
    diagonal_newton,
    gauss_newton,
    lbfgs,
    levenberg_marquardt,
    newton,
    newton_cg,
    nonlinear_cg,
)

__all__ = [
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "bfgs",
    "data",
    "diagonal_newton",
    "ema_momentum",
    "evaluation_params",
    "gauss_newton",
    "heavy_ball",
    "layers",
    "lbfgs",
    "levenberg_marquardt",
    "losses",
    "nesterov",
    "newton",
    "newton_cg",
    "noise",
    "nonlinear_cg",
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
