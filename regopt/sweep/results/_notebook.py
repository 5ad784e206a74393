"""A result as a notebook shows it."""

import numpy as np

from regopt._core.notebook import to_html
from regopt.report import REPEATED
from regopt.sweep.results._best import best_of
from regopt.sweep.results._tables import Tables


def result_html(result: Tables) -> str | None:
    """The best setting, the number of settings of each status and the curve of the best one.

    Args:
        result: a ``Result``, finished or not.

    Returns:
        The HTML; None where jinja2 is not installed.
    """
    names, counts = np.unique(result.status, return_counts=True)
    text = ", ".join(f"{count:,} {name}" for name, count in zip(names.tolist(), counts.tolist(), strict=True))
    title = f"{len(result.status):,} settings:"
    try:
        best = best_of(result, None, None, REPEATED)
    except ValueError as error:  # none has a finite value
        return to_html(title, [{"best": str(error)}], text=text)
    row = {"setting": best.index, **best.setting, **best.metrics, "step": best.step}
    label = f"{result.monitor} of the best setting over {int(result.history.steps[-1])} steps"
    curve = result.history.curves[result.monitor][best.index]
    return to_html(title, [row], text=f"{text}; the best:", curve=curve, label=label)
