"""Axes of the figures: which range of the metric is shown, where axes are logarithmic, how ticks and labels read."""

import html
from typing import Any, NamedTuple

import numpy as np

from regopt.report._findings import Findings

GREY, INK = "#9aa5b1", "#1f2933"
FEW = 8  # values of a number that are all named on its axis


class Window(NamedTuple):
    """The range of the metric that is shown."""

    low: float
    high: float
    log: bool
    beyond: int  # values that are worse than its end


def is_log(findings: Findings, name: str) -> bool:
    """Whether a column was tried on a logarithmic scale: positive numbers, more of them small than large."""
    if not findings.is_number(name):
        return False
    levels = np.unique(findings.table[name].to_numpy(float))
    levels = levels[np.isfinite(levels)]
    return spans_decades(levels) and bool(np.median(levels) - levels[0] < 0.3 * (levels[-1] - levels[0]))


def spans_decades(values: np.ndarray) -> bool:
    """Whether all finite values are positive, and the largest is ten times the smallest or more."""
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() >= 10 * known.min())


def window_of(values: np.ndarray, mode: str, keep: float = 0.95) -> Window:
    """The range of the metric without its worst tail, where that tail would squeeze everything else."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Window(0.0, 1.0, log=False, beyond=0)
    losses = known if mode == "min" else -known
    best, worst, end = losses.min(), losses.max(), np.quantile(losses, keep)
    log = spans_decades(known)
    squeezed = worst - best > 5 * (end - best) > 0 and not (log and worst < 1e4 * best)
    end = end if squeezed else worst
    low, high = (best, end) if mode == "min" else (-end, -best)
    low, high = (low / 1.15, high * 1.1) if log else (low - 0.05 * (high - low), high + 0.05 * (high - low))
    beyond = int(np.sum(losses > end)) if squeezed else 0
    return Window(float(low), float(high if high > low else low + 1), log, beyond)


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Round numbers between two positive ones, at most nine of them, and how they are written."""
    low, high = max(low, 1e-300), max(high, 1e-300)
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    width = np.log10(high / low)
    digits = (1, 2, 5) if width < 2 else (1, 3) if width < 3 else (1,)
    step = int(width // 6) + 1
    ticks = [float(f"{digit}e{int(k)}") for k in decades[::step] for digit in digits]
    ticks = [tick for tick in ticks if low * 0.97 <= tick <= high * 1.03]
    return ticks, [f"{tick:g}".replace("e-0", "e-").replace("e+0", "e") for tick in ticks]


def axis(findings: Findings, name: str) -> dict[str, Any]:
    """The scale and the ticks of a column."""
    if not findings.is_number(name):
        return {"type": "category"}
    levels = np.unique(findings.table[name].to_numpy(float))
    levels = levels[np.isfinite(levels)]
    if is_log(findings, name):
        ticks, texts = (levels, [f"{x:g}" for x in levels]) if len(levels) <= FEW else log_ticks(levels[0], levels[-1])
        return {"type": "log", "tickvals": ticks, "ticktext": texts}
    return {"type": "linear", **({"tickvals": levels} if len(levels) <= FEW else {})}


def metric_range(window: Window) -> dict[str, Any]:
    """The scale and the ticks of the metric."""
    if not window.log:
        return {"range": [window.low, window.high]}
    ticks, texts = log_ticks(window.low, window.high)
    return {"type": "log", "range": list(np.log10(window[:2])), "tickvals": ticks, "ticktext": texts}


def layout(**more: Any) -> dict[str, Any]:
    """The looks that all figures share, and what one has of its own."""
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


def rounded(values: Any) -> np.ndarray:
    """Six significant digits: what a figure can show, in half the bytes."""
    return np.asarray(values, np.float32) if np.asarray(values).dtype.kind == "f" else np.asarray(values)


def label(value: Any, most: int = 40) -> str:
    """A text that Plotly shows as it is where it would read HTML, cut to a length."""
    return html.escape(cut(value, most))


def cut(value: Any, most: int) -> str:
    """A text that is not longer than ``most``."""
    text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"
