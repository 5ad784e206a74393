"""The context of the page's template: what each section says about a sweep, as plain values.

Nothing here is escaped or marked up; the template does both.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from regopt.report._axes import GREY, is_log, levels_of, window_of
from regopt.report._findings import REPEATED, Findings, plain
from regopt.report._selection import EACH, MOST_POINTS, MOST_STEPS, is_small, neighbours, pairs, sampled

Context = dict[str, object]
FINISHED = {"done": "#0072b2", "stopped": "#009e73", "pruned": "#cc79a7", "diverged": "#d55e00"}  # Okabe, Ito (2008)
MOST_DIVERGED = 50  # rows of their table


class Place(NamedTuple):
    """The place of a value among those that were tried."""

    name: str
    value: object
    levels: list[str]  # of a static choice: all its values
    low: float = math.nan  # of a number
    high: float = math.nan
    share: float = math.nan  # of a number: the part of the range that lies below it, in [0, 1]
    edge: str = ""  # "low" or "high" where the number is at an end of the range


class Mean(NamedTuple):
    """The setting with the best mean over its repeats."""

    row: int  # of its first repeat
    setting: dict[str, object]  # without the columns that only repeat it
    metrics: dict[str, float]  # the means of the metrics other than the monitor
    value: float  # the mean of the monitor
    interval: tuple[float, float] | None  # of the mean; None where a single repeat has a value
    repeats: int  # those that have a value
    agrees: bool  # whether the best single row is one of its repeats


class Column(NamedTuple):
    """A column of the table of all settings."""

    name: str
    values: list[object]
    text: bool


def context(findings: Findings) -> Context:
    """Everything that the template says about a sweep, by section."""
    columns = list(_columns(findings))
    return {
        "findings": findings,
        "header": _header(findings),
        "best": _best(findings),
        "where": _where(findings),
        "explained": _explained(findings),
        "diverged": _diverged(findings),
        "curves": _curves(findings),
        "columns": columns,
        "statuses": list(findings.table["status"].unique()),
        "table": _table(findings, columns),
        "records": {"Config": dict(_flat(findings.config)), "Versions": dict(_flat(findings.versions))},
    }


def _header(findings: Findings) -> Context:
    status = findings.table["status"]
    return {
        "counts": [(name, count, FINISHED.get(str(name), GREY)) for name, count in status.value_counts().items()],
        "steps": int(findings.curves["step"].max()) if findings.curves.sizes["step"] else 0,
        "unfinished": int(np.sum(~status.isin(list(FINISHED)))),
    }


def _best(findings: Findings) -> Context | None:
    """The best setting, by the mean where settings repeat; None where no setting has a finite value."""
    if not len(findings.order):
        return None
    mean, single = _mean(findings), int(findings.order[0])
    row = single if mean is None else mean.row
    setting = findings.setting(row)
    places = [_place(findings, name, row) for name in findings.varying if name not in REPEATED]
    return {
        "row": row,
        "setting": setting if mean is None else mean.setting,
        "known": {str(name): plain(value) for name, value in findings.table.iloc[row].items()},
        "single": {"row": single, "value": float(findings.values[single])},
        "repeated": {name: findings.setting(single)[name] for name in findings.varying if name in REPEATED},
        "places": places,
        "edges": [f"the {place.edge} end of {place.name}" for place in places if place.edge],
        "mean": mean,
    }


def _mean(findings: Findings) -> Mean | None:
    """The setting with the best mean over its repeats; None without repeats."""
    if findings.repeats is None or not np.isfinite(findings.repeats["mean"].iloc[0]):
        return None
    first = findings.repeats.iloc[0]
    names = [name for name in findings.names if name not in REPEATED]
    setting = {name: plain(findings.repeats[name].iloc[0]) for name in names}  # a row would make all of them floats
    rows = findings.best_rows
    known = rows[np.isfinite(findings.values[rows])]
    metrics = {name: float(findings.table[name].to_numpy(float)[known].mean()) for name in findings.metrics[1:]}
    return Mean(
        row=int(rows[0]),
        setting=setting,
        metrics=metrics,
        value=float(first["mean"]),
        interval=None if math.isnan(first["low"]) else (first["low"], first["high"]),
        repeats=int(first["count"]),
        agrees=bool(findings.order[0] in rows),
    )


def _place(findings: Findings, name: str, row: int) -> Place:
    value = findings.setting(row)[name]
    if not findings.is_number(name):
        return Place(name, value, list(dict.fromkeys(map(str, findings.table[name]))))
    levels = levels_of(findings, name)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return Place(name, value, [])
    ends = np.array([value, levels[0], levels[-1]])
    at, low, high = np.log(ends) if is_log(findings, name) else ends
    share = float((at - low) / (high - low)) if high > low else 0.5
    edge = "" if len(levels) < 3 or 0.02 < share < 0.98 else "low" if share < 0.5 else "high"
    return Place(name, value, [], float(levels[0]), float(levels[-1]), share, edge)


def _where(findings: Findings) -> Context | None:
    """The figures over the numbers; None where nothing varies or no setting has a finite value."""
    if not len(findings.order) or not findings.varying:
        return None
    return {
        "shown": len(sampled(findings)),
        "first": MOST_POINTS // 5,
        "count": len(findings.order),
        "beyond": window_of(findings.values, findings.mode).beyond,
        "pairs": [f"{x}, {y}" for x, y in pairs(findings)],
        "neighbours": neighbours(findings),
    }


def _explained(findings: Findings) -> Context | None:
    """The R^2 of the forest with its interval; None where it is not known."""
    if findings.importance is None or findings.explained is None:
        return None
    return {str(name): value for name, value in findings.explained.to_dict().items()}


def _diverged(findings: Findings) -> Context:
    rows, separations = np.flatnonzero(findings.diverged), findings.separations
    first_bad = findings.table["first_bad_step"].iloc[rows].to_numpy(float)
    shown = rows[np.argsort(first_bad, kind="stable")][:MOST_DIVERGED].tolist()
    lines = [[plain(findings.table[n].iloc[r]) for n in ("first_bad_step", *findings.varying)] for r in shown]
    return {
        "count": len(rows),
        "separation": None if separations is None or separations.empty else separations.iloc[0].to_dict(),
        "lines": [[row, *line] for row, line in zip(shown, lines, strict=True)],
    }


def _curves(findings: Findings) -> Context:
    count = int(findings.diverged.sum())
    return {
        "count": len(findings.order),
        "small": is_small(findings),
        "each": EACH,
        "diverged": count,
        "diverged_shown": min(count, EACH),
        "most_steps": MOST_STEPS,
        "steps": findings.curves.sizes["step"],
    }


def _columns(findings: Findings) -> Iterator[Column]:
    """The columns of the table of all settings: the metric first, then what makes a setting, then the rest."""
    table = findings.table
    yield Column("setting", list(range(len(table))), text=False)
    first = [findings.monitor, *findings.names, *findings.metrics[1:]]
    for name in [*first, *(name for name in table if name not in first)]:
        values = table[name].tolist()
        yield Column(str(name), values, any(isinstance(value, str) for value in values))


def _table(findings: Findings, columns: Sequence[Column]) -> Context:
    """The data of the table of all settings, as strict JSON."""
    others = np.setdiff1d(np.arange(len(findings.table)), findings.order)
    return {
        "columns": [{"text": column.text, "values": list(map(_json_value, column.values))} for column in columns],
        "order": [*findings.order.tolist(), *others.tolist()],
        "best": int(findings.shown[0]) if len(findings.order) else -1,
        "status": list(map(str, findings.table["status"])),
    }


def _json_value(value: object) -> object:
    """A value in strict JSON: null where it is missing, text where it is infinite."""
    import pandas

    value = plain(value)
    if value is None or value is pandas.NA or value is pandas.NaT:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    return value if isinstance(value, int | str | bool) else str(value)


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested names joined by dots, with their values as text."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def written(value: object) -> str:
    """A value as text, a float with four digits."""
    value = plain(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def joined(words: Iterable[str]) -> str:
    """Words joined by commas, with "and" before the last."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
