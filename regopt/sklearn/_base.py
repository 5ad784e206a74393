"""The common part of all estimators: checks of the data, the grid of strengths, and the fit alone or along a path."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv
from sklearn.utils.validation import _check_sample_weight, validate_data

from regopt.sklearn._polish import polish
from regopt.sklearn._program import Layout, Recipe, fit_path, layout_of
from regopt.solvers import Solution

_WARM_UP = 20  # strengths from the largest down to that of a nonconvex penalty, along which its minimum is followed


def is_number(value: Any) -> bool:
    """Whether an argument is a scalar."""
    return bool(np.isscalar(value))


@dataclass(eq=False, repr=False, kw_only=True)
class Linear(BaseEstimator):
    """A linear model with one strength; the arguments of an estimator are the fields of the classes that it joins."""

    _penalty = "l1"
    _family = "gaussian"
    _convex = True

    fit_intercept: bool = True
    tol: float = 1e-6
    max_iter: int = 10_000

    def _numbers(self) -> tuple[float, ...]:
        """The numbers of the penalty but the strength, checked."""
        return ()

    def _l1_ratio(self) -> float:
        return 1.0

    def _groups(self, features: int) -> np.ndarray | None:
        del features
        return None

    def _check(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The inputs, the targets as the family takes them, and the weights."""
        self._check_tolerance()
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        y = self._targets(y.astype(np.float64))
        return X, y, _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)

    def _check_tolerance(self) -> None:
        if not (is_number(self.tol) and self.tol >= 0):
            raise ValueError(f"tol must lie in [0, inf), got {self.tol!r}")

    def _targets(self, y: np.ndarray) -> np.ndarray:
        return y

    def _recipe(self, y: np.ndarray) -> Recipe:
        classes = y.shape[1] if y.ndim == 2 else None
        family = "multinomial" if classes else self._family
        return Recipe(self._penalty, family, classes, bool(self.fit_intercept), int(self.max_iter))

    def _solve(self, X, y, weights, strengths) -> Solution:
        layout, numbers = self._layout_and_numbers(X)
        return fit_path(self._recipe(y), layout, X, y, weights, np.asarray(strengths, float), numbers, float(self.tol))

    def _layout_and_numbers(self, X: np.ndarray) -> tuple[Layout, tuple[Any, ...]]:
        """The layout of the features in the program, and the numbers of the penalty except the strength."""
        layout = layout_of(X.shape[1], self._groups(X.shape[1]))
        if self._penalty in ("group_lasso", "sparse_group_lasso"):
            return layout, (*self._numbers(), self._group_weights(layout))
        return layout, self._numbers()

    def _group_weights(self, layout: Layout) -> np.ndarray:
        """The square root of the size of each group."""
        sizes = np.zeros(layout.shape)
        sizes.ravel()[list(layout.places)] = 1
        return np.sqrt(np.maximum(sizes.sum(1), 1))

    def _largest(self, X, y, weights) -> float:
        """A strength from which on all coefficients are 0; the smallest such one, but for sparse groups."""
        shares = weights / weights.sum()
        slopes = np.abs(X.T @ ((shares if y.ndim == 1 else shares[:, None]) * (y - self._null_mean(y, shares))))
        l1_ratio = self._l1_ratio()
        if self._penalty not in ("group_lasso", "sparse_group_lasso"):
            return max(float(slopes.max()) / max(l1_ratio, 1e-3), np.finfo(float).tiny)
        layout = layout_of(X.shape[1], self._groups(X.shape[1]))
        table = np.zeros(layout.shape)
        table.ravel()[list(layout.places)] = slopes
        norms = np.linalg.norm(table, axis=1)
        if self._penalty == "group_lasso":
            return max(float((norms / self._group_weights(layout)).max()), np.finfo(float).tiny)
        with np.errstate(divide="ignore"):
            bounds = np.minimum(np.divide(norms, 1 - l1_ratio), np.divide(table.max(1), l1_ratio))
        return max(float(np.nan_to_num(bounds).max()), np.finfo(float).tiny)

    def _null_mean(self, y, shares):
        """The mean of the model without coefficients."""
        if self.fit_intercept:
            return shares @ y
        return {"gaussian": 0.0, "poisson": 1.0}.get(self._family, 0.5 if y.ndim == 1 else 1 / y.shape[-1])

    def _keep(
        self,
        solution: Solution,
        lane: int,
        index: int,
        data: tuple[np.ndarray, np.ndarray, np.ndarray],
        strength: float,
    ) -> None:
        """Set the attributes from one solution, made exact where it has converged."""
        params = {name: leaf[lane, index] for name, leaf in solution.params.items()}
        self.n_iter_ = max(int(solution.steps[lane, index]), 1)
        self.dual_gap_ = float(solution.gap[lane, index])
        if solution.converged[lane, index]:
            layout, numbers = self._layout_and_numbers(data[0])
            params, gap = polish(self._recipe(data[1]), layout, *data, strength, numbers, params)
            self.dual_gap_ = self.dual_gap_ if np.isnan(gap) else gap
        w = params["coefficients"]
        self._set(w, params["intercept"] if self.fit_intercept else np.zeros(w.shape[1:]))
        if not solution.converged[lane, index]:
            certificate = "gap" if np.isfinite(self.dual_gap_) else "residual"
            value = getattr(solution, certificate)[lane, index]
            warnings.warn(
                f"the {certificate} is {value:.1e} after {self.n_iter_} steps, above tol: increase max_iter, or scale "
                "the features",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _set(self, w: np.ndarray, intercept: np.ndarray) -> None:
        self.coef_, self.intercept_ = w, float(intercept)

    def _eta(self, X: Any) -> np.ndarray:
        """The predictor."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        return validate_data(self, X, reset=False, dtype=np.float64) @ self.coef_.T + self.intercept_


@dataclass(eq=False, repr=False)
class Single(Linear):
    """The fit at one strength."""

    alpha: float = 1.0

    def fit(self, X: Any, y: Any, sample_weight: Any = None):
        """Fit the model.

        Args:
            X: inputs, ``[examples, features]``, dense.
            y: targets, ``[examples]``.
            sample_weight: weights of the examples, >= 0; None for equal ones.

        Returns:
            The estimator.

        Raises:
            ValueError: the data or an argument do not fit.
        """
        if not (is_number(self.alpha) and self.alpha >= 0):
            raise ValueError(f"alpha must lie in [0, inf), got {self.alpha!r}")
        X, y, weights = self._check(X, y, sample_weight)
        strengths = np.array([self.alpha], float)
        if not self._convex:
            largest = max(self._largest(X, y, weights), self.alpha)
            strengths = largest * np.geomspace(1, max(self.alpha / largest, 1e-6), _WARM_UP)
            strengths[-1] = self.alpha
        self._keep(self._solve(X, y, weights[None], strengths), 0, -1, (X, y, weights), float(self.alpha))
        return self


@dataclass(eq=False, repr=False, kw_only=True)
class CrossValidated(Linear):
    """The fit at the strength that cross-validation favours."""

    alphas: int | Sequence[float] | np.ndarray | None = 100
    eps: float = 1e-3
    cv: Any = 5  # as ``sklearn.model_selection.check_cv`` takes it, which declares no type
    rule: Literal["best", "one_standard_error"] = "best"
    _classifier = False

    def fit(self, X: Any, y: Any, sample_weight: Any = None):
        """Fit a path on the training rows of each fold and on all rows, all as lanes of one program, and choose.

        Args:
            X: inputs, ``[examples, features]``, dense.
            y: targets, ``[examples]``.
            sample_weight: weights of the examples, >= 0; None for equal ones.

        Returns:
            The estimator.

        Raises:
            ValueError: the data or an argument do not fit.
        """
        if self.rule not in ("best", "one_standard_error"):
            raise ValueError(f'rule must be "best" or "one_standard_error", got {self.rule!r}')
        X, y, weights = self._check(X, y, sample_weight)
        self.alphas_ = self._grid(X, y, weights)
        labels = y if y.ndim == 1 else y.argmax(1)
        folds: Any = check_cv(self.cv, labels, classifier=self._classifier)
        splits = list(folds.split(X, labels))
        lanes = np.zeros((len(splits) + 1, len(X)))
        for lane, (rows, _) in enumerate(splits):
            lanes[lane, rows] = weights[rows]
        lanes[-1] = weights
        solution = self._solve(X, y, lanes, self.alphas_)
        self.scores_ = np.stack(
            [self._losses(solution, k, X, y, weights, rows) for k, (_, rows) in enumerate(splits)], 1
        )
        self._choose()
        self.coef_path_ = solution.params["coefficients"][-1]
        self._keep(solution, -1, self.best_index_, (X, y, weights), self.alpha_)
        return self

    def _grid(self, X, y, weights) -> np.ndarray:
        given = np.asarray(100 if self.alphas is None else self.alphas, float)
        if given.ndim == 0:
            return self._largest(X, y, weights) * np.geomspace(1, self.eps, int(given))
        alphas = np.sort(given)[::-1]
        if alphas.ndim != 1 or not (alphas >= 0).all():
            raise ValueError(f"alphas must be a number of strengths or strengths >= 0, got {self.alphas!r}")
        return alphas

    def _losses(self, solution, lane, X, y, weights, rows) -> np.ndarray:
        """The mean loss on the rows that a fold holds out, for each strength."""
        w = solution.params["coefficients"][lane]
        eta = np.einsum("nf,sf...->sn...", X[rows], w)
        if self.fit_intercept:
            eta = eta + solution.params["intercept"][lane][:, None]
        return np.average(self._loss(eta, y[rows][None]), axis=1, weights=weights[rows])

    def _loss(self, eta, y):
        return (eta - y) ** 2 / 2

    def _choose(self) -> None:
        mean = self.scores_.mean(1)
        best = int(np.argmin(mean))
        if self.rule == "one_standard_error":
            error = self.scores_[best].std(ddof=1) / np.sqrt(self.scores_.shape[1])
            best = int(np.flatnonzero(mean <= mean[best] + error)[0])
        self.best_index_, self.alpha_ = best, float(self.alphas_[best])
