"""The HTML that a notebook shows of a sweep: small tables and a curve, in which every value is escaped."""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jinja2 import Template

MOST = 10  # rows of a table
_TEMPLATE = """
<div><p><b>{{ title }}</b>{% if text %} {{ text }}{% endif %}</p>
{% if curve %}
<svg width="260" height="70" viewBox="0 0 260 70" role="img" aria-label="{{ label }}">
<polyline points="{{ curve }}" fill="none" stroke="#0072b2" stroke-width="1.5"/></svg><br><small>{{ label }}</small>
{% endif %}
<table><thead><tr>{% for name in header %}<th>{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for value in row %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table>{% if more %}<p>and {{ more }} more</p>{% endif %}</div>
"""


def to_html(
    title: str,
    rows: Sequence[Mapping[str, object]],
    *,
    text: str = "",
    curve: np.ndarray | None = None,
    label: str = "",
    total: int | None = None,
) -> str | None:
    """A table with a title and a small curve, as HTML for a notebook.

    Args:
        title: the title.
        rows: the rows of the table; the names of the first are its head.
        text: the text after the title.
        curve: [points], float; those that are not finite are left out.
        label: the label of the curve.
        total: number of rows that there are, where the table has fewer.

    Returns:
        The HTML; None without jinja2, so that a notebook shows the plain text.
    """
    try:
        template = _template()
    except ImportError:
        return None
    header = list(rows[0]) if rows else []
    return template.render(
        title=title,
        text=text,
        header=header,
        rows=[[_written(row.get(name, "")) for name in header] for row in rows],
        curve=_points(curve),
        label=label,
        more=max((len(rows) if total is None else total) - len(rows), 0),
    )


@functools.cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE)


def _written(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _points(curve: np.ndarray | None) -> str:
    """The points of a line in a picture of 260 times 70."""
    known = np.zeros(0) if curve is None else curve[np.isfinite(curve)]
    if len(known) < 2:
        return ""
    low, span = known.min(), max(np.ptp(known), 1e-300)
    across = np.linspace(4, 256, len(known))
    up = 66 - 62 * (known - low) / span
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, up, strict=True))
