"""Regularised optimization for JAX: compose, sweep, understand."""

__version__ = "0.1.0"

from regopt import (
    analysis,
    curvature,
    data,
    layers,
    losses,
    noise,
    numerics,
    penalties,
    schedules,
    solvers,
    stopping,
    sweep,
    training,
    transforms,
    tree,
)
from regopt.optimizers import (
    adadelta,
    adagrad,
    adam,
    adamax,
    adamw,
    amsgrad,
    ema_momentum,
    heavy_ball,
    lion,
    nadam,
    nesterov,
    rmsprop,
    rmsprop_nesterov,
    sgd,
)
from regopt.transforms.accumulation import accumulate
from regopt.transforms.averaging import average_params, lookahead
from regopt.transforms.evaluation import evaluation_params, final_params
from regopt.transforms.guard import guard
from regopt.transforms.regularize import regularize
from regopt.transforms.sam import sam
from regopt.transforms.schedule_free import schedule_free_adamw, schedule_free_sgd
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
    "accumulate",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsgrad",
    "analysis",
    "average_params",
    "bfgs",
    "curvature",
    "data",
    "diagonal_newton",
    "ema_momentum",
    "evaluation_params",
    "final_params",
    "gauss_newton",
    "guard",
    "heavy_ball",
    "layers",
    "lbfgs",
    "levenberg_marquardt",
    "lion",
    "lookahead",
    "losses",
    "nadam",
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
    "sam",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "schedules",
    "sgd",
    "solvers",
    "stopping",
    "sweep",
    "training",
    "transforms",
    "tree",
]
