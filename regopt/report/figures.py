"""The figures of a report, as Plotly figures: where the best settings lie, what matters, how they learnt.

Darker is better wherever colour stands for the metric. Axes are logarithmic where positive numbers span more than a
factor of ten. All text from the tables is escaped, since Plotly reads labels as HTML. This file is not for choosing
what is said about the figures (`regopt.report.page`).
"""

import html
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from regopt.report.findings import Findings

BLUE, VERMILLION, GREEN, GREY, INK = "#0072b2", "#d55e00", "#009e73", "#9aa5b1", "#1f2933"  # Okabe and Ito (2008)
GOOD_IS_DARK = [[0.0, "#e8edf2"], [0.4, "#a5c4de"], [0.7, "#4a8fc4"], [0.9, "#14588f"], [1.0, "#062a4f"]]
STAR = {"size": 16, "color": "#e69f00", "symbol": "star", "line": {"color": INK, "width": 1}}
MOST_POINTS = 1000  # of a scatter; more make a page slow and say no more
MOST_STEPS = 200  # of a curve
FEW = 8  # values of a number that are all named on its axis
EACH = 20  # best, middle and worst curves of a large sweep
REPEATED = ("seed", "replica")  # names that repeat a setting rather than change it


class Window(NamedTuple):
    """The range of the metric that is shown."""

    low: float
    high: float
    log: bool
    beyond: int  # values that are worse than its end


def slices(findings: Findings) -> dict[str, go.Figure]:
    """The metric against each number that varies; crosses at the edge are settings that diverged."""
    window = _window(findings.values, findings.mode)
    rows = sampled(findings)
    return {name: _slice(findings, name, rows, window) for name in important(findings)}


def contours(findings: Findings, most: int = 4) -> dict[str, go.Figure]:
    """The metric over pairs of the ``most`` most important numbers."""
    numbers = [name for name in important(findings) if findings.is_number(name) and name not in REPEATED][:most]
    pairs = [(x, y) for i, x in enumerate(numbers) for y in numbers[i + 1 :]]
    return {f"{x}, {y}": _contour(findings, x, y) for x, y in pairs} if len(findings.order) > 3 else {}


def parallel(findings: Findings) -> go.Figure | None:
    """One line for each setting through all that varies, the better the darker; None where nothing does."""
    rows = findings.order[::-1]
    if not findings.varying or len(rows) < 2:
        return None
    rank = np.linspace(0, 1, len(rows)) ** 2  # most of the colours for the better half
    dimensions = [
        _dimension(name, findings.table[name].iloc[rows].to_numpy(), findings.is_number(name), is_log(findings, name))
        for name in important(findings)
    ]
    values = findings.values[rows]
    dimensions.append(_dimension(findings.monitor, values, numeric=True, log=spans_decades(values)))
    line = {"color": rank, "colorscale": GOOD_IS_DARK, "cmin": 0, "cmax": 1}
    figure = go.Figure(go.Parcoords(line=line, dimensions=dimensions, labelangle=0, tickfont={"size": 12}))
    return figure.update_layout(**_layout(height=380, margin={"l": 70, "r": 80, "t": 50, "b": 24}))


def importance(findings: Findings) -> go.Figure | None:
    """The share of each number with its interval, the largest on top; None where it is not known."""
    if findings.importance is None:
        return None
    bars = findings.importance.iloc[::-1]
    share = bars["share"].to_numpy()
    ends = {"array": bars["high"].to_numpy() - share, "arrayminus": share - bars["low"].to_numpy()}
    bar = go.Bar(
        x=share,
        y=[_text(name) for name in bars.index],
        orientation="h",
        marker={"color": BLUE},
        error_x={"type": "data", "symmetric": False, "color": INK, "thickness": 1.2, **ends},
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )
    figure = go.Figure(bar, _layout(height=90 + 34 * len(bars)))
    figure.update_xaxes(title="share of the order of settings", rangemode="tozero")
    return figure.update_yaxes(showgrid=False)


def means(findings: Findings, most: int = 20) -> go.Figure | None:
    """The best means over repeats with their intervals; None without repeats."""
    if findings.repeats is None:
        return None
    best = findings.repeats.head(most).iloc[::-1]
    best = best[np.isfinite(best["mean"])]
    names = [name for name in findings.varying if name in best]
    labels = [f"{place}" for place in range(len(best), 0, -1)]
    said = [_said({name: row[name] for name in names}) for _, row in best.iterrows()]
    dots = go.Scatter(
        x=best["mean"],
        y=labels,
        mode="markers",
        marker={"color": BLUE, "size": 8},
        error_x={
            "type": "data",
            "symmetric": True,
            "array": best["high"] - best["mean"],
            "color": BLUE,
            "thickness": 1.2,
        },
        customdata=[f"{text}<br>{count} repeats" for text, count in zip(said, best["count"], strict=True)],
        hovertemplate="mean %{x:.4g}<br>%{customdata}<extra></extra>",
    )
    figure = go.Figure(dots, _layout(height=110 + 18 * len(best)))
    figure.update_xaxes(title=_text(f"{findings.monitor}, mean over repeats", 80))
    return figure.update_yaxes(title="place", type="category", showgrid=False)


def curves(findings: Findings, metric: str) -> go.Figure:
    """Learning curves: all of a small sweep, else the best, middle and worst ones, over the range of 80 % of all."""
    steps = findings.curves["step"].to_numpy()
    values = findings.curves[metric].to_numpy()
    at = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_STEPS)).astype(int))
    steps, values = steps[at], values[:, at]
    figure = go.Figure(layout=_layout(height=420))
    everything = np.concatenate([values[findings.order].ravel(), values[findings.diverged].ravel()])
    window = _window(everything, findings.mode if metric == findings.monitor else "min", keep=0.99)
    if len(findings.order) > 3 * EACH:
        _band(figure, steps, values[findings.order])
    for name, colour, rows in reversed(groups(findings)):
        for place, row in enumerate(rows):
            best = name == "best" and place == 0
            figure.add_scatter(
                x=steps,
                y=_rounded(values[row]),
                mode="lines+markers" if len(steps) == 1 else "lines",
                line={"color": colour, "width": 3 if best else 1},
                opacity=1 if best else 0.55,
                name=name,
                legendgroup=name,
                showlegend=place == 0,
                hovertemplate=f"setting {row}: %{{y:.4g}} at step %{{x}}<extra></extra>",
            )
    figure.update_xaxes(title="training step")
    figure.update_yaxes(title=_text(metric), **_range(window))
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "reversed"}
    return figure.update_layout(legend=legend)


def groups(findings: Findings) -> list[tuple[str, str, np.ndarray]]:
    """Which curves are shown: their name, colour and rows, the best first."""
    order, bad = findings.order, np.flatnonzero(findings.diverged)
    if len(order) <= 3 * EACH:
        found = [("best", BLUE, order[:1]), ("others", GREY, order[1:]), ("diverged", VERMILLION, bad[:EACH])]
    else:
        middle = len(order) // 2 - EACH // 2
        found = [
            ("best", BLUE, order[:EACH]),
            ("middle", GREY, order[middle : middle + EACH]),
            ("worst", GREEN, order[-EACH:]),
            ("diverged", VERMILLION, bad[:EACH]),
        ]
    return [group for group in found if len(group[2])]


def important(findings: Findings) -> list[str]:
    """The names that vary, the most important first where that is known."""
    known = [] if findings.importance is None else list(findings.importance.index)
    return [name for name in known if name in findings.varying] + [n for n in findings.varying if n not in known]


def sampled(findings: Findings) -> np.ndarray:
    """Rows that a scatter shows: all, or the best fifth of ``MOST_POINTS`` and the others evenly by rank."""
    order = findings.order
    if len(order) <= MOST_POINTS:
        return order
    first = MOST_POINTS // 5
    return np.concatenate([order[:first], order[np.linspace(first, len(order) - 1, MOST_POINTS - first).astype(int)]])


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


def _slice(findings: Findings, name: str, rows: np.ndarray, window: Window) -> go.Figure:
    column = findings.table[name]
    bad = np.flatnonzero(findings.diverged)
    bad = bad[np.linspace(0, len(bad) - 1, min(len(bad), MOST_POINTS // 5)).astype(int)]
    edge = window.high if findings.mode == "min" else window.low
    figure = go.Figure(layout=_layout(height=300, margin={"l": 56, "r": 12, "t": 12, "b": 48}))

    def add(rows: np.ndarray, y: Any, said: str, **marker: Any) -> None:
        x = column.iloc[rows]
        figure.add_scatter(
            x=_rounded(x.to_numpy()) if findings.is_number(name) else [_text(value) for value in x],
            y=y,
            mode="markers",
            marker=marker,
            customdata=rows,
            hovertemplate=f"setting %{{customdata}}<br>{_text(name)} %{{x}}<br>{said}<extra></extra>",
            showlegend=False,
            cliponaxis=False,
        )

    metric = f"{_text(findings.monitor)} %{{y:.4g}}"
    add(rows[1:], _rounded(findings.values[rows[1:]]), metric, color=BLUE, size=6, opacity=0.45)
    if len(bad):
        add(
            bad,
            np.full(len(bad), edge),
            "diverged",
            color=VERMILLION,
            size=7,
            symbol="x-thin-open",
            line={"width": 1.5},
        )
    add(rows[:1], findings.values[rows[:1]], f"best: {metric}", **STAR)
    figure.update_xaxes(title=_text(name), **_axis(findings, name))
    return figure.update_yaxes(title=_text(findings.monitor), **_range(window))


def _contour(findings: Findings, x: str, y: str) -> go.Figure:
    rows = findings.order
    values = findings.values
    across, up, surface = _surface(findings, x, y)
    window = _window(values, findings.mode, keep=0.9)
    figure = go.Figure(layout=_layout(height=460))
    colours = GOOD_IS_DARK if findings.mode == "max" else [[1 - at, c] for at, c in reversed(GOOD_IS_DARK)]
    clipped = np.clip(surface, window.low, window.high)
    ticks, texts = log_ticks(window.low, window.high)
    bar = {"title": {"text": _text(findings.monitor), "side": "right"}, "thickness": 12}
    figure.add_contour(
        x=across,
        y=up,
        z=_rounded(np.log10(clipped) if window.log else clipped),
        text=[[f"{value:.4g}" for value in row] for row in surface],
        colorscale=colours,
        ncontours=14,
        line={"width": 0.5, "color": "rgba(255,255,255,0.6)"},
        colorbar={**bar, "tickvals": np.log10(ticks), "ticktext": texts} if window.log else bar,
        hovertemplate=f"{_text(x)} %{{x:.3g}}<br>{_text(y)} %{{y:.3g}}<br>about %{{text}}<extra></extra>",
    )
    shown = sampled(findings)
    tables = findings.table[x].to_numpy(float), findings.table[y].to_numpy(float)
    for some, style in ((shown[1:], {"size": 4, "color": INK, "opacity": 0.35}), (rows[:1], STAR)):
        figure.add_scatter(
            x=_rounded(tables[0][some]),
            y=_rounded(tables[1][some]),
            customdata=np.column_stack([some, values[some]]),
            mode="markers",
            marker=style,
            hovertemplate="setting %{customdata[0]}: %{customdata[1]:.4g}<extra></extra>",
            showlegend=False,
        )
    figure.update_xaxes(title=_text(x), range=_ends(across, is_log(findings, x)), **_axis(findings, x))
    return figure.update_yaxes(title=_text(y), range=_ends(up, is_log(findings, y)), **_axis(findings, y))


def neighbours(findings: Findings) -> int:
    """How many settings are averaged for a point of a contour; 1 where no other number varies."""
    others = [name for name in findings.varying if name not in ("seed", "replica")]
    return max(1 if len(others) <= 2 else 3, round(len(findings.order) / 60))


def _surface(findings: Findings, x: str, y: str, points: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The median metric of the nearest settings, on a grid over the range of two numbers."""
    from scipy.spatial import KDTree

    rows = findings.order
    columns = [findings.table[name].iloc[rows].to_numpy(float) for name in (x, y)]
    logs = [is_log(findings, name) for name in (x, y)]
    scaled = [np.log10(c) if log else c for c, log in zip(columns, logs, strict=True)]
    low, span = [c.min() for c in scaled], [max(np.ptp(c), 1e-300) for c in scaled]
    unit = np.column_stack([(c - a) / s for c, a, s in zip(scaled, low, span, strict=True)])
    line = np.linspace(0, 1, points)
    grid = np.stack(np.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)
    count = min(neighbours(findings), len(rows))
    near = KDTree(unit).query(grid, k=count)[1].reshape(len(grid), count)
    surface = np.median(findings.values[rows][near], axis=1).reshape(points, points)
    axes = [a + s * line for a, s in zip(low, span, strict=True)]
    across, up = (10**axis if log else axis for axis, log in zip(axes, logs, strict=True))
    return across, up, surface


def _dimension(name: str, values: np.ndarray, numeric: bool, log: bool) -> dict[str, Any]:
    """One axis of the parallel coordinates."""
    label = _text(name, 22)
    if not numeric:
        texts = [_text(value, 14) for value in values]
        levels = sorted(set(texts))
        at = [levels.index(text) for text in texts]
        return {"label": label, "values": at, "tickvals": list(range(len(levels))), "ticktext": levels}
    values = values.astype(float)
    levels = np.unique(values)
    if log:
        ticks, texts = log_ticks(levels[0], levels[-1])
        return {"label": label, "values": _rounded(np.log10(values)), "tickvals": np.log10(ticks), "ticktext": texts}
    few = {"tickvals": levels, "ticktext": [f"{level:g}" for level in levels]} if len(levels) <= FEW else {}
    return {"label": label, "values": _rounded(values), **few}


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Round numbers between two positive ones, some four to nine of them, and how they are written."""
    low, high = max(low, 1e-300), max(high, 1e-300)
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    width = np.log10(high / low)
    digits = (1, 2, 5) if width < 2 else (1, 3) if width < 3 else (1,)
    step = max(1, int(width // 8))
    ticks = [float(f"{digit}e{int(k)}") for k in decades[::step] for digit in digits]
    ticks = [tick for tick in ticks if low * 0.97 <= tick <= high * 1.03]
    return ticks, [f"{tick:g}".replace("e-0", "e-").replace("e+0", "e") for tick in ticks]


def _band(figure: go.Figure, steps: np.ndarray, values: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        known = np.any(np.isfinite(values), axis=0)
        low, high = np.nanquantile(values[:, known], [0.1, 0.9], axis=0)
    for end, fill in ((low, None), (high, "tonexty")):
        figure.add_scatter(
            x=steps[known],
            y=_rounded(end),
            mode="lines",
            line={"width": 0},
            fill=fill,
            fillcolor="rgba(154,165,177,0.25)",
            hoverinfo="skip",
            name="10 to 90 % of all",
            showlegend=fill is not None,
        )


def _window(values: np.ndarray, mode: str, keep: float = 0.95) -> Window:
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


def _range(window: Window) -> dict[str, Any]:
    if not window.log:
        return {"range": [window.low, window.high]}
    ticks, texts = log_ticks(window.low, window.high)
    return {"type": "log", "range": list(np.log10(window[:2])), "tickvals": ticks, "ticktext": texts}


def _ends(axis: np.ndarray, log: bool) -> list[float]:
    return [float(end) for end in (np.log10(axis[[0, -1]]) if log else axis[[0, -1]])]


def _axis(findings: Findings, name: str) -> dict[str, Any]:
    """The scale and the ticks of a column."""
    if not findings.is_number(name):
        return {"type": "category"}
    levels = np.unique(findings.table[name].to_numpy(float))
    levels = levels[np.isfinite(levels)]
    if is_log(findings, name):
        ticks, texts = (levels, [f"{x:g}" for x in levels]) if len(levels) <= FEW else log_ticks(levels[0], levels[-1])
        return {"type": "log", "tickvals": ticks, "ticktext": texts}
    return {"type": "linear", **({"tickvals": levels} if len(levels) <= FEW else {})}


def _layout(**more: Any) -> dict[str, Any]:
    axis = {
        "gridcolor": "#e4e7eb",
        "zeroline": False,
        "linecolor": "#cbd2d9",
        "ticks": "outside",
        "tickcolor": "#cbd2d9",
    }
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


def _rounded(values: Any) -> np.ndarray:
    """Six significant digits: what a figure can show, in half the bytes."""
    return np.asarray(values, np.float32) if np.asarray(values).dtype.kind == "f" else np.asarray(values)


def _said(setting: dict[str, Any]) -> str:
    return "<br>".join(
        f"{_text(name)} {value:.4g}" if isinstance(value, float) else f"{_text(name)} {_text(value)}"
        for name, value in setting.items()
    )


def _text(value: Any, most: int = 40) -> str:
    """A text that Plotly shows as it is, cut to a length."""
    text = str(value)
    return html.escape(text if len(text) <= most else text[: most - 1] + "…")
