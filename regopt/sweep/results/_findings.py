"""The tables and the statistics of a result, as its report wants them."""

import contextlib
import dataclasses

from regopt.report import REPEATED, Findings
from regopt.sweep.results._importance import importance
from regopt.sweep.results._separations import separations
from regopt.sweep.results._statistics import repeats
from regopt.sweep.results._tables import Tables


def findings(result: Tables, title: str = "Sweep", *, thorough: bool = True) -> Findings:
    """The tables of a result, as the report takes them.

    Args:
        result: a ``Result``, finished or not, trained here or read from a folder.
        title: the title of the report.
        thorough: whether to add importance and separations; the forests of the importance take seconds.

    Returns:
        The findings.

    Raises:
        ImportError: an extra is not installed.
    """
    table, names = result.to_pandas(), tuple(result.history.settings.columns)
    plain = Findings(
        title,
        table,
        result.curves(),
        names,
        result.monitor,
        result.mode,
        config=result.config,
        versions=result.versions,
        modes=result.modes,
        repeats=repeats(table, names, result.monitor, result.mode) if set(names) & set(REPEATED) else None,
    )
    if not thorough:
        return plain
    what = (table, names, result.monitor, result.mode)
    weights = None
    with contextlib.suppress(ValueError):  # too few settings, or none that varies: the report says so
        weights = importance(*what)
    return dataclasses.replace(
        plain,
        importance=weights and weights.numbers,
        explained=weights and weights.explained,
        separations=separations(table, names),
    )
