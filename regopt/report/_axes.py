"""Palette and axes of the figures: the range of the metric, logarithmic scales, ticks and labels."""

import html
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from regopt._core.metrics import as_loss
from regopt._core.types import Mode
from regopt.report._findings import Findings

Options = dict[str, Any]  # keyword arguments of a Plotly figure; Plotly declares no types for them
GREY, INK = "#9aa5b1", "#1f2933"
BLUE, VERMILLION, GREEN = "#0072b2", "#d55e00", "#009e73"  # Okabe and Ito (2008)
GOOD_IS_DARK = [[0.0, "#e8edf2"], [0.4, "#a5c4de"], [0.7, "#4a8fc4"], [0.9, "#14588f"], [1.0, "#062a4f"]]
STAR = {"size": 16, "color": "#e69f00", "symbol": "star", "line": {"color": INK, "width": 1}}
FEW = 8  # an axis with at most this many values has a tick at each of them


class Window(NamedTuple):
    """The range of the metric that a figure shows."""

    low: float
    high: float
    log: bool
    beyond: int  # number of values that are worse than the worst one shown


def is_log(findings: Findings, name: str) -> bool:
    """Whether a column looks logarithmically spaced: it spans a decade or more, with most values near the low end."""
    if not findings.is_number(name):
        return False
    levels = levels_of(findings, name)
    return spans_decades(levels) and bool(np.median(levels) - levels[0] < 0.3 * (levels[-1] - levels[0]))


def levels_of(findings: Findings, name: str) -> np.ndarray:
    """The finite values of a column of numbers, in order and each once."""
    levels = np.unique(findings.table[name].to_numpy(float))
    return levels[np.isfinite(levels)]


def spans_decades(values: np.ndarray) -> bool:
    """Whether all finite values are positive, and the largest is at least ten times the smallest."""
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() >= 10 * known.min())


def window_of(values: np.ndarray, mode: Mode | None, keep: float = 0.95) -> Window:
    """The range of the metric; a worst tail that would squeeze all other values into a corner is left out.

    Args:
        values: the metric, any shape; values that are not finite are ignored.
        mode: whether "min" or "max" is better; None where it is not known, and then no tail is left out.
        keep: the share of the values that stays in sight where the tail is left out.

    Returns:
        The range, with a margin at both ends.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return Window(0.0, 1.0, log=False, beyond=0)
    losses = as_loss(known, mode)
    best, worst, end = losses.min(), losses.max(), np.quantile(losses, keep)
    log = spans_decades(known)
    squeezed = mode is not None and worst - best > 5 * (end - best) > 0 and not (log and worst < 1e4 * best)
    end = end if squeezed else worst
    low, high = (best, end) if mode != "max" else (-end, -best)
    low, high = (low / 1.15, high * 1.1) if log else (low - 0.05 * (high - low), high + 0.05 * (high - low))
    beyond = int(np.sum(losses > end)) if squeezed else 0
    return Window(float(low), float(high if high > low else low + 1), log, beyond)


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Round ticks between two positive numbers, at most ten, and their labels."""
    low, high = max(low, 1e-300), max(high, 1e-300)
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    width = np.log10(high / low)
    digits = (1, 2, 5) if width < 2 else (1, 3) if width < 3 else (1,)
    step = int(width // 6) + 1
    ticks = [float(f"{digit}e{int(k)}") for k in decades[::step] for digit in digits]
    ticks = [tick for tick in ticks if low * 0.97 <= tick <= high * 1.03]
    texts = [f"{tick:.0e}" if tick < 0.001 else f"{tick:g}" for tick in ticks]  # short, for the narrow figures
    return ticks, [text.replace("e-0", "e-").replace("e+0", "e") for text in texts]


def axis(findings: Findings, name: str) -> Options:
    """The scale and the ticks of a column."""
    if not findings.is_number(name):
        return {"type": "category"}
    levels = levels_of(findings, name)
    if is_log(findings, name):
        ticks, texts = (levels, [f"{x:g}" for x in levels]) if len(levels) <= FEW else log_ticks(levels[0], levels[-1])
        return {"type": "log", "tickvals": ticks, "ticktext": texts}
    return {"type": "linear", **({"tickvals": levels} if len(levels) <= FEW else {})}


def metric_range(window: Window) -> Options:
    """The scale and the ticks of the metric."""
    if not window.log:
        return {"range": [window.low, window.high]}
    ticks, texts = log_ticks(window.low, window.high)
    return {"type": "log", "range": list(np.log10(window[:2])), "tickvals": ticks, "ticktext": texts}


def layout(**more: object) -> Options:
    """The layout that all figures share, with the options of one figure added."""
    line = "#cbd2d9"
    axis = {"gridcolor": "#e4e7eb", "zeroline": False, "linecolor": line, "ticks": "outside", "tickcolor": line}
    return {
        "template": "none",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 64, "r": 16, "t": 16, "b": 52},
        "xaxis": axis,
        "yaxis": {**axis, "automargin": True},
        "hoverlabel": {"font": {"size": 13}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": INK},
        **more,
    }


def rounded(values: ArrayLike) -> np.ndarray:
    """Floats in single precision: a figure shows no more digits, and the page is half as long."""
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def label(value: object, most: int = 40) -> str:
    """A shortened text with HTML escaped, since Plotly reads its labels as HTML."""
    return html.escape(shortened(value, most))


def shortened(value: object, most: int) -> str:
    """A text of at most ``most`` characters."""
    text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"
