"""The figures of several numbers at once: contours of the metric over two of them, parallel coordinates over all.

The better a setting, the darker its colour.
"""

import numpy as np
import plotly.graph_objects as go

from regopt.report._axes import (
    FEW,
    GOOD_IS_DARK,
    INK,
    STAR,
    Options,
    axis,
    is_log,
    label,
    layout,
    log_ticks,
    rounded,
    shortened,
    spans_decades,
    window_of,
)
from regopt.report._findings import Findings
from regopt.report._selection import important, neighbours, sampled

DOT = {"size": 4, "color": INK, "opacity": 0.35}


def parallel(findings: Findings) -> go.Figure | None:
    """One line for each setting through all numbers that vary; None where nothing varies or one setting is left."""
    rows = findings.order[::-1]
    if not findings.varying or len(rows) < 2:
        return None
    rank = np.linspace(0, 1, len(rows)) ** 2  # gives most of the colours to the better half
    dimensions = [
        _dimension(name, findings.table[name].iloc[rows].to_numpy(), findings.is_number(name), is_log(findings, name))
        for name in important(findings)
    ]
    window = window_of(findings.values, findings.mode)
    values = np.clip(findings.values[rows], window.low, window.high)  # a few absurd values would hide all others
    dimensions.append(_dimension(findings.monitor, values, numeric=True, log=spans_decades(values)))
    line = {"color": rank, "colorscale": GOOD_IS_DARK, "cmin": 0, "cmax": 1}
    figure = go.Figure(go.Parcoords(line=line, dimensions=dimensions, labelangle=0, tickfont={"size": 12}))
    return figure.update_layout(**layout(height=380, margin={"l": 70, "r": 80, "t": 50, "b": 24}))


def contour(findings: Findings, x: str, y: str) -> go.Figure:
    """The metric as a surface over two numbers, with the settings as dots and the best one as a star."""
    across, up, heights = surface(findings, x, y)
    figure = go.Figure(layout=layout(height=460))
    hover = f"{label(x)} %{{x:.3g}}<br>{label(y)} %{{y:.3g}}<br>about %{{text}}<extra></extra>"
    figure.add_contour(x=across, y=up, hovertemplate=hover, **_heights(findings, heights))
    columns = findings.table[x].to_numpy(float), findings.table[y].to_numpy(float)
    every = sampled(findings)
    best = np.isin(every, findings.best_rows)
    for rows, marker in ((every[~best], DOT), (every[best], STAR)):
        figure.add_scatter(
            x=rounded(columns[0][rows]),
            y=rounded(columns[1][rows]),
            customdata=np.column_stack([rows, findings.values[rows]]),
            mode="markers",
            marker=marker,
            hovertemplate="setting %{customdata[0]}: %{customdata[1]:.4g}<extra></extra>",
            showlegend=False,
        )
    figure.update_xaxes(title=label(x), range=_ends(across, is_log(findings, x)), **axis(findings, x))
    return figure.update_yaxes(title=label(y), range=_ends(up, is_log(findings, y)), **axis(findings, y))


def _heights(findings: Findings, heights: np.ndarray) -> Options:
    """The values of a contour with their colours; the worst tenth of the settings has the last colour."""
    window = window_of(findings.values, findings.mode, keep=0.9)
    clipped = np.clip(heights, window.low, window.high)
    bar: Options = {"title": {"text": label(findings.monitor), "side": "right"}, "thickness": 12}
    if window.log:
        ticks, texts = log_ticks(window.low, window.high)
        bar |= {"tickvals": np.log10(ticks), "ticktext": texts}
    return {
        "z": rounded(np.log10(clipped) if window.log else clipped),
        "text": [[f"{value:.4g}" for value in row] for row in heights],
        "colorscale": GOOD_IS_DARK if findings.mode == "max" else [[1 - at, c] for at, c in reversed(GOOD_IS_DARK)],
        "ncontours": 14,
        "line": {"width": 0.5, "color": "rgba(255,255,255,0.6)"},
        "colorbar": bar,
    }


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


def _dimension(name: str, values: np.ndarray, numeric: bool, log: bool) -> Options:
    """One axis of the parallel coordinates."""
    title = label(name, 22)
    if not numeric:
        texts = [shortened(value, 14) for value in values]  # Plotly does not read these as HTML
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


def _ends(axis: np.ndarray, log: bool) -> list[float]:
    """The range of an axis as Plotly takes it: in decades where the axis is logarithmic."""
    return [float(end) for end in (np.log10(axis[[0, -1]]) if log else axis[[0, -1]])]
