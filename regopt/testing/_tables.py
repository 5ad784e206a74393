"""The tables of optimizers and penalties in Markdown, from the catalogue, and their places in documents.

A document marks a table by ``<!-- catalogue: optimizers -->`` or ``<!-- catalogue: penalties -->`` on a line before and
``<!-- /catalogue -->`` on a line after it.
"""

import re
from pathlib import Path

from regopt._core.io import write_text
from regopt.testing._catalogue import CATALOGUE

KINDS = {"optimizers": ("transform", "second_order"), "penalties": ("penalty",)}
_BLOCK = re.compile(r"(<!-- catalogue: (\w+) -->\n)(.*?)(<!-- /catalogue -->)", re.DOTALL)


def table(name: str) -> str:
    """A Markdown table of the catalogue, a line for each group of factories.

    Args:
        name: "optimizers" or "penalties".

    Returns:
        The lines, each with a line break at its end.

    Raises:
        ValueError: there is no such table.

    Example:
        >>> from regopt import testing
        >>> print(testing.table("penalties").splitlines()[2])
        | entry by entry | `l1` `l2` `elastic_net` `huber` `mcp` `scad` `log_sum` `l0` `box` `non_negative` |
    """
    if name not in KINDS:
        raise ValueError(f"name must be one of {', '.join(KINDS)}, got {name!r}")
    groups: dict[str, dict[str, None]] = {}  # the names as keys, to have each once and in order
    for row in CATALOGUE:
        if row.kind in KINDS[name] and row.group:
            groups.setdefault(row.group, {})[row.factory.__name__] = None
    lines = [f"| {group} | {' '.join(f'`{each}`' for each in names)} |" for group, names in groups.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines, ""])


def tables_in(text: str) -> list[tuple[str, str]]:
    r"""The marked tables of a document: the name of each and its present lines.

    Args:
        text: a document in Markdown.

    Returns:
        Pairs of a name and lines.

    Example:
        >>> from regopt import testing
        >>> text = "<!-- catalogue: penalties -->\n" + "lines\n" + "<!-- /catalogue -->"
        >>> testing.tables_in(text)
        [('penalties', 'lines\n')]
    """
    return [(match[2], match[3]) for match in _BLOCK.finditer(text)]


def update_tables(*paths: str | Path) -> None:
    r"""Write the tables of the catalogue into documents, between the marks that are there.

    Args:
        *paths: documents in Markdown, such as ``README.md``.

    Raises:
        ValueError: a document marks a table that does not exist.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from regopt import testing
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = Path(folder, "page.md")
        ...     _ = page.write_text("<!-- catalogue: penalties -->\n<!-- /catalogue -->\n")
        ...     testing.update_tables(page)
        ...     testing.tables_in(page.read_text())[0][1] == testing.table("penalties")
        True
    """
    for path in map(Path, paths):
        text = path.read_text()
        new = _BLOCK.sub(lambda match: match[1] + table(match[2]) + match[4], text)
        if new != text:
            write_text(path, new)
