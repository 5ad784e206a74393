"""Pictures of a sweep: a metric over a grid of settings, and learning curves."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator


def heatmap(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    *,
    labels: tuple[str, str, str],
    best: tuple[float, float] | None = None,
) -> None:
    """A metric over a grid of two numbers on logarithmic axes, with its colours on a logarithmic scale.

    Missing values (diverged, not trained) stay grey.

    Args:
        axes: where to draw.
        x: levels of the first number, ``[n]``, positive, ascending.
        y: levels of the second, ``[m]``, positive, ascending.
        values: the metric, ``[n, m]``, positive or NaN.
        labels: of the x axis, the y axis and the colours.
        best: a point to mark.
    """
    axes.set_facecolor("0.85")
    shown = np.ma.masked_invalid(values.T)
    low, high = (float(shown.min()), float(shown.max())) if shown.count() else (1.0, 10.0)
    norm = LogNorm(low, high)
    mesh = axes.pcolormesh(x, y, shown, norm=norm, cmap="viridis_r", shading="nearest")
    axes.set(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1])
    bar = axes.figure.colorbar(mesh, ax=axes, label=labels[2])
    if high / low < 100:
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.minorticks_off()
    if best is not None:
        axes.plot(*best, marker="*", markersize=14, color="white", markeredgecolor="black", linestyle="none")


def learning_curves(axes: Axes, steps: np.ndarray, curves: Mapping[str, np.ndarray], *, label: str) -> None:
    """A metric over training, one line for each name, on a logarithmic scale.

    Args:
        axes: where to draw.
        steps: ``[n]``.
        curves: by name, each ``[n]``; NaN where not trained.
        label: of the y axis.
    """
    for name, values in curves.items():
        axes.plot(steps, values, marker="o", markersize=3, label=name)
    axes.set(xlabel="training step", ylabel=label, yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)  # below, off the curves
