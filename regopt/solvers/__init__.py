"""Solvers that go to the end: minimisers of a whole objective, rather than updates of one step."""

from regopt.solvers._lasso_path import LassoPath, lasso_path

__all__ = ["LassoPath", "lasso_path"]
