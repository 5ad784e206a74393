"""Solvers: functions that return the minimiser of an objective, rather than the update of one step."""

from regopt.solvers._implicit import implicit_root
from regopt.solvers._lasso_path import LassoPath, lasso_path
from regopt.solvers._minimize import minimize
from regopt.solvers._solution import Solution

__all__ = ["LassoPath", "Solution", "implicit_root", "lasso_path", "minimize"]
