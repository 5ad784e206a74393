"""The figures of a page, as Plotly figures: where the best settings lie, which number matters, how settings learnt.

An axis is logarithmic where its numbers look logarithmically spaced. All text from the tables is escaped, since Plotly
reads labels as HTML. The words around the figures are in the template of the page.
"""

import json

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from regopt.report._axes import (
    BLUE,
    INK,
    STAR,
    VERMILLION,
    Options,
    Window,
    axis,
    label,
    layout,
    metric_range,
    rounded,
    window_of,
)
from regopt.report._findings import Findings
from regopt.report._landscape import contour, parallel
from regopt.report._selection import MOST_POINTS, MOST_STEPS, groups, important, is_small, pairs, sampled


def draw(findings: Findings) -> dict[str, go.Figure]:
    """Draw all figures of a page.

    Args:
        findings: the sweep.

    Returns:
        The figures by their names in the page: "means", "importance" and "parallel" where there is one, and as many
        as there are of "slice0", "contour0" and "curve0", each kind counted from 0.
    """
    series = {"curve": [curves(findings, metric) for metric in findings.metrics]}
    single = {"importance": importance(findings)}
    if len(findings.order):
        series |= {"slice": slices(findings), "contour": [contour(findings, x, y) for x, y in pairs(findings)]}
        single |= {"means": means(findings), "parallel": parallel(findings)}
    found = {f"{kind}{place}": figure for kind, drawn in series.items() for place, figure in enumerate(drawn)}
    return found | {name: figure for name, figure in single.items() if figure is not None}


def as_json(figure: go.Figure) -> Options:
    """A figure as JSON values, as Plotly's JavaScript takes them."""
    return json.loads(str(figure.to_json()))


def slices(findings: Findings) -> list[go.Figure]:
    """The metric against each number that varies; crosses at the edge are settings that diverged."""
    window = window_of(findings.values, findings.mode)
    rows = sampled(findings)
    return [_slice(findings, name, rows, window) for name in important(findings)]


def _slice(findings: Findings, name: str, rows: np.ndarray, window: Window) -> go.Figure:
    column = findings.table[name]
    bad = np.flatnonzero(findings.diverged)
    bad = bad[np.linspace(0, len(bad) - 1, min(len(bad), MOST_POINTS // 5)).astype(int)]
    edge = window.high if findings.mode == "min" else window.low
    figure = go.Figure(layout=layout(height=300, margin={"l": 56, "r": 12, "t": 12, "b": 48}))

    def add(rows: np.ndarray, y: ArrayLike, said: str, **marker: object) -> None:
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
    best = np.isin(rows, findings.best_rows)
    add(rows[~best], rounded(findings.values[rows[~best]]), metric, color=BLUE, size=6, opacity=0.45)
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
    add(rows[best], rounded(findings.values[rows[best]]), f"best: {metric}", **STAR)
    figure.update_xaxes(title=label(name), **axis(findings, name))
    return figure.update_yaxes(title=label(findings.monitor), **metric_range(window))


def importance(findings: Findings) -> go.Figure | None:
    """The share of each number with its interval, the largest on top; None where the importance is not known."""
    if findings.importance is None or findings.explained is None:
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
    figure.update_xaxes(title="share of the variance of the ranks", rangemode="tozero")
    return figure.update_yaxes(showgrid=False)


def means(findings: Findings, most: int = 20) -> go.Figure | None:
    """The best means over repeats with their intervals, one row each; None without repeats."""
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


def _said(setting: dict[str, object]) -> str:
    """A setting as lines of a hover text."""
    return "<br>".join(
        f"{label(name)} {value:.4g}" if isinstance(value, float) else f"{label(name)} {label(value)}"
        for name, value in setting.items()
    )


def curves(findings: Findings, metric: str) -> go.Figure:
    """Learning curves: all of a small sweep, else those of ``groups`` over a band that holds 80 % of all curves."""
    steps = findings.curves["step"].to_numpy()
    values = findings.curves[metric].to_numpy()
    at = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_STEPS)).astype(int))
    steps, values = steps[at], values[:, at]
    figure = go.Figure(layout=layout(height=420))
    window = window_of(
        values[findings.order].ravel(), findings.mode if metric == findings.monitor else findings.modes.get(metric)
    )
    stars = findings.best_rows
    if not is_small(findings):
        _band(figure, steps, values[findings.order])
    for name, colour, rows in reversed(groups(findings)):
        for place, row in enumerate(rows):
            best = row in stars
            figure.add_scatter(
                x=steps,
                y=rounded(values[row]),
                mode="lines+markers" if len(steps) == 1 else "lines",
                line={"color": colour, "width": 3 if best else 1},
                opacity=1 if best else 0.55,
                name=name,
                legendgroup=name,
                showlegend=place == 0,
                meta=int(row),
                hovertemplate=f"setting {row}: %{{y:.4g}} at step %{{x}}<extra></extra>",
            )
    figure.update_xaxes(title="training step")
    figure.update_yaxes(title=label(metric), **metric_range(window))
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "reversed"}
    return figure.update_layout(legend=legend)


def _band(figure: go.Figure, steps: np.ndarray, values: np.ndarray) -> None:
    """Add the range from the first to the last decile of the values at each step."""
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
