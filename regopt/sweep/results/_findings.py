"""From a result to what a report shows: its tables, and what statistics say of them."""

import contextlib
from typing import Any

from regopt.report import Findings
from regopt.sweep.results._importance import importance
from regopt.sweep.results._statistics import REPEATED, repeats, separations


def findings(result: Any, title: str = "Sweep", *, thorough: bool = True) -> Findings:
    """A result as the tables of a report.

    Args:
        result: a ``Result``, finished or not, trained here or read from a folder.
        title: of the report.
        thorough: with repeats, importance and where settings diverged; the forests take seconds.

    Returns:
        The tables.

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
    )
    if not thorough:
        return plain
    what = (table, names, result.monitor, result.mode)
    weights = None
    with contextlib.suppress(ValueError):  # too few settings, or none that varies: the report says so
        weights = importance(*what)
    return Findings(
        **vars(plain)
        | {
            "repeats": repeats(*what) if set(names) & set(REPEATED) else None,
            "importance": weights and weights.numbers,
            "explained": weights and weights.explained,
            "separations": separations(table, names),
        }
    )
