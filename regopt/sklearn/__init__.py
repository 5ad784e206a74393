"""Estimators for scikit-learn: regularised linear models with a certificate, alone and cross-validated.

scikit-learn must be installed; matplotlib is needed for ``plot_path`` and ``plot_cv`` alone.
"""

from regopt.sklearn._classification import (
    LogisticRegression,
    LogisticRegressionCV,
    MultinomialRegression,
    MultinomialRegressionCV,
)
from regopt.sklearn._counts import PoissonRegression, PoissonRegressionCV
from regopt.sklearn._grouped import GroupLasso, GroupLassoCV, SparseGroupLasso, SparseGroupLassoCV
from regopt.sklearn._nonconvex import MCPRegression, MCPRegressionCV, SCADRegression, SCADRegressionCV
from regopt.sklearn._plots import plot_cv, plot_path
from regopt.sklearn._separable import ElasticNet, ElasticNetCV, Lasso, LassoCV

__all__ = [
    "ElasticNet",
    "ElasticNetCV",
    "GroupLasso",
    "GroupLassoCV",
    "Lasso",
    "LassoCV",
    "LogisticRegression",
    "LogisticRegressionCV",
    "MCPRegression",
    "MCPRegressionCV",
    "MultinomialRegression",
    "MultinomialRegressionCV",
    "PoissonRegression",
    "PoissonRegressionCV",
    "SCADRegression",
    "SCADRegressionCV",
    "SparseGroupLasso",
    "SparseGroupLassoCV",
    "plot_cv",
    "plot_path",
]
