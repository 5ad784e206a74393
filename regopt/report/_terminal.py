"""A sweep as a table in the terminal: the number of settings of each status, and the best settings."""

import numpy as np
from rich.table import Table
from rich.text import Text

from regopt._core.messages import one_line
from regopt._core.numerics import check_whole
from regopt.report._findings import REPEATED, Findings, Reportable, as_findings, plain

STYLES = {"diverged": "red", "stopped": "green", "done": "green", "pruned": "magenta"}


def summary(findings: Findings | Reportable, rows: int = 20) -> Table:
    """The best settings, one row each, under a title that counts all settings by status.

    Args:
        findings: a sweep, or its ``Result``, also of one that still runs.
        rows: the most rows of the table, >= 1.

    Returns:
        A rich table; brackets in a name are text, not markup, and control characters are escaped.

    Raises:
        ValueError: ``rows`` is out of range.
        KeyError: the table lacks a column that ``Findings`` lists.

    Example:
        >>> from regopt import report, sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.5]})
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2)
        >>> found = report.Findings(
        ...     "Two rates", result.to_pandas(), result.curves(), ("rate",), monitor="validation_loss", mode="min"
        ... )
        >>> table = report.summary(found, rows=1)  # Console().print(table) shows it
        >>> print(table.title, "-", table.caption)
        Two rates: 2 settings: 2 done - 1 with the smallest validation_loss; the best: {'rate': 0.5}
    """
    check_whole("rows", rows, "[1, inf)")
    findings = as_findings(findings)
    table, order = findings.table, findings.order
    counts = ", ".join(f"{count:,} {status}" for status, count in table["status"].value_counts().items())
    result = Table(
        title=_text(f"{findings.title}: {len(table):,} settings: {counts}"),
        caption=_text(_caption(findings, min(rows, len(order)))),
        title_justify="left",
        caption_justify="left",
    )
    others = np.setdiff1d(np.arange(len(table)), order)
    names = [findings.monitor, *findings.varying, *findings.metrics[1:]]
    for name in ("setting", *names):
        text = name in table and not findings.is_number(name)
        result.add_column(_text(name), justify="left" if text else "right", overflow="fold")
    for name in ("status", "step"):
        result.add_column(name, justify="left" if name == "status" else "right")
    for row in np.concatenate([order, others])[:rows]:
        status = str(table["status"].iloc[row])
        result.add_row(
            str(row),
            *(_written(table[name].iloc[row]) for name in names),
            _text(status, STYLES.get(status, "")),
            str(table["kept_step"].iloc[row]),
        )
    return result


def _caption(findings: Findings, shown: int) -> str:
    better = "smallest" if findings.mode == "min" else "largest"
    said = f"{shown} with the {better} {findings.monitor}" if shown else f"none has a finite {findings.monitor} yet"
    if len(findings.order):
        said += f"; the best: {_best(findings)}"
    return said


def _best(findings: Findings) -> str:
    """The best setting, by the mean over its repeats where it has any, as ``Result.best`` gives it."""
    repeats = findings.repeats
    if repeats is None or not np.isfinite(repeats["mean"].iloc[0]):
        return str(findings.setting(int(findings.order[0])))
    setting = {name: plain(repeats[name].iloc[0]) for name in findings.names if name not in REPEATED}
    return f"{setting}, by the mean over {int(repeats['count'].iloc[0])} repeats"


def _written(value: object) -> Text:
    value = plain(value)
    return _text(f"{value:.4g}" if isinstance(value, float) else str(value))


def _text(words: str, style: str = "") -> Text:
    """Words from a file as plain text, in which a terminal finds neither markup nor control characters."""
    return Text(one_line(words), style=style)
