"""One HTML page with everything that a sweep found, which opens without a network and without this package.

What is the best setting, where does it lie, which number matters, what diverged: in that order. The page holds its
data as JSON, Plotly's library once, and a few lines of JavaScript; a content policy lets the browser run these
scripts alone and load nothing. Every text from the tables is escaped. This file is not for drawing
(`regopt.report.figures`).
"""

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regopt.artifacts import write_text
from regopt.report import figures
from regopt.report.findings import Findings, plain

HERE = Path(__file__).parent
COLOURS = {"done": "#0072b2", "stopped": "#009e73", "cut": "#cc79a7", "diverged": "#d55e00"}  # Okabe and Ito (2008)
MOST_DIVERGED = 50  # rows of their table


def write_page(path: str | Path, findings: Findings) -> None:
    """Write the page of a sweep; see ``page``.

    Args:
        path: the ``.html`` file, written whole or not at all.
        findings: what to report.
    """
    write_text(Path(path), page(findings))


def page(findings: Findings) -> str:
    """The page of a sweep, with curves and points of a large one thinned out and said to be so.

    Args:
        findings: what to report.

    Returns:
        The text of one self-contained HTML file, about 5 MB of which are Plotly's library.
    """
    from plotly.offline import get_plotlyjs

    drawn: dict[str, Any] = {}
    sections = [
        ("best", "The best setting", _best(findings, drawn)),
        ("where", "Where it lies", _where(findings, drawn)),
        ("matters", "Which number matters", _matters(findings, drawn)),
        ("diverged", "What diverged", _diverged(findings)),
        ("curves", "Learning curves", _curves(findings, drawn)),
        ("all", "All settings", _settings(findings)),
        ("config", "Config and versions", _config(findings)),
    ]
    scripts = [get_plotlyjs(), (HERE / "page.js").read_text(encoding="utf-8")]
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    # 'unsafe-eval' since Plotly compiles the shaders' bindings of parallel coordinates
    policy = (
        f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    written = {name: json.loads(figure.to_json()) for name, figure in drawn.items()}
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(findings.title)}</title>",
        f"<style>{(HERE / 'page.css').read_text(encoding='utf-8')}</style></head><body>",
        _header(findings),
        "<nav><div>",
        *(f'<a href="#{name}">{title}</a>' for name, title, _ in sections),
        "</div></nav><main>",
        "<noscript><p class='warn'>Figures and the table of all settings need JavaScript.</p></noscript>",
        *(f'<section id="{name}"><h2>{title}</h2>{text}</section>' for name, title, text in sections),
        "</main>",
        _data("figures", written),
        _data("table", _columns(findings)),
        *(f"<script>{script}</script>" for script in scripts),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _header(findings: Findings) -> str:
    table = findings.table
    counts = table["status"].value_counts()
    chips = "".join(
        f'<li><i style="background:{COLOURS.get(str(status), "#9aa5b1")}"></i>{count:,} {html.escape(str(status))}</li>'
        for status, count in counts.items()
    )
    better = "smaller" if findings.mode == "min" else "larger"
    most = int(findings.curves["step"].max()) if findings.curves.sizes["step"] else 0
    text = (
        f"<header><div><h1>{html.escape(findings.title)}</h1><div class='soft'>{len(table):,} settings of "
        f"{_words(map(_name, findings.varying)) or 'nothing that varies'}, up to {most:,} steps; "
        f"{_name(findings.monitor)}, {better} is better</div><ul class='chips'>{chips}</ul>"
    )
    if unfinished := int(np.sum(~table["status"].isin(["done", "stopped", "diverged", "cut"]))):
        text += (
            f"<p class='warn'>Not finished: {unfinished:,} settings were still to be trained when this was read.</p>"
        )
    return text + "</div></header>"


def _best(findings: Findings, drawn: dict[str, Any]) -> str:
    if not len(findings.order):
        return "<p class='warn'>No setting has a finite value: all diverged or none was trained.</p>"
    row = int(findings.order[0])
    table = findings.table
    others = "".join(f"<br>{_name(m)} {_short(table[m].iloc[row])}" for m in findings.metrics[1:])
    places = [_place(findings, name, row) for name in findings.varying if name not in figures.REPEATED]
    repeat = "".join(f"{_name(n)} {_short(table[n].iloc[row])}, " for n in findings.varying if n in figures.REPEATED)
    text = (
        f"<div class='best'><div><div class='soft'>{_name(findings.monitor)}</div>"
        f"<div class='value'>{_short(table[findings.monitor].iloc[row])}</div>"
        f"<div class='note'>setting {row}, {repeat}{html.escape(str(table['status'].iloc[row]))}, kept at step "
        f"{int(table['kept_step'].iloc[row]):,}{others}</div></div>"
        f"<div class='ranges'>{''.join(line for line, _ in places)}</div></div>"
    )
    text += _copied(findings.setting(row))
    if edges := [edge for _, edge in places if edge]:
        text += f"<p class='warn'>At the edge of what was tried: {_words(edges)}. The best may lie beyond.</p>"
    return text + _over_repeats(findings, row, drawn)


def _over_repeats(findings: Findings, row: int, drawn: dict[str, Any]) -> str:
    """What the mean over seeds says, and whether it agrees."""
    if findings.repeats is None:
        return ""
    first = findings.repeats.iloc[0]
    names = [name for name in findings.names if name not in figures.REPEATED]
    best = {name: plain(first[name]) for name in names}
    same = all(_same(best[name], findings.setting(row)[name]) for name in names)
    interval = "" if math.isnan(first["low"]) else f" ({_short(first['low'])} to {_short(first['high'])})"
    mean = f"{_name(findings.monitor)} {_short(first['mean'])}{interval} over {int(first['count'])} repeats"
    drawn["means"] = figures.means(findings)
    said = f"It also has the best mean: {mean}." if same else f"Another setting has the best mean: {mean}."
    return (
        f"<h3>Over its repeats</h3><p>{said} {'' if same else 'A single best run owes part of its place to its seed.'}"
        f"</p>{'' if same else _copied(best)}{_figure('means')}"
        "<p class='note'>The best means with their 95 % intervals (Student's). The best of many is chosen with the "
        "same runs, so its mean flatters it: judge it on fresh seeds.</p>"
    )


def _where(findings: Findings, drawn: dict[str, Any]) -> str:
    if not len(findings.order) or not findings.varying:
        return "<p>Nothing varies.</p>"
    text = "<h3>One number at a time</h3><div class='slices'>"
    for at, (_, figure) in enumerate(figures.slices(findings).items()):
        drawn[f"slice{at}"] = figure
        text += _figure(f"slice{at}")
    count, shown = len(findings.order), len(figures.sampled(findings))
    thinned = f" {shown:,} of {count:,} are shown: the best {figures.MOST_POINTS // 5}, the others evenly by rank."
    text += (
        "</div><p class='note'>Star: the best. Crosses at the edge: diverged. Every dot is a setting, so the spread at "
        f"one value is what the other numbers do.{thinned if shown < count else ''}</p>"
    )
    pairs = figures.contours(findings)
    for at, figure in enumerate(pairs.values()):
        drawn[f"contour{at}"] = figure
    if pairs:
        near = figures.neighbours(findings)
        between = f"the median of the {near} nearest settings" if near > 1 else "the nearest setting"
        text += (
            f"<h3>Two numbers at a time</h3>{_select('contour', pairs)}{_figure('contour0', 'contour')}"
            f"<p class='note'>Colour: {_name(findings.monitor)} of {between}, darker is better; the worst tenth has the "
            "last colour.</p>"
        )
    if drawn.setdefault("parallel", figures.parallel(findings)) is None:
        del drawn["parallel"]
        return text
    width = 130 * (len(findings.varying) + 1)
    return text + (
        f"<h3>All at once</h3><div class='scroll'><div style='min-width:{width}px'>{_figure('parallel')}</div></div>"
        "<p class='note'>A line is a setting, the better the darker; those that diverged are left out. Drag along an "
        "axis to keep a range of it.</p>"
    )


def _matters(findings: Findings, drawn: dict[str, Any]) -> str:
    figure, explained = figures.importance(findings), findings.explained
    if figure is None or explained is None:
        return "<p>Too few settings to say: an importance needs 20 that differ, and a number that varies.</p>"
    drawn["importance"] = figure
    r2 = explained["r2"]
    worth = (
        "so the shares say little"
        if r2 < 0.3
        else "so read the shares with care"
        if r2 < 0.7
        else "so the shares can be relied upon"
    )
    return (
        f"<p>A random forest that is shown some of the settings orders the others with an R<sup>2</sup> of "
        f"<b>{r2:.2f}</b> ({explained['low']:.2f} to {explained['high']:.2f}), {worth}.</p>{_figure('importance')}"
        "<p class='note'>Half of what R<sup>2</sup> loses on held-out settings when a number is shuffled among them: the "
        "share of the variance of the ranks that it takes part in, alone or with others. Bars: 95 % intervals over "
        "the splits. Diverged settings rank last.</p>"
    )


def _diverged(findings: Findings) -> str:
    bad = np.flatnonzero(findings.diverged)
    if not len(bad):
        return "<p>Nothing did: every metric, gradient step and state stayed finite.</p>"
    text = f"<p>{len(bad):,} of {len(findings.table):,} settings met a NaN or an infinity and were trained no further. "
    found = findings.separations
    if found is not None and len(found):
        first = found.iloc[0]
        place = f"{_name(first['number'])} {html.escape(str(first['where']))}"
        inside, outside = int(first["inside"]), int(first["outside"])
        counts = f"{int(first['diverged_inside'])} of {inside} diverged there, {int(first['diverged_outside'])} of {outside} elsewhere"
        weak = (
            "No single number parts them from the others; the nearest is "
            if first["gain"] < 0.3
            else "What parts them best: "
        )
        text += f"{weak}<b>{place}</b> ({counts})."
    shown = bad[np.argsort(findings.table["first_bad_step"].iloc[bad].to_numpy(float), kind="stable")][:MOST_DIVERGED]
    heads = ["setting", "first bad step", *findings.varying]
    lines = [
        [row, findings.table["first_bad_step"].iloc[row], *(findings.setting(row)[n] for n in findings.varying)]
        for row in map(int, shown)
    ]
    text += f"</p><div class='tall'>{_table(heads, lines)}</div>"
    if len(shown) < len(bad):
        text += (
            f"<p class='note'>The first {len(shown)}, by their first bad step; the others are in the table of all.</p>"
        )
    return text


def _curves(findings: Findings, drawn: dict[str, Any]) -> str:
    metrics = findings.metrics
    for at, metric in enumerate(metrics):
        drawn[f"curves{at}"] = figures.curves(findings, metric)
    count, steps = len(findings.order), findings.curves.sizes["step"]
    said = (
        "All settings"
        if count <= 3 * figures.EACH
        else f"The best, middle and worst {figures.EACH} of {count:,} settings"
    )
    bad = int(findings.diverged.sum())
    said += f", and {min(bad, figures.EACH)} of {bad} that diverged" if bad else ""
    said += f"; {figures.MOST_STEPS} of {steps:,} evaluations" if steps > figures.MOST_STEPS else ""
    select = _select("curve", metrics) if len(metrics) > 1 else ""
    return f"{select}{_figure('curves0', 'curve')}<p class='note'>{said}. The thick line is the best.</p>"


def _settings(findings: Findings) -> str:
    statuses = "".join(f"<option>{html.escape(str(s))}</option>" for s in findings.table["status"].unique())
    heads = "".join(
        f"<th{_class(column)} scope='col' title='{html.escape(name)}'><button>{html.escape(name)}</button></th>"
        for name, column in _shown(findings)
    )
    return (
        "<div class='bar'><label>Show <select id='filter'><option value=''>all</option>"
        f"{statuses}</select></label><span class='note'>Click on a name to sort; point at a number for all its digits."
        f"</span></div><div class='tall'><table id='settings'><thead><tr>{heads}</tr></thead><tbody></tbody></table></div>"
        "<p><button id='more' hidden></button></p>"
    )


def _config(findings: Findings) -> str:
    parts = []
    for title, values in (("Config", findings.config), ("Versions", findings.versions)):
        rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in _flat(values))
        parts.append(
            f"<div><h3>{title}</h3><table><tbody>{rows or '<tr><td>not recorded</td></tr>'}</tbody></table></div>"
        )
    return f"<div class='pairs'>{''.join(parts)}</div>"


def _place(findings: Findings, name: str, row: int) -> tuple[str, str]:
    """A line that shows where a value lies in what was tried, and words if that is at an end of it."""
    column, value = findings.table[name], findings.setting(row)[name]
    head = f"<span>{_name(name)}</span><b title='{html.escape(repr(value))}'>{_short(value)}</b>"
    if not findings.is_number(name):
        levels = list(dict.fromkeys(map(str, column)))
        marked = (f"<mark>{_name(x)}</mark>" if x == str(value) else _name(x) for x in levels[:8])
        return f"{head}<div class='levels'>{' '.join(marked)}{' …' if len(levels) > 8 else ''}</div>", ""
    numbers = column.to_numpy(float)
    known = numbers[np.isfinite(numbers)]
    low, high = known.min(), known.max()
    scale = np.log if figures.is_log(findings, name) else float
    at = float((scale(value) - scale(low)) / (scale(high) - scale(low)))
    line = (
        f"{head}<div class='range'><span>{low:.3g}</span><div class='track'><i style='left:{100 * at:.1f}%'></i></div>"
        f"<span>{high:.3g}</span></div>"
    )
    ends = {True: "the low end", False: "the high end"}
    edge = len(np.unique(known)) > 2 and not 0.02 < at < 0.98
    return line, f"{ends[at < 0.5]} of {_name(name)}" if edge else ""


def _columns(findings: Findings) -> dict[str, Any]:
    """The whole table by columns, as strict JSON: what is missing is null, what is not finite is text."""
    columns = [
        {"text": bool(_class(column)), "values": [_json(value) for value in column]} for _, column in _shown(findings)
    ]
    others = np.setdiff1d(np.arange(len(findings.table)), findings.order)
    order = np.concatenate([findings.order, others])
    best = int(order[0]) if len(findings.order) else -1
    status = [str(value) for value in findings.table["status"]]
    return {"columns": columns, "order": order.tolist(), "best": best, "status": status}


def _shown(findings: Findings) -> Iterator[tuple[str, Any]]:
    """The columns of the table of all settings: the metric first, then the numbers."""
    table = findings.table
    yield "setting", list(range(len(table)))
    first = [findings.monitor, *findings.names, *findings.metrics[1:]]
    for name in [*first, *(name for name in table if name not in first)]:
        yield str(name), table[name].tolist()


def _class(column: Sequence[Any]) -> str:
    return " class='text'" if any(isinstance(value, str) for value in column) else ""


def _json(value: Any) -> Any:
    value = plain(value)
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    return value if isinstance(value, int | str | bool) else str(value)


def _data(name: str, value: Any) -> str:
    """A block of JSON in which no text can end the block."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _figure(name: str, holder: str = "") -> str:
    return f'<div class="figure" id="{holder or f"figure-{name}"}" data-figure="{name}"></div>'


def _select(holder: str, titles: Sequence[str] | Mapping[str, Any]) -> str:
    prefix = {"contour": "contour", "curve": "curves"}[holder]
    options = "".join(f'<option value="{prefix}{at}">{html.escape(title)}</option>' for at, title in enumerate(titles))
    return f'<select data-for="{holder}" aria-label="which {holder}">{options}</select>'


def _copied(setting: Mapping[str, Any]) -> str:
    return f"<div class='copy'><pre>{html.escape(repr(dict(setting)))}</pre><button>Copy</button></div>"


def _table(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th scope='col'>{html.escape(head)}</th>" for head in heads)
    rows = "".join(f"<tr>{''.join(f'<td>{_short(value)}</td>' for value in line)}</tr>" for line in lines)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _same(a: Any, b: Any) -> bool:
    return a == b or repr(a) == repr(b)  # NaN too


def _name(text: Any) -> str:
    return html.escape(str(text))


def _short(value: Any) -> str:
    value = plain(value)
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))


def _words(parts: Any) -> str:
    listed = list(parts)
    return " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else "".join(listed)
