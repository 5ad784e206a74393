"""Paths of the lasso and the elastic net for data with many features, driven from the host.

Each problem is solved on a working set of columns. One product with all columns, shared by the folds, then gives the
duality gaps and the columns that join. It computes what ``_path.py`` computes in a compiled program, on NumPy arrays.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt.solvers._active_set import Quadratic, minimize_groups, minimize_quadratic
from regopt.solvers._solution import Solution

_SPARE = 1.5  # the columns for which there is room, over those that are needed
_FEW = 256  # columns that may join at once, at least
_BLOCK = 4096  # columns that are copied to float64 at a time
_ROUNDS = 50  # products with all columns for one strength, at most
_ROUNDING = 1e-12  # the share of the reach by which a slope may exceed it


class _Fit(NamedTuple):
    columns: np.ndarray  # of the coefficients that are not 0
    w: np.ndarray
    objective: float
    gap: float
    converged: bool
    steps: int


class _Lane:
    """One problem of several on the same inputs: its rows, its working set and its solution."""

    def __init__(
        self, x: np.ndarray, target: np.ndarray, shares: np.ndarray, mean_x: np.ndarray, intercept: bool, size: int
    ):
        self.x, self.mean_x, self.size = x, mean_x, size
        self.rows = np.flatnonzero(shares > 0)
        self.root = np.sqrt(shares[self.rows])
        self.mean_y = float(shares @ target) if intercept else 0.0
        self.target = self.root * (target[self.rows] - self.mean_y)
        self.columns = np.zeros(0, int)
        self.w = np.zeros(0)
        self.table = np.zeros((len(self.rows), 0), order="F")  # the columns, centred and weighted, with room for more
        self.gram, self.products = np.zeros((0, 0)), np.zeros(0)
        self.residual = -self.target

    def add(self, columns: np.ndarray) -> None:
        """Add columns to the working set, with coefficients 0."""
        before, after = len(self.columns), len(self.columns) + len(columns)
        if after == before:
            return
        if after > self.table.shape[1]:
            room = int(_SPARE * after) + 32
            table, gram = np.empty((len(self.rows), room), order="F"), np.empty((room, room))
            table[:, :before], gram[:before, :before] = self.table[:, :before], self.gram[:before, :before]
            self.table, self.gram = table, gram
        new = self.x[self.rows[:, None], columns] - self.mean_x[columns]
        new *= self.root[:, None]
        self.table[:, before:after] = new
        self.gram[:after, before:after] = self.table[:, :after].T @ self.table[:, before:after]
        self.gram[before:after, :before] = self.gram[:before, before:after].T
        self.products = np.concatenate([self.products, self.table[:, before:after].T @ self.target])
        self.columns, self.w = np.concatenate([self.columns, columns]), np.pad(self.w, (0, len(columns)))

    def add_above(self, slopes: np.ndarray, threshold: float) -> bool:
        """Add groups with slopes above a threshold, at most ``_FEW`` columns or as many as the working set has.

        Returns:
            Whether a group was added.
        """
        sizes = self.norms(slopes)
        sizes[self.columns // self.size] = 0
        above = np.flatnonzero(sizes > threshold)
        most = max(_FEW, len(self.columns)) // self.size
        if len(above) > most:  # the steepest; others join later where they are needed
            above = np.sort(above[np.argpartition(-sizes[above], most)[:most]])
        self.add((above[:, None] * self.size + np.arange(self.size)).ravel())
        return len(above) > 0

    def norms(self, entries: np.ndarray) -> np.ndarray:
        """The norms of groups, ``[groups]``; the absolute values where each column is a group."""
        return np.abs(entries) if self.size == 1 else np.linalg.norm(entries.reshape(-1, self.size), axis=1)

    def solve(self, reach: float, square: float, max_steps: int) -> int:
        """Minimise over the working set and return the number of steps."""
        count = len(self.columns)
        problem = Quadratic(self.gram[:count, :count], self.products, reach, square)
        if self.size == 1:
            self.w, steps = minimize_quadratic(problem, self.w, max_steps)
        else:
            self.w, steps = minimize_groups(problem, self.size, self.w, max_steps)
        on = np.flatnonzero(self.w)
        self.residual = self.table[:, on] @ self.w[on] - self.target
        return steps

    def certificate(self, slopes: np.ndarray, reach: float, square: float) -> tuple[float, float]:
        """The objective and its duality gap, from the slopes of the loss for all columns."""
        loss = float(self.residual @ self.residual) / 2
        objective = loss + reach * float(self.norms(self.w).sum()) + square * float(self.w @ self.w) / 2
        excess = np.maximum(self.norms(slopes) - reach, 0)
        by_square = -np.inf if square == 0 else -float(excess @ excess) / (2 * square)
        by_norm = -np.inf if reach == 0 else -float(excess.max()) / reach * objective
        least = max(by_square, by_norm) if excess.any() else 0.0
        return objective, objective + loss + float(self.residual @ self.target) - least


def working_set_path(
    x: jax.Array,
    target: jax.Array,
    weights: jax.Array,
    reaches: np.ndarray,
    squares: np.ndarray,
    *,
    intercept: bool,
    size: int,
    tolerance: float,
    max_steps: int,
) -> Solution:
    """The solutions of least squares plus ``reach |w|_1 + square |w|**2 / 2`` along a path, for each row of weights.

    With groups of more than one column, the sum of their Euclidean norms takes the place of the l1 norm.

    Args:
        x: inputs, ``[examples, features]``.
        target: targets less offsets, ``[examples]``.
        weights: the weights of the examples for each problem, ``[lanes, examples]``.
        reaches: the strengths of the l1 norm, ``[strengths]``, descending.
        squares: the strengths of the square, ``[strengths]``.
        intercept: whether there is an intercept, without a penalty.
        size: the number of columns of a group; groups are consecutive columns.
        tolerance: as for ``minimize``.
        max_steps: the largest number of steps for each strength and working set; see ``_active_set.py``.

    Returns:
        The solutions, with leading axes ``[lanes, strengths]``.

    References:
        Massias, M., Gramfort, A., & Salmon, J. (2018). Celer: a fast solver for the lasso with dual extrapolation.
        ICML. Section 3, for working sets.

        Tibshirani, R., Bien, J., Friedman, J., Hastie, T., Simon, N., Taylor, J., & Tibshirani, R. J. (2012). Strong
        rules for discarding predictors in lasso-type problems. Journal of the Royal Statistical Society B, 74(2),
        245-266. Section 3, for the first working set of a strength.
    """
    shares = np.asarray(weights, np.float64)
    shares = shares / shares.sum(1, keepdims=True)
    host, wide = np.asarray(x), np.asarray(target, np.float64)
    mean_x = _means(host, shares) if intercept else np.zeros((len(shares), x.shape[1]))
    lanes = [_Lane(host, wide, own, mean, intercept, size) for own, mean in zip(shares, mean_x, strict=True)]
    with _one_thread():
        found = _along_path(x, lanes, reaches, squares, tolerance, max_steps)
    return _gathered(found, lanes, x, intercept)


def _along_path(
    x: jax.Array, lanes: Sequence[_Lane], reaches: np.ndarray, squares: np.ndarray, tolerance: float, max_steps: int
) -> list[list[_Fit]]:
    """The fits of all lanes, for each strength."""
    slopes, last, found = _slopes(x, lanes, len(lanes)), float(reaches[0]), []
    for reach, square in zip(reaches.tolist(), squares.tolist(), strict=True):
        for lane, own in zip(lanes, slopes, strict=True):
            lane.add_above(own, min(reach, 2 * reach - last) if 2 * reach > last else reach)
        fits, slopes = _solve(x, lanes, reach, square, tolerance, max_steps)
        found.append(fits)
        last = reach
    return found


def _solve(
    x: jax.Array, lanes: Sequence[_Lane], reach: float, square: float, tolerance: float, max_steps: int
) -> tuple[list[_Fit], np.ndarray]:
    """The fits of all lanes at one strength, and the slopes of the loss there, ``[lanes, features]``."""
    steps, fits, slopes = [0] * len(lanes), {}, np.zeros((len(lanes), x.shape[1]))
    for _ in range(_ROUNDS):
        open_lanes = [i for i in range(len(lanes)) if i not in fits or not fits[i].converged]
        for i in open_lanes:
            steps[i] += lanes[i].solve(reach, square, max_steps)
        slopes[open_lanes], grown = _slopes(x, [lanes[i] for i in open_lanes], len(lanes)), False
        for i in open_lanes:
            lane = lanes[i]
            objective, gap = lane.certificate(slopes[i], reach, square)
            converged = gap <= tolerance * max(1.0, abs(objective))
            on = np.flatnonzero(lane.w)
            fits[i] = _Fit(lane.columns[on], lane.w[on], objective, gap, converged, steps[i])
            grown |= not converged and lane.add_above(slopes[i], reach * (1 + _ROUNDING))
        if not grown:
            break
    return [fits[i] for i in range(len(lanes))], slopes


def _one_thread() -> AbstractContextManager[object]:
    """One thread for linear algebra, if threadpoolctl is installed: the systems are too small for several."""
    if importlib.util.find_spec("threadpoolctl") is None:
        return nullcontext()
    return importlib.import_module("threadpoolctl").threadpool_limits(1, "blas")


def _slopes(x: jax.Array, lanes: Sequence[_Lane], most: int) -> np.ndarray:
    """The slopes of the losses for all columns, ``[lanes, features]``; ``most`` is the largest number of lanes.

    The product is compiled for 1, 2, 4, ... and for the most lanes.
    """
    residuals = np.zeros((min(2 ** (len(lanes) - 1).bit_length(), most), x.shape[0]))
    for row, lane in zip(residuals, lanes, strict=False):
        row[lane.rows] = lane.root * lane.residual
    means = np.stack([lane.mean_x for lane in lanes])  # the columns are centred
    products = np.asarray(_products(x, residuals), np.float64)[: len(lanes)]
    return products - means * residuals[: len(lanes)].sum(1, keepdims=True)


def _means(x: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The weighted means of the columns for each lane, in float64 whatever the dtype, some columns at a time."""
    parts = [shares @ x[:, begin : begin + _BLOCK].astype(np.float64) for begin in range(0, x.shape[1], _BLOCK)]
    return np.concatenate(parts, axis=1)


@jax.jit
def _products(x: jax.Array, rows: jax.Array) -> jax.Array:
    return rows.astype(x.dtype) @ x


def _gathered(found: list[list[_Fit]], lanes: Sequence[_Lane], x: jax.Array, intercept: bool) -> Solution:
    """The fits as arrays, with their intercepts."""
    w = np.zeros((len(lanes), len(found), x.shape[1]), x.dtype)
    intercepts = np.zeros(w.shape[:2], x.dtype)
    for k, fits in enumerate(found):
        for i, (lane, fit) in enumerate(zip(lanes, fits, strict=True)):
            w[i, k, fit.columns] = fit.w
            intercepts[i, k] = lane.mean_y - lane.mean_x[fit.columns] @ fit.w

    def field(name: str, dtype: jax.typing.DTypeLike) -> jax.Array:
        return jnp.asarray([[getattr(fits[i], name) for fits in found] for i in range(len(lanes))], dtype)

    params = {"coefficients": jnp.asarray(w)} | ({"intercept": jnp.asarray(intercepts)} if intercept else {})
    gap = field("gap", x.dtype)
    objective, converged, steps = field("objective", x.dtype), field("converged", bool), field("steps", jnp.int32)
    return Solution(params, objective, gap, jnp.full_like(gap, jnp.nan), converged, steps)
