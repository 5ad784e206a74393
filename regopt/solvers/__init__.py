"""Solvers: functions that return the minimiser of an objective, rather than the update of one step."""

from regopt.solvers._anderson import FixedPoint, anderson
from regopt.solvers._cross_validate import CrossValidation, cross_validate
from regopt.solvers._families import Family, gamma, gaussian, huber_loss, logistic, multinomial, poisson, squared_hinge
from regopt.solvers._implicit import custom_fixed_point, custom_root, implicit_root
from regopt.solvers._indicator import indicator
from regopt.solvers._lasso_path import LassoPath, lasso_path
from regopt.solvers._linear_model import LinearModel
from regopt.solvers._minimize import minimize
from regopt.solvers._mirror_descent import mirror_descent
from regopt.solvers._path import path, strength_grid
from regopt.solvers._screening import gap_safe
from regopt.solvers._solution import Solution

__all__ = [
    "CrossValidation",
    "Family",
    "FixedPoint",
    "LassoPath",
    "LinearModel",
    "Solution",
    "anderson",
    "cross_validate",
    "custom_fixed_point",
    "custom_root",
    "gamma",
    "gap_safe",
    "gaussian",
    "huber_loss",
    "implicit_root",
    "indicator",
    "lasso_path",
    "logistic",
    "minimize",
    "mirror_descent",
    "multinomial",
    "path",
    "poisson",
    "squared_hinge",
    "strength_grid",
]
