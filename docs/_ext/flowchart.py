"""The drawing of a ``mermaid`` flowchart as an inline SVG: without a script, without a network, in the page's colours.

Only what the pages use is understood: lines ``name["text"]`` and ``a --> b --> c``, drawn from the top down.
"""

import html
import itertools
import re
from collections.abc import Iterable

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

NODE = re.compile(r'^\s*(\w+)\["(.*)"\]\s*$')
WIDTH, HEIGHT, GAP = 230, 46, 34
LETTERS = 34  # in a line of a box


class Flowchart(SphinxDirective):
    """The directive ``mermaid``."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Draw the chart."""
        drawing = draw(self.content)
        return [nodes.raw("", f'<figure class="chart">{drawing}</figure>', format="html")]


def draw(lines: Iterable[str]) -> str:
    """Draw a flowchart as SVG."""
    labels, edges = {}, []
    for line in lines:
        if found := NODE.match(line):
            labels[found[1]] = _lines(found[2])
        elif "-->" in line:
            names = [name.strip() for name in line.split("-->")]
            edges += list(itertools.pairwise(names))
    rows = _rows(labels, edges)
    most = max(len(row) for row in rows)
    places, y = {}, 4.0
    for row in rows:
        height = max(len(labels[name]) for name in row) * 17 + 16
        for column, name in enumerate(row):
            x = (column + (most - len(row)) / 2) * (WIDTH + GAP) + 4
            places[name] = (x, y, height)
        y += height + GAP
    width = most * (WIDTH + GAP) - GAP + 8
    parts = [_box(labels[name], *places[name]) for name in labels]
    parts += [_arrow(places[start], places[end]) for start, end in edges]
    head = (
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 1 9 5 0 9"/></marker></defs>'
    )
    size = f'viewBox="0 0 {width} {y - GAP + 4:.0f}" width="{width}"'
    return f'<svg {size} role="img" xmlns="http://www.w3.org/2000/svg">{head}{"".join(parts)}</svg>'


def _lines(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _rows(labels: dict[str, list[str]], edges: list[tuple[str, str]]) -> list[list[str]]:
    """Put each node below all that point to it."""
    depth = dict.fromkeys(labels, 0)
    for _ in labels:
        for start, end in edges:
            depth[end] = max(depth[end], depth[start] + 1)
    return [[name for name in labels if depth[name] == level] for level in range(max(depth.values()) + 1)]


def _box(lines: list[str], x: float, y: float, height: float) -> str:
    texts = "".join(
        f'<text x="{x + WIDTH / 2}" y="{y + 21 + 17 * at}" text-anchor="middle">{html.escape(line)}</text>'
        for at, line in enumerate(lines)
    )
    return f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{height}" rx="6"/>{texts}'


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    x, y, height = start
    left, below, _ = end
    path = f"M{x + WIDTH / 2} {y + height} L{left + WIDTH / 2} {below - 2}"
    return f'<path d="{path}" marker-end="url(#head)"/>'


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("mermaid", Flowchart)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
