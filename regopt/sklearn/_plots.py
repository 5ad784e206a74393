"""Figures of a cross-validated fit: the coefficients along the path, and the scores with their standard errors."""

from typing import Any

import numpy as np


def plot_path(estimator: Any, ax: Any = None) -> Any:
    """Plot each coefficient against the strength, on a logarithmic axis, with the chosen strength as a line.

    Args:
        estimator: a fitted estimator of ``regopt.sklearn`` with cross-validation; of several classes, the first is
            shown.
        ax: the axes of matplotlib to draw on; None for those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: the estimator has no path.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import LassoCV, plot_path
        >>> X, y = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]]), np.array([-2.0, -1.0, 1.0, 2.5])
        >>> plot_path(LassoCV(cv=2, alphas=3).fit(X, y)).get_xlabel()
        'alpha'
    """
    if not hasattr(estimator, "coef_path_"):
        raise ValueError("plot_path needs a fitted estimator with cross-validation, such as LassoCV")
    ax = _axes(ax)
    path = estimator.coef_path_
    path = path if path.ndim == 2 else path[:, :, 0]
    names = getattr(estimator, "feature_names_in_", None)
    for j in range(path.shape[1]):
        kept = path[estimator.best_index_, j] != 0
        label = str(names[j]) if names is not None and kept else None
        ax.plot(
            estimator.alphas_, path[:, j], color=None if kept else "0.75", linewidth=1.5 if kept else 1, label=label
        )
    _finish(ax, estimator, "coefficient")
    if names is not None and path[estimator.best_index_].any() and path.shape[1] <= 20:
        ax.legend(fontsize="small", frameon=False)
    return ax


def plot_cv(estimator: Any, ax: Any = None) -> Any:
    """Plot the mean loss on the rows held out against the strength, with one standard error to either side.

    Args:
        estimator: a fitted estimator of ``regopt.sklearn`` with cross-validation.
        ax: the axes of matplotlib to draw on; None for those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: the estimator has no scores.

    Example:
        >>> import numpy as np
        >>> from regopt.sklearn import LassoCV, plot_cv
        >>> X, y = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]]), np.array([-2.0, -1.0, 1.0, 2.5])
        >>> plot_cv(LassoCV(cv=2, alphas=3).fit(X, y)).get_ylabel()
        'loss on the rows held out'
    """
    if not hasattr(estimator, "scores_"):
        raise ValueError("plot_cv needs a fitted estimator with cross-validation, such as LassoCV")
    ax = _axes(ax)
    mean = estimator.scores_.mean(1)
    error = estimator.scores_.std(1, ddof=1) / np.sqrt(estimator.scores_.shape[1])
    ax.fill_between(estimator.alphas_, mean - error, mean + error, alpha=0.25, linewidth=0)
    ax.plot(estimator.alphas_, mean)
    _finish(ax, estimator, "loss on the rows held out")
    return ax


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(layout="constrained").subplots()


def _finish(ax: Any, estimator: Any, label: str) -> None:
    ax.axvline(estimator.alpha_, color="0.3", linewidth=1, linestyle=":")
    ax.set(xscale="log", xlabel="alpha", ylabel=label)
    if not ax.xaxis_inverted():
        ax.invert_xaxis()  # from the empty model to the full one
