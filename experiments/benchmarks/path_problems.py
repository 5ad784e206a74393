"""The problems of ``paths.py``: data, folds, strengths, and duality gaps in NumPy, which share no code with regopt.

A problem is ``min_w sum_i f(x_i w + b, y_i) / n + strength * (l1_ratio |w| + (1 - l1_ratio) / 2 |w|_2**2)`` with an
intercept b; the norm is the sum of the Euclidean norms of groups where there are groups, else the l1 norm.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import xlogy


class Problem(NamedTuple):
    """Data with the penalty and the strengths of its path."""

    x: np.ndarray  # [examples, features], float64
    y: np.ndarray  # [examples], or one-hot [examples, classes]
    family: str
    l1_ratio: float
    group_size: int  # groups are consecutive features
    strengths: np.ndarray  # descending


def problem(name, size):
    """The problem of this name, with ``size`` strengths."""
    x, y, family, l1_ratio, group_size, ratio = DATA[name]()
    norms = np.linalg.norm(slopes_at_zero(x, y).reshape(-1, group_size * (y[0].size if y.ndim > 1 else 1)), axis=1)
    if y.ndim > 1:
        norms = np.abs(slopes_at_zero(x, y))
    return Problem(x, y, family, l1_ratio, group_size, norms.max() / l1_ratio * np.geomspace(1, ratio, size))


def slopes_at_zero(x, y):
    """The negative gradient of the loss where only the intercept is fitted; it is the same for all four families."""
    return x.T @ (y - y.mean(0)) / len(x)


def folds(examples, count):
    """The fold of each row: the rows go to the folds in turn, so that sorted rows need no shuffling."""
    return np.arange(examples) % count


def standardised(x):
    """Columns of mean 0 and standard deviation 1."""
    return (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)


def correlated(random, examples, features, correlation):
    """Gaussian features; neighbouring ones have this correlation."""
    x = random.standard_normal((examples, features))
    for j in range(1, features):
        x[:, j] = correlation * x[:, j - 1] + np.sqrt(1 - correlation**2) * x[:, j]
    return x


def _diabetes():
    from sklearn.datasets import load_diabetes

    x, y = map(np.asarray, load_diabetes(return_X_y=True))
    return standardised(x), y - y.mean(), "gaussian", 1.0, 1, 1e-3


def _correlated():
    random = np.random.default_rng(0)
    x = correlated(random, 2000, 500, 0.7)
    y = x[:, ::25] @ random.standard_normal(20) + 3 * random.standard_normal(2000)
    return standardised(x), y - y.mean(), "gaussian", 0.5, 1, 1e-2


def _cancer():
    from sklearn.datasets import load_breast_cancer

    x, y = map(np.asarray, load_breast_cancer(return_X_y=True))
    return standardised(x), y.astype(float), "logistic", 0.5, 1, 1e-2


def _wide():
    random = np.random.default_rng(1)
    x = correlated(random, 1000, 5000, 0.5)
    y = x[:, ::20] @ random.standard_normal(250) + 3 * random.standard_normal(1000)
    return standardised(x), y - y.mean(), "gaussian", 1.0, 1, 5e-2


def _groups():
    random = np.random.default_rng(2)
    x = correlated(random, 2000, 1000, 0.5)
    y = x[:, :100] @ random.standard_normal(100) + 5 * random.standard_normal(2000)
    return standardised(x), y - y.mean(), "gaussian", 1.0, 10, 5e-2


def _poisson():
    random = np.random.default_rng(3)
    x = standardised(correlated(random, 1000, 100, 0.5))
    y = random.poisson(np.exp(x[:, ::10] @ random.standard_normal(10) / 4)).astype(float)
    return x, y, "poisson", 1.0, 1, 1e-2


def _digits():
    from sklearn.datasets import load_digits

    x, y = map(np.asarray, load_digits(return_X_y=True))
    return standardised(x[:, x.std(0) > 0]), np.eye(10)[y], "multinomial", 1.0, 1, 1e-2


DATA = {
    "diabetes, lasso": _diabetes,
    "2,000 x 500 correlated, elastic net": _correlated,
    "breast cancer, logistic elastic net": _cancer,
    "1,000 x 5,000, lasso": _wide,
    "2,000 x 1,000 in 100 groups": _groups,
    "Poisson, 1,000 x 100, lasso": _poisson,
    "multinomial digits, lasso": _digits,
}


def certificates(it, x, y, coefficients, intercepts):
    """The objectives and duality gaps of the solutions along a path on some rows, in float64.

    Args:
        it: the problem.
        x: rows of its inputs.
        y: rows of its targets.
        coefficients: ``[strengths, features]`` or ``[strengths, features, classes]``.
        intercepts: ``[strengths]`` or ``[strengths, classes]``; None for the best ones of the Gaussian family.

    Returns:
        Two arrays ``[strengths]``.
    """
    found = []
    for k, strength in enumerate(it.strengths):
        w = np.asarray(coefficients[k], np.float64)
        eta = x @ w
        eta = eta + ((y - eta).mean(0) if intercepts is None else np.asarray(intercepts[k], np.float64))
        found.append(_certificate(it, strength, x, y, w, eta))
    return np.array(found).T


def _certificate(it, strength, x, y, w, eta):
    """The objective, and its difference to the dual objective at the scaled slopes of the losses."""
    losses, slopes = LOSSES[it.family](eta, y)
    slopes = _balanced(slopes, y, it.family)
    reach, square = strength * it.l1_ratio, strength * (1 - it.l1_ratio)
    objective = losses.mean() + reach * _norms(it, w).sum() + square * np.sum(w * w) / 2
    correlations = _norms(it, x.T @ slopes / len(x))
    shrink = 1.0 if square > 0 else min(1.0, reach / correlations.max())
    conjugate = CONJUGATES[it.family](shrink * slopes, y).mean()
    if square > 0:
        conjugate += np.sum(np.maximum(correlations - reach, 0) ** 2) / (2 * square)
    return objective, objective + conjugate


def _norms(it, w):
    if it.group_size == 1:
        return np.abs(w).ravel()
    return np.linalg.norm(w.reshape(-1, it.group_size), axis=1)


def _balanced(slopes, y, family):
    """The slopes moved so that they sum to 0, as an intercept demands, within the domain of the conjugate."""
    if family == "gaussian":
        return slopes - slopes.mean(0)
    if family == "multinomial":  # the means move towards the frequencies until the sums agree
        return _sinkhorn(slopes + y, y) - y
    up, down = np.maximum(slopes, 0), np.maximum(-slopes, 0)
    if up.sum() > down.sum():
        return up * (down.sum() / up.sum()) - down
    return up - down * (up.sum() / max(down.sum(), 1e-300))


def _sinkhorn(means, y):
    """The means scaled by rows and columns until the rows sum to 1 and the columns to those of y."""
    for _ in range(200):
        means = means * (y.sum(0) / means.sum(0))
        rows = means.sum(1, keepdims=True)
        means = means / rows
        if np.abs(rows - 1).max() < 1e-15:
            break
    return means


def _gaussian(eta, y):
    return (eta - y) ** 2 / 2, eta - y


def _logistic(eta, y):
    return np.logaddexp(0, eta) - y * eta, 1 / (1 + np.exp(-eta)) - y


def _poisson_loss(eta, y):
    return np.exp(eta) - y * eta, np.exp(eta) - y


def _multinomial(eta, y):
    top = eta.max(1, keepdims=True)
    total = np.log(np.exp(eta - top).sum(1, keepdims=True)) + top
    return total[:, 0] - (y * eta).sum(1), np.exp(eta - total) - y


LOSSES = {"gaussian": _gaussian, "logistic": _logistic, "poisson": _poisson_loss, "multinomial": _multinomial}
CONJUGATES = {
    "gaussian": lambda v, y: v * v / 2 + v * y,
    "logistic": lambda v, y: xlogy(v + y, np.maximum(v + y, 1e-300)) + xlogy(1 - v - y, np.maximum(1 - v - y, 1e-300)),
    "poisson": lambda v, y: xlogy(v + y, np.maximum(v + y, 1e-300)) - v - y,
    "multinomial": lambda v, y: xlogy(v + y, np.maximum(v + y, 1e-300)).sum(1),
}
