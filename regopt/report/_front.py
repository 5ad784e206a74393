"""The figure of a Pareto front."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects


def front_figure(
    table: "pandas.DataFrame", metrics: Sequence[str], modes: Mapping[str, str]
) -> "plotly.graph_objects.Figure":
    """All settings over two metrics, and those of the front joined by a line.

    Args:
        table: one row for each setting, with the metrics and ``on_front``.
        metrics: their names; the first is across, the second up.
        modes: "min" or "max" for each.

    Returns:
        The figure.

    Raises:
        ImportError: plotly is not installed.

    Example:
        >>> import pandas as pd
        >>> from regopt.report import front_figure
        >>> table = pd.DataFrame({"loss": [0.1, 0.2, 0.4], "size": [9, 4, 8], "on_front": [True, True, False]})
        >>> front_figure(table, ["loss", "size"], {"loss": "min", "size": "min"}).data[1].x
        (0.1, 0.2)
    """
    import plotly.graph_objects as go

    from regopt.report._axes import BLUE, GREY, label, layout

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
