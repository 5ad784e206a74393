"""Pieces of a page: values and names as HTML in which every text is escaped, and data as JSON."""

import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from regopt.report._findings import plain


def json_value(value: Any) -> Any:
    """A value in strict JSON: null where it is missing, text where it is infinite."""
    value = plain(value)
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    return value if isinstance(value, int | str | bool) else str(value)


def data_block(name: str, value: Any) -> str:
    """A block of JSON in which no text can end the block."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def holder(name: str, key: str = "") -> str:
    """Where a figure of the page's data is drawn, under an id of its own where others may take its place."""
    return f'<div class="figure" id="{key or f"figure-{name}"}" data-figure="{name}"></div>'


def selector(key: str, titles: Sequence[str] | Mapping[str, Any]) -> str:
    """A choice of the figures that a holder shows, numbered in their order."""
    options = "".join(f'<option value="{key}{at}">{html.escape(title)}</option>' for at, title in enumerate(titles))
    return f'<select data-for="{key}" aria-label="which {key}">{options}</select>'


def copied(setting: Mapping[str, Any]) -> str:
    """A setting to the last digit, as Python, with a button."""
    return f"<div class='copy'><pre>{html.escape(repr(dict(setting)))}</pre><button>Copy</button></div>"


def plain_table(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A table that is neither sorted nor cut."""
    top = "".join(f"<th scope='col'>{html.escape(head)}</th>" for head in heads)
    rows = "".join(f"<tr>{''.join(f'<td>{written(value)}</td>' for value in line)}</tr>" for line in lines)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table>"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested names with dots, and their values as text."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, NaN to itself too."""
    return a == b or repr(a) == repr(b)


def escaped(value: Any) -> str:
    """Any value as text that is no markup."""
    return html.escape(str(value))


def written(value: Any) -> str:
    """A value with four digits, as text that is no markup."""
    value = plain(value)
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))


def listed(parts: Any) -> str:
    """Words joined by commas and a last "and"."""
    parts = list(parts)
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
