"""Optimizers of first and second order: each file holds one family, with ``scale_by_*`` beside the named optimizer.

Every optimizer is an ``optax.GradientTransformationExtraArgs``. The second-order methods are for full batches: their
``update`` takes the objective as ``value_fn``.
"""

from regopt.optimizers._adadelta import ScaleByAdadeltaState, adadelta, scale_by_adadelta
from regopt.optimizers._adagrad import ScaleByAdagradState, adagrad, scale_by_adagrad
from regopt.optimizers._adam import ScaleByAdamState, adam, adamw, scale_by_adam
from regopt.optimizers._adamax import ScaleByAdamaxState, adamax, scale_by_adamax
from regopt.optimizers._amsgrad import ScaleByAmsgradState, amsgrad, scale_by_amsgrad
from regopt.optimizers._conjugate_gradients import NonlinearCGState, nonlinear_cg
from regopt.optimizers._least_squares import LevenbergMarquardtState, gauss_newton, levenberg_marquardt
from regopt.optimizers._linesearch import LineSearchState, scale_by_exact_linesearch
from regopt.optimizers._lion import ScaleByLionState, lion, scale_by_lion
from regopt.optimizers._momentum import (
    EmaMomentumState,
    ExplicitNesterovState,
    HeavyBallState,
    NesterovState,
    ema_momentum,
    heavy_ball,
    nesterov,
)
from regopt.optimizers._nadam import ScaleByNadamState, nadam, scale_by_nadam
from regopt.optimizers._newton import NewtonState, diagonal_newton, newton
from regopt.optimizers._quasi_newton import BFGSState, bfgs, lbfgs
from regopt.optimizers._rmsprop import ScaleByRmspropState, rmsprop, rmsprop_nesterov, scale_by_rmsprop
from regopt.optimizers._schedule_free import ScheduleFreeState, schedule_free_adamw, schedule_free_sgd
from regopt.optimizers._sgd import ScaleByLearningRateState, scale_by_learning_rate, sgd
from regopt.optimizers._truncated_newton import NewtonCGState, newton_cg

__all__ = [
    "BFGSState",
    "EmaMomentumState",
    "ExplicitNesterovState",
    "HeavyBallState",
    "LevenbergMarquardtState",
    "LineSearchState",
    "NesterovState",
    "NewtonCGState",
    "NewtonState",
    "NonlinearCGState",
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
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsgrad",
    "bfgs",
    "diagonal_newton",
    "ema_momentum",
    "gauss_newton",
    "heavy_ball",
    "lbfgs",
    "levenberg_marquardt",
    "lion",
    "nadam",
    "nesterov",
    "newton",
    "newton_cg",
    "nonlinear_cg",
    "rmsprop",
    "rmsprop_nesterov",
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
    "sgd",
]
