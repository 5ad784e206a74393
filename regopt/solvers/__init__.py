"""Solvers: functions that return the minimiser of an objective, rather than the update of one step."""

from regopt.solvers._lasso_path import LassoPath, lasso_path

__all__ = ["LassoPath", "lasso_path"]
