"""Full-batch second-order methods: pure transformations whose update takes the objective as ``value_fn``."""

from regopt.transforms.second_order.conjugate_gradients import NonlinearCGState, nonlinear_cg
from regopt.transforms.second_order.least_squares import LevenbergMarquardtState, gauss_newton, levenberg_marquardt
from regopt.transforms.second_order.linesearch import LineSearchState, scale_by_exact_linesearch
from regopt.transforms.second_order.newton import NewtonState, diagonal_newton, newton
from regopt.transforms.second_order.quasi_newton import BFGSState, bfgs, lbfgs
from regopt.transforms.second_order.truncated import NewtonCGState, newton_cg

__all__ = [
    "BFGSState",
    "LevenbergMarquardtState",
    "LineSearchState",
    "NewtonCGState",
    "NewtonState",
    "NonlinearCGState",
    "bfgs",
    "diagonal_newton",
    "gauss_newton",
    "lbfgs",
    "levenberg_marquardt",
    "newton",
    "newton_cg",
    "nonlinear_cg",
    "scale_by_exact_linesearch",
]
