"""One HTML page with everything that a sweep found, which opens without a network and without this package.

What is the best setting, where does it lie, which number matters, what diverged: in that order. The page holds its
data as JSON, Plotly's library once, and a few lines of JavaScript; a content policy lets the browser run these
scripts alone and load nothing. Every text from the tables is escaped. This file is not for drawing
(`regopt.report.figures`).
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regopt._core.io import write_text
from regopt.report import _figures as figures
from regopt.report._axes import is_log, window_of
from regopt.report._findings import Findings, plain
from regopt.report._pieces import (
    copied,
    data_block,
    escaped,
    flat,
    holder,
    json_value,
    listed,
    plain_table,
    same,
    selector,
    written,
)

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
        f"<title>{escaped(findings.title)}</title>",
        f"<style>{(HERE / 'page.css').read_text(encoding='utf-8')}</style></head><body>",
        _header(findings),
        "<nav><div>",
        *(f'<a href="#{name}">{title}</a>' for name, title, _ in sections),
        "</div></nav><main>",
        "<noscript><p class='warn'>Figures and the table of all settings need JavaScript.</p></noscript>",
        *(f'<section id="{name}"><h2>{title}</h2>{text}</section>' for name, title, text in sections),
        "</main>",
        data_block("figures", written),
        data_block("table", _columns(findings)),
        *(f"<script>{script}</script>" for script in scripts),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _header(findings: Findings) -> str:
    table = findings.table
    counts = table["status"].value_counts()
    chips = "".join(
        f'<li><i style="background:{COLOURS.get(str(status), "#9aa5b1")}"></i>{count:,} {escaped(status)}</li>'
        for status, count in counts.items()
    )
    better = "smaller" if findings.mode == "min" else "larger"
    most = int(findings.curves["step"].max()) if findings.curves.sizes["step"] else 0
    text = (
        f"<header><div><h1>{escaped(findings.title)}</h1><div class='soft'>{len(table):,} settings of "
        f"{listed(map(escaped, findings.varying)) or 'nothing that varies'}, up to {most:,} steps; "
        f"{escaped(findings.monitor)}, {better} is better</div><ul class='chips'>{chips}</ul>"
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
    others = "".join(f"<br>{escaped(m)} {written(table[m].iloc[row])}" for m in findings.metrics[1:])
    places = [_place(findings, name, row) for name in findings.varying if name not in figures.REPEATED]
    repeat = "".join(f"{escaped(n)} {written(table[n].iloc[row])}, " for n in findings.varying if n in figures.REPEATED)
    text = (
        f"<div class='best'><div><div class='soft'>{escaped(findings.monitor)}</div>"
        f"<div class='value'>{written(table[findings.monitor].iloc[row])}</div>"
        f"<div class='note'>setting {row}, {repeat}{escaped(table['status'].iloc[row])}, kept at step "
        f"{int(table['kept_step'].iloc[row]):,}{others}</div></div>"
        f"<div class='ranges'>{''.join(line for line, _ in places)}</div></div>"
    )
    text += copied(findings.setting(row))
    if edges := [edge for _, edge in places if edge]:
        text += f"<p class='warn'>At the edge of what was tried: {listed(edges)}. The best may lie beyond.</p>"
    return text + _over_repeats(findings, row, drawn)


def _over_repeats(findings: Findings, row: int, drawn: dict[str, Any]) -> str:
    """What the mean over seeds says, and whether it agrees."""
    if findings.repeats is None:
        return ""
    first = findings.repeats.iloc[0]
    names = [name for name in findings.names if name not in figures.REPEATED]
    best = {name: plain(findings.repeats[name].iloc[0]) for name in names}  # a row would make all of them floats
    agrees = all(same(best[name], findings.setting(row)[name]) for name in names)
    interval = "" if math.isnan(first["low"]) else f" ({written(first['low'])} to {written(first['high'])})"
    mean = f"{escaped(findings.monitor)} {written(first['mean'])}{interval} over {int(first['count'])} repeats"
    drawn["means"] = figures.means(findings)
    said = f"It also has the best mean: {mean}." if agrees else f"Another setting has the best mean: {mean}."
    if not agrees:
        said += f" A single best run owes part of its place to its seed.{copied(best)}"
    return (
        f"<h3>Over its repeats</h3><div>{said}</div>{holder('means')}"
        "<p class='note'>The best means with their 95 % intervals (Student's). The best of many is chosen with the "
        "same runs, so its mean flatters it: judge it on fresh seeds.</p>"
    )


def _where(findings: Findings, drawn: dict[str, Any]) -> str:
    if not len(findings.order) or not findings.varying:
        return "<p>Nothing varies.</p>"
    text = "<h3>One number at a time</h3><div class='slices'>"
    for at, (_, figure) in enumerate(figures.slices(findings).items()):
        drawn[f"slice{at}"] = figure
        text += holder(f"slice{at}")
    count, shown = len(findings.order), len(figures.sampled(findings))
    beyond = window_of(findings.values, findings.mode).beyond
    cut = f" {beyond:,} that are worse than the end of the axis are not in sight." if beyond else ""
    thinned = f" {shown:,} of {count:,} are shown: the best {figures.MOST_POINTS // 5}, the others evenly by rank."
    text += (
        "</div><p class='note'>Star: the best. Crosses at the edge: diverged. Every dot is a setting, so the spread at "
        f"one value is what the other numbers do.{thinned if shown < count else ''}{cut}</p>"
    )
    pairs = figures.contours(findings)
    for at, figure in enumerate(pairs.values()):
        drawn[f"contour{at}"] = figure
    if pairs:
        near = figures.neighbours(findings)
        between = f"the median of the {near} nearest settings" if near > 1 else "the nearest setting"
        text += (
            f"<h3>Two numbers at a time</h3>{selector('contour', pairs)}{holder('contour0', 'contour')}"
            f"<p class='note'>Colour: {escaped(findings.monitor)} of {between}, darker is better; the worst tenth has "
            "the last colour.</p>"
        )
    if drawn.setdefault("parallel", figures.parallel(findings)) is None:
        del drawn["parallel"]
        return text
    width = 130 * (len(findings.varying) + 1)
    return text + (
        f"<h3>All at once</h3><div class='scroll'><div style='min-width:{width}px'>{holder('parallel')}</div></div>"
        "<p class='note'>A line is a setting, the better the darker; those that diverged are left out. Drag along an "
        "axis to keep a range of it.</p>"
    )


def _matters(findings: Findings, drawn: dict[str, Any]) -> str:
    figure, explained = figures.importance(findings), findings.explained
    if figure is None or explained is None:
        return "<p>Too few settings to say: an importance needs 20 that differ, and a number that varies.</p>"
    drawn["importance"] = figure
    r2, low, high = (x.item() for x in np.asarray(explained[["r2", "low", "high"]], float))
    worth = (
        "so the shares say little"
        if r2 < 0.3
        else "so read the shares with care"
        if r2 < 0.7
        else "so the shares can be relied upon"
    )
    return (
        f"<p>A random forest that is shown some of the settings orders the others with an R<sup>2</sup> of "
        f"<b>{r2:.2f}</b> ({low:.2f} to {high:.2f}), {worth}.</p>{holder('importance')}"
        "<p class='note'>Half of what R<sup>2</sup> loses on held-out settings when a number is shuffled among them: "
        "the share of the variance of the ranks that it takes part in, alone or with others. Bars: 95 % intervals over "
        "the splits. Diverged settings rank last.</p>"
    )


def _diverged(findings: Findings) -> str:
    bad = np.flatnonzero(findings.diverged)
    if not len(bad):
        return "<p>Nothing did: every metric, gradient step and state stayed finite.</p>"
    text = f"<p>{len(bad):,} of {len(findings.table):,} settings met a NaN or an infinity and were trained no further. "
    if findings.separations is not None and len(findings.separations):
        text += _separated(findings.separations.iloc[0].to_dict())
    first_bad = findings.table["first_bad_step"].iloc[bad].to_numpy(float)
    shown = bad[np.argsort(first_bad, kind="stable")][:MOST_DIVERGED]
    heads = ["setting", "first bad step", *findings.varying]
    lines = [
        [row, findings.table["first_bad_step"].iloc[row], *(findings.setting(row)[name] for name in findings.varying)]
        for row in map(int, shown)
    ]
    text += f"</p><div class='tall'>{plain_table(heads, lines)}</div>"
    if len(shown) < len(bad):
        text += (
            f"<p class='note'>The first {len(shown)}, by their first bad step; the others are in the table of all.</p>"
        )
    return text


def _separated(best: dict[str, Any]) -> str:
    """In words, the number that best parts what diverged from the rest."""
    counts = (
        f"{best['diverged_inside']} of {best['inside']} diverged there, "
        f"{best['diverged_outside']} of {best['outside']} elsewhere"
    )
    weak = best["gain"] < 0.3
    said = "No single number parts them from the others; the nearest is" if weak else "What parts them best:"
    return f"{said} <b>{escaped(best['number'])} {escaped(best['where'])}</b> ({counts})."


def _curves(findings: Findings, drawn: dict[str, Any]) -> str:
    metrics = findings.metrics
    for at, metric in enumerate(metrics):
        drawn[f"curve{at}"] = figures.curves(findings, metric)
    count, steps = len(findings.order), findings.curves.sizes["step"]
    said = (
        "All settings"
        if count <= 3 * figures.EACH
        else f"The best, middle and worst {figures.EACH} of {count:,} settings"
    )
    bad = int(findings.diverged.sum())
    said += f", and {min(bad, figures.EACH)} of {bad} that diverged" if bad else ""
    said += f"; {figures.MOST_STEPS} of {steps:,} evaluations" if steps > figures.MOST_STEPS else ""
    select = selector("curve", metrics) if len(metrics) > 1 else ""
    return f"{select}{holder('curve0', 'curve')}<p class='note'>{said}. The thick line is the best.</p>"


def _settings(findings: Findings) -> str:
    statuses = "".join(f"<option>{escaped(s)}</option>" for s in findings.table["status"].unique())
    heads = "".join(
        f"<th{_class(column)} scope='col' title='{escaped(name)}'><button>{escaped(name)}</button></th>"
        for name, column in _shown(findings)
    )
    return (
        "<div class='bar'><label>Show <select id='filter'><option value=''>all</option>"
        f"{statuses}</select></label><span class='note'>Click on a name to sort; point at a number for all its digits."
        f"</span></div><div class='tall'><table id='settings'><thead><tr>{heads}</tr></thead><tbody></tbody></table>"
        "</div><p><button id='more' hidden></button></p>"
    )


def _config(findings: Findings) -> str:
    parts = []
    for title, values in (("Config", findings.config), ("Versions", findings.versions)):
        rows = "".join(f"<tr><td>{escaped(k)}</td><td>{escaped(v)}</td></tr>" for k, v in flat(values))
        parts.append(
            f"<div><h3>{title}</h3><table><tbody>{rows or '<tr><td>not recorded</td></tr>'}</tbody></table></div>"
        )
    return f"<div class='pairs'>{''.join(parts)}</div>"


def _place(findings: Findings, name: str, row: int) -> tuple[str, str]:
    """A line that shows where a value lies in what was tried, and words if that is at an end of it."""
    column, value = findings.table[name], findings.setting(row)[name]
    head = f"<span>{escaped(name)}</span><b title='{escaped(repr(value))}'>{written(value)}</b>"
    if not findings.is_number(name):
        levels = list(dict.fromkeys(map(str, column)))
        marked = (f"<mark>{escaped(x)}</mark>" if x == str(value) else escaped(x) for x in levels[:8])
        return f"{head}<div class='levels'>{' '.join(marked)}{' …' if len(levels) > 8 else ''}</div>", ""
    if not math.isfinite(value):
        return f"{head}<span></span>", ""
    numbers = column.to_numpy(float)
    known = numbers[np.isfinite(numbers)]
    low, high = known.min(), known.max()
    scale = np.log if is_log(findings, name) else float
    at = float((scale(value) - scale(low)) / (scale(high) - scale(low)))
    line = (
        f"{head}<div class='range'><span>{low:.3g}</span><div class='track'><i style='left:{100 * at:.1f}%'></i></div>"
        f"<span>{high:.3g}</span></div>"
    )
    ends = {True: "the low end", False: "the high end"}
    edge = len(np.unique(known)) > 2 and not 0.02 < at < 0.98
    return line, f"{ends[at < 0.5]} of {escaped(name)}" if edge else ""


def _columns(findings: Findings) -> dict[str, Any]:
    """The whole table by columns, as strict JSON: what is missing is null, what is not finite is text."""
    columns = [
        {"text": bool(_class(column)), "values": [json_value(value) for value in column]}
        for _, column in _shown(findings)
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
