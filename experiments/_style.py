"""The look of the figures: one palette, and what several of them draw.

Helpers take the axes to draw on. Intervals of paired runs come from SciPy's paired t-test.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator
from matplotlib.typing import ColorType
from scipy import stats

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = color_sequences["okabe_ito"]  # told apart by every reader
GREY = "0.45"  # for references and words
PALE = "0.85"  # lines and areas behind the curves
SCALE = "viridis"  # the colours of an image, from small to large


def note(
    axes: Axes,
    words: str,
    at: tuple[float, float],
    color: ColorType = BLACK,
    offset: tuple[float, float] = (0, 0),
    **text: Any,
) -> None:
    """Write a text beside a point, usually in the colour of the point's curve.

    Args:
        axes: where to draw.
        words: the text.
        at: the point, in data coordinates.
        color: the color of the text.
        offset: from the point to the text, in printer's points.
        **text: further properties of the text, such as ``ha`` and ``fontsize``.
    """
    axes.annotate(words, at, offset, textcoords="offset points", color=color, **text)


def end_labels(
    axes: Axes,
    x: float,
    heights: np.ndarray,
    names: Sequence[str],
    colors: Sequence[ColorType],
    gap: float,
    **text: Any,
) -> None:
    """Name lines at their right ends, pushed up where two names would overlap.

    Args:
        axes: where to draw.
        x: where the names begin.
        heights: the heights of the ends, ``[lines]``.
        names: one for each line.
        colors: one for each line.
        gap: the smallest distance between two names, in data coordinates.
        **text: further properties of the texts.
    """
    last = -np.inf
    for line in map(int, np.argsort(heights)):
        last = max(float(heights[line]), last + gap)
        axes.text(x, last, names[line], color=colors[line], va="center", **text)


def plain_ticks(axis: Axis, ticks: Sequence[float] | np.ndarray) -> None:
    """Label exactly these ticks with plain numbers; a logarithmic axis would write powers of ten.

    Args:
        axis: ``axes.xaxis`` or ``axes.yaxis``, after its scale was set.
        ticks: where the ticks are.
    """
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axis.minorticks_off()


def band(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: ColorType) -> None:
    """Shade the range around a curve.

    Args:
        axes: where to draw.
        x: ``[n]``.
        low: the lower edge, ``[n]``.
        high: the upper edge, ``[n]``.
        color: the color of the curve.
    """
    axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


def paired_interval(values: np.ndarray, reference: np.ndarray, level: float) -> tuple[float, float]:
    """Student's interval for the mean difference of paired runs.

    Args:
        values: a measure of each run, ``[runs]``.
        reference: the same measure of the run that each is paired with, ``[runs]``.
        level: the level of confidence, in (0, 1).

    Returns:
        The mean of the differences, and half the width of its interval.
    """
    values, reference = np.asarray(values, float), np.asarray(reference, float)
    low, high = stats.ttest_rel(values, reference).confidence_interval(level)
    return float(np.mean(values - reference)), float(high - low) / 2


def interval(axes: Axes, mean: float, half: float, height: float, color: ColorType) -> None:
    """Draw a horizontal interval; its marker is hollow where the interval holds 0.

    Args:
        axes: where to draw.
        mean: its middle.
        half: half its width.
        height: the y coordinate.
        color: the color of marker and bar.
    """
    face = color if abs(mean) > half else "white"
    axes.errorbar(mean, height, xerr=half, fmt="o", color=color, mfc=face, capsize=3, lw=1.5)


def heatmap(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    *,
    labels: tuple[str, str, str],
    best: tuple[float, float] | None = None,
) -> None:
    """Draw a metric over a grid of two numbers on logarithmic axes, with its colours on a logarithmic scale.

    Missing values (diverged, not trained) stay grey.

    Args:
        axes: where to draw.
        x: levels of the first number, ``[n]``, positive, ascending.
        y: levels of the second, ``[m]``, positive, ascending.
        values: the metric, ``[n, m]``, positive or NaN.
        labels: the labels of the x axis, the y axis and the colours.
        best: a point to mark.
    """
    axes.set_facecolor(PALE)
    shown = np.ma.masked_invalid(values.T)
    low, high = (float(shown.min()), float(shown.max())) if shown.count() else (1.0, 10.0)
    norm = LogNorm(low, high)
    mesh = axes.pcolormesh(_edges(x), _edges(y), shown, norm=norm, cmap=f"{SCALE}_r")
    axes.set(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1])
    bar = axes.figure.colorbar(mesh, ax=axes, label=labels[2])
    if high / low < 100:
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.minorticks_off()
    if best is not None:
        axes.plot(*best, marker="*", markersize=14, color="white", markeredgecolor=BLACK, linestyle="none")


def _edges(levels: np.ndarray) -> np.ndarray:
    """The borders of the cells around ascending levels, ``[n + 1]``, halfway between them on a logarithmic axis."""
    logs = np.log(levels)
    steps = np.diff(logs) / 2 if len(logs) > 1 else np.ones(1)
    return np.exp(np.concatenate([logs[:1] - steps[:1], logs[:-1] + steps[: len(logs) - 1], logs[-1:] + steps[-1:]]))


def learning_curves(axes: Axes, steps: np.ndarray, curves: Mapping[str, np.ndarray], *, label: str) -> None:
    """Draw a metric over training, one line for each name, on a logarithmic scale.

    Args:
        axes: where to draw.
        steps: ``[n]``.
        curves: by name, each ``[n]``; NaN where not trained.
        label: the label of the y axis.
    """
    for (name, values), color in zip(curves.items(), itertools.cycle((BLUE, GREEN, RED, ORANGE, PURPLE, SKY))):
        axes.plot(steps, values, color=color, marker="o", markersize=3, label=name)
    axes.set(xlabel="training step", ylabel=label, yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)  # below, off the curves
