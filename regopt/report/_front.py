"""The figure of a Pareto front."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from regopt.report._axes import BLUE, GREY, label, layout

if TYPE_CHECKING:
    import pandas


def front_figure(table: "pandas.DataFrame", metrics: Sequence[str], modes: Mapping[str, str]) -> go.Figure:
    """All settings over two metrics, and those of the front joined by a line.

    Args:
        table: one row for each setting, with the metrics and ``on_front``.
        metrics: their names; the first is across, the second up.
        modes: "min" or "max" for each.

    Returns:
        The figure.
    """
    x, y = metrics[:2]
    figure = go.Figure(layout=layout(height=420))
    front = table.loc[table["on_front"]].sort_values(by=[x])
    for name, part, mode, colour in (
        ("others", table[~table["on_front"]], "markers", GREY),
        ("front", front, "lines+markers" if len(metrics) == 2 else "markers", BLUE),
    ):
        figure.add_scatter(
            x=part[x].tolist(),
            y=part[y].tolist(),
            customdata=part.index.tolist(),
            mode=mode,
            name=name,
            marker={"color": colour, "size": 8},
            line={"color": colour},
            hovertemplate="setting %{customdata}: %{x:.4g}, %{y:.4g}<extra></extra>",
        )
    better = {"min": "smaller is better", "max": "larger is better"}
    figure.update_xaxes(title=f"{label(x)} ({better[modes[x]]})")
    return figure.update_yaxes(title=f"{label(y)} ({better[modes[y]]})")
