"""One HTML page with everything that a sweep found, which opens without a network and without this package.

The page answers in this order: which setting is best, where the good settings lie, which number matters, what diverged.
It holds its data as JSON, Plotly's library once, and a few lines of JavaScript. A content policy lets the browser run
only these scripts and load nothing. The text is in the template, which escapes every value from the tables.
"""

import base64
import functools
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from regopt._core.io import write_text
from regopt.report._findings import Findings, Reportable, as_findings

if TYPE_CHECKING:
    from jinja2 import Template


def write_page(path: str | Path, findings: Findings | Reportable) -> None:
    """Write the page of a sweep.

    Args:
        path: the ``.html`` file, written whole or not at all.
        findings: the sweep, or its ``Result``.

    Raises:
        ImportError: an extra is not installed (``pip install 'regopt[report]'``).
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from regopt import report, sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.5]})
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2)
        >>> found = report.Findings(
        ...     "Two rates", result.to_pandas(), result.curves(), ("rate",), monitor="validation_loss", mode="min"
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report.write_page(Path(folder) / "rates.html", found)
        ...     text = (Path(folder) / "rates.html").read_text(encoding="utf-8")
        >>> "<title>Two rates" in text, 'src="http' in text
        (True, False)
    """
    write_text(Path(path), page(as_findings(findings, thorough=True)))


def page(findings: Findings, version: str = "") -> str:
    """Render the page of a sweep; the curves and points of a large one are thinned out, and the page says so.

    Args:
        findings: the sweep.
        version: the version of the data, for a page on a server: it reloads itself when the server has another one.

    Returns:
        The text of one self-contained HTML file, of which about 5 MB are Plotly's library.
    """
    from plotly.offline import get_plotlyjs

    from regopt.report._context import context
    from regopt.report._figures import as_json, draw

    scripts = [get_plotlyjs(), _asset("page.js")]
    return _template("page.html.jinja").render(
        context(findings),
        version=version,
        figures={name: as_json(figure) for name, figure in draw(findings).items()},
        style=_asset("page.css"),
        scripts=scripts,
        hashes=[base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts],
    )


def side_by_side(names: Sequence[str]) -> str:
    """Render the page that shows the pages of several sweeps side by side, which a server has at ``0/``, ``1/``, ...

    Args:
        names: the names of the sweeps.

    Returns:
        The text of an HTML file.
    """
    return _template("side_by_side.html.jinja").render(names=names)


def _asset(name: str) -> str:
    return resources.files("regopt.report").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _template(name: str) -> "Template":
    """A template, which escapes every value and refuses a name that is not in its context."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from regopt.report._context import joined, written

    environment = Environment(
        loader=PackageLoader("regopt.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"written": written, "joined": joined, "repr": repr}
    return environment.get_template(name)
