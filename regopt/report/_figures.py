"""The figures of a report, as Plotly figures: where the best settings lie, what matters, how they learnt.

Darker is better wherever colour stands for the metric. Axes are logarithmic where positive numbers span more than a
factor of ten. All text from the tables is escaped, since Plotly reads labels as HTML. This file is not for choosing
what is said about the figures (`regopt.report.page`).
"""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from regopt.report._axes import (
    FEW,
    GREY,
    INK,
    Window,
    axis,
    cut,
    is_log,
    label,
    layout,
    log_ticks,
    metric_range,
    rounded,
    spans_decades,
    window_of,
)
from regopt.report._findings import Findings

BLUE, VERMILLION, GREEN = "#0072b2", "#d55e00", "#009e73"  # Okabe and Ito (2008)
GOOD_IS_DARK = [[0.0, "#e8edf2"], [0.4, "#a5c4de"], [0.7, "#4a8fc4"], [0.9, "#14588f"], [1.0, "#062a4f"]]
STAR = {"size": 16, "color": "#e69f00", "symbol": "star", "line": {"color": INK, "width": 1}}
MOST_POINTS = 1000  # of a scatter; more make a page slow and say no more
MOST_STEPS = 200  # of a curve
EACH = 20  # best, middle and worst curves of a large sweep
REPEATED = ("seed", "replica")  # names that repeat a setting rather than change it


def slices(findings: Findings) -> dict[str, go.Figure]:
    """The metric against each number that varies; crosses at the edge are settings that diverged."""
    window = window_of(findings.values, findings.mode)
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
    window = window_of(findings.values, findings.mode)
    values = np.clip(findings.values[rows], window.low, window.high)  # a few absurd ones would hide all others
    dimensions.append(_dimension(findings.monitor, values, numeric=True, log=spans_decades(values)))
    line = {"color": rank, "colorscale": GOOD_IS_DARK, "cmin": 0, "cmax": 1}
    figure = go.Figure(go.Parcoords(line=line, dimensions=dimensions, labelangle=0, tickfont={"size": 12}))
    return figure.update_layout(**layout(height=380, margin={"l": 70, "r": 80, "t": 50, "b": 24}))


def importance(findings: Findings) -> go.Figure | None:
    """The share of each number with its interval, the largest on top; None where it is not known."""
    if findings.importance is None:
        return None
    bars = findings.importance.iloc[::-1]
    share = bars["share"].to_numpy()
    ends = {"array": bars["high"].to_numpy() - share, "arrayminus": share - bars["low"].to_numpy()}
    bar = go.Bar(
        x=share,
        y=[label(name) for name in bars.index],
        orientation="h",
        marker={"color": BLUE},
        error_x={"type": "data", "symmetric": False, "color": INK, "thickness": 1.2, **ends},
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )
    figure = go.Figure(bar, layout(height=90 + 34 * len(bars)))
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
    figure = go.Figure(dots, layout(height=110 + 18 * len(best)))
    figure.update_xaxes(title=label(f"{findings.monitor}, mean over repeats", 80))
    return figure.update_yaxes(title="place", type="category", showgrid=False)


def curves(findings: Findings, metric: str) -> go.Figure:
    """Learning curves: all of a small sweep, else the best, middle and worst ones, over the range of 80 % of all."""
    steps = findings.curves["step"].to_numpy()
    values = findings.curves[metric].to_numpy()
    at = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_STEPS)).astype(int))
    steps, values = steps[at], values[:, at]
    figure = go.Figure(layout=layout(height=420))
    window = window_of(values[findings.order].ravel(), findings.mode if metric == findings.monitor else "min")
    if len(findings.order) > 3 * EACH:
        _band(figure, steps, values[findings.order])
    for name, colour, rows in reversed(groups(findings)):
        for place, row in enumerate(rows):
            best = name == "best" and place == 0
            figure.add_scatter(
                x=steps,
                y=rounded(values[row]),
                mode="lines+markers" if len(steps) == 1 else "lines",
                line={"color": colour, "width": 3 if best else 1},
                opacity=1 if best else 0.55,
                name=name,
                legendgroup=name,
                showlegend=place == 0,
                hovertemplate=f"setting {row}: %{{y:.4g}} at step %{{x}}<extra></extra>",
            )
    figure.update_xaxes(title="training step")
    figure.update_yaxes(title=label(metric), **metric_range(window))
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


def _slice(findings: Findings, name: str, rows: np.ndarray, window: Window) -> go.Figure:
    column = findings.table[name]
    bad = np.flatnonzero(findings.diverged)
    bad = bad[np.linspace(0, len(bad) - 1, min(len(bad), MOST_POINTS // 5)).astype(int)]
    edge = window.high if findings.mode == "min" else window.low
    figure = go.Figure(layout=layout(height=300, margin={"l": 56, "r": 12, "t": 12, "b": 48}))

    def add(rows: np.ndarray, y: Any, said: str, **marker: Any) -> None:
        x = column.iloc[rows]
        figure.add_scatter(
            x=rounded(x.to_numpy()) if findings.is_number(name) else [label(value, 16) for value in x],
            y=y,
            mode="markers",
            marker=marker,
            customdata=rows,
            hovertemplate=f"setting %{{customdata}}<br>{label(name)} %{{x}}<br>{said}<extra></extra>",
            showlegend=False,
            cliponaxis=False,
        )

    metric = f"{label(findings.monitor)} %{{y:.4g}}"
    add(rows[1:], rounded(findings.values[rows[1:]]), metric, color=BLUE, size=6, opacity=0.45)
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
    figure.update_xaxes(title=label(name), **axis(findings, name))
    return figure.update_yaxes(title=label(findings.monitor), **metric_range(window))


def _contour(findings: Findings, x: str, y: str) -> go.Figure:
    rows = findings.order
    values = findings.values
    across, up, heights = surface(findings, x, y)
    window = window_of(values, findings.mode, keep=0.9)
    figure = go.Figure(layout=layout(height=460))
    colours = GOOD_IS_DARK if findings.mode == "max" else [[1 - at, c] for at, c in reversed(GOOD_IS_DARK)]
    clipped = np.clip(heights, window.low, window.high)
    ticks, texts = log_ticks(window.low, window.high)
    bar = {"title": {"text": label(findings.monitor), "side": "right"}, "thickness": 12}
    figure.add_contour(
        x=across,
        y=up,
        z=rounded(np.log10(clipped) if window.log else clipped),
        text=[[f"{value:.4g}" for value in row] for row in heights],
        colorscale=colours,
        ncontours=14,
        line={"width": 0.5, "color": "rgba(255,255,255,0.6)"},
        colorbar={**bar, "tickvals": np.log10(ticks), "ticktext": texts} if window.log else bar,
        hovertemplate=f"{label(x)} %{{x:.3g}}<br>{label(y)} %{{y:.3g}}<br>about %{{text}}<extra></extra>",
    )
    shown = sampled(findings)
    tables = findings.table[x].to_numpy(float), findings.table[y].to_numpy(float)
    for some, style in ((shown[1:], {"size": 4, "color": INK, "opacity": 0.35}), (rows[:1], STAR)):
        figure.add_scatter(
            x=rounded(tables[0][some]),
            y=rounded(tables[1][some]),
            customdata=np.column_stack([some, values[some]]),
            mode="markers",
            marker=style,
            hovertemplate="setting %{customdata[0]}: %{customdata[1]:.4g}<extra></extra>",
            showlegend=False,
        )
    figure.update_xaxes(title=label(x), range=_ends(across, is_log(findings, x)), **axis(findings, x))
    return figure.update_yaxes(title=label(y), range=_ends(up, is_log(findings, y)), **axis(findings, y))


def neighbours(findings: Findings) -> int:
    """How many settings are averaged for a point of a contour; 1 where no other number varies."""
    others = [name for name in findings.varying if name not in ("seed", "replica")]
    return max(1 if len(others) <= 2 else 3, round(len(findings.order) / 60))


def surface(findings: Findings, x: str, y: str, points: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The median metric of the nearest settings, on a grid over the range of two numbers."""
    from scipy.spatial import KDTree

    rows = findings.order
    rows = rows[np.isfinite(findings.table[[x, y]].iloc[rows].to_numpy(float)).all(axis=1)]
    columns = [findings.table[name].iloc[rows].to_numpy(float) for name in (x, y)]
    logs = [is_log(findings, name) for name in (x, y)]
    scaled = [np.log10(c) if log else c for c, log in zip(columns, logs, strict=True)]
    low, span = [c.min() for c in scaled], [max(np.ptp(c), 1e-300) for c in scaled]
    unit = np.column_stack([(c - a) / s for c, a, s in zip(scaled, low, span, strict=True)])
    line = np.linspace(0, 1, points)
    grid = np.stack(np.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)
    count = min(neighbours(findings), len(rows))
    near = KDTree(unit).query(grid, k=count)[1].reshape(len(grid), count)
    heights = np.median(findings.values[rows][near], axis=1).reshape(points, points)
    axes = [a + s * line for a, s in zip(low, span, strict=True)]
    across, up = (10**axis if log else axis for axis, log in zip(axes, logs, strict=True))
    return across, up, heights


def _dimension(name: str, values: np.ndarray, numeric: bool, log: bool) -> dict[str, Any]:
    """One axis of the parallel coordinates."""
    title = label(name, 22)
    if not numeric:
        texts = [cut(value, 14) for value in values]  # not read as HTML here
        levels = sorted(set(texts))
        at = [levels.index(text) for text in texts]
        return {"label": title, "values": at, "tickvals": list(range(len(levels))), "ticktext": levels}
    values = values.astype(float)
    levels = np.unique(values)
    if log:
        ticks, texts = log_ticks(levels[0], levels[-1])
        return {"label": title, "values": rounded(np.log10(values)), "tickvals": np.log10(ticks), "ticktext": texts}
    few = {"tickvals": levels, "ticktext": [f"{level:g}" for level in levels]} if len(levels) <= FEW else {}
    return {"label": title, "values": rounded(values), **few}


def _band(figure: go.Figure, steps: np.ndarray, values: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        known = np.any(np.isfinite(values), axis=0)
        low, high = np.nanquantile(values[:, known], [0.1, 0.9], axis=0)
    for end, fill in ((low, None), (high, "tonexty")):
        figure.add_scatter(
            x=steps[known],
            y=rounded(end),
            mode="lines",
            line={"width": 0},
            fill=fill,
            fillcolor="rgba(154,165,177,0.25)",
            hoverinfo="skip",
            name="10 to 90 % of all",
            showlegend=fill is not None,
        )


def _ends(axis: np.ndarray, log: bool) -> list[float]:
    return [float(end) for end in (np.log10(axis[[0, -1]]) if log else axis[[0, -1]])]


def _said(setting: dict[str, Any]) -> str:
    return "<br>".join(
        f"{label(name)} {value:.4g}" if isinstance(value, float) else f"{label(name)} {label(value)}"
        for name, value in setting.items()
    )
