"""Claims: what a source says, what was measured, and whether the two agree.

An experiment ends in a list of claims; the verdict is computed here, the same way for all of them, so no
experiment judges itself. Nothing is measured or printed here: ``table`` builds a rich table, and the command
line shows it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from rich.table import Table
from rich.text import Text

from regopt._core.messages import one_line
from regopt.experiment._config import COMMAND_LINE, ConfigError

RELATIONS = ("equal", "at most", "at least")


@dataclass(frozen=True)
class Claim:
    """One statement with the number that it expects and the number that was measured.

    The three relations are ``|measured - expected| <= tolerance`` ("equal"),
    ``measured <= expected + tolerance`` ("at most") and ``measured >= expected - tolerance`` ("at least").

    Attributes:
        statement: one sentence that can be true or false.
        source: where it is stated: paper with equation number, or slide.
        expected: the stated number, in the unit of the statement.
        measured: the number found, in the same unit; NaN never holds.
        tolerance: how far off still agrees, >= 0, in the same unit.
        relation: "equal", "at most" or "at least".

    Raises:
        ValueError: no measurement could decide the claim: ``relation`` is unknown or ``tolerance`` is negative or NaN.

    >>> Claim("heads in 100 tosses of the coin", "measured", expected=50, measured=57, tolerance=10).verdict
    'holds'
    """

    statement: str
    source: str
    expected: float
    measured: float
    tolerance: float = 0.0
    relation: str = "equal"

    def __post_init__(self) -> None:
        """Refuse a claim that no measurement could decide."""
        if self.relation not in RELATIONS:
            raise ValueError(f"relation must be one of {', '.join(map(repr, RELATIONS))}, got {self.relation!r}")
        if not self.tolerance >= 0:  # also true of NaN
            raise ValueError(f"tolerance must lie in [0, inf], got {self.tolerance}")

    @property
    def holds(self) -> bool:
        """Whether measured and expected stand in the stated relation; false for NaN."""
        expected, measured, tolerance = float(self.expected), float(self.measured), float(self.tolerance)
        # every comparison below is false for NaN
        if measured == expected:  # infinities too, whose difference is NaN
            return True
        if self.relation == "at most":
            return measured <= expected + tolerance
        if self.relation == "at least":
            return measured >= expected - tolerance
        return abs(measured - expected) <= tolerance

    @property
    def verdict(self) -> str:
        """Either "holds" or "fails"."""
        return "holds" if self.holds else "fails"


def to_record(claim: Claim) -> dict[str, str | float]:
    """Turn a claim into a dictionary that strict JSON can hold.

    JSON has no NaN and no infinity; they become the strings "nan", "inf" and "-inf".

    Args:
        claim: any claim.

    Returns:
        A dictionary with the keys statement, source, expected, measured, tolerance, relation and verdict.
    """
    return {
        "statement": claim.statement,
        "source": claim.source,
        "expected": _json_number(claim.expected),
        "measured": _json_number(claim.measured),
        "tolerance": _json_number(claim.tolerance),
        "relation": claim.relation,
        "verdict": claim.verdict,
    }


def table(claims: Iterable[Claim], title: str = "Claims") -> Table:
    """Lay claims out as a table, one row each.

    Args:
        claims: the claims, shown in this order.
        title: the line above the table.

    Returns:
        A rich table; texts are shown as they are, so brackets in a statement are no markup.
    """
    result = Table(title=Text(title), title_justify="left")
    for name in ("statement", "source"):
        result.add_column(name, overflow="fold")
    for name in ("expected", "measured", "tolerance"):
        result.add_column(name, justify="right", no_wrap=True)
    result.add_column("verdict", no_wrap=True)
    for claim in claims:
        bound = "" if claim.relation == "equal" else f"{claim.relation} "
        result.add_row(
            Text(claim.statement),
            Text(claim.source),
            f"{bound}{float(claim.expected):.6g}",
            f"{float(claim.measured):.6g}",
            f"{float(claim.tolerance):.3g}",
            Text(claim.verdict, style="green" if claim.holds else "bold red"),
        )
    return result


def holding(text: str, claims: Sequence[Claim]) -> Sequence[Claim]:
    """Choose the claims whose statement contains a text.

    Args:
        text: part of a statement, in any case; "" chooses all.
        claims: the claims to choose from.

    Returns:
        The claims chosen, in their order.

    Raises:
        ConfigError: no statement contains the text; the message lists the three that share the longest part with it.
    """
    words = text.casefold()
    found = [claim for claim in claims if words in claim.statement.casefold()]
    if found or not text:
        return found

    def shared(statement: str) -> int:
        return SequenceMatcher(None, words, statement.casefold(), autojunk=False).find_longest_match().size

    near = "; ".join(map(repr, heapq.nlargest(3, [claim.statement for claim in claims], key=shared)))
    message = f"no statement contains {text!r}; the nearest: {near or 'there is none'}"
    raise ConfigError(COMMAND_LINE, "--claim", message)


def _json_number(number: float) -> float | str:
    value = float(number)
    return value if math.isfinite(value) else str(value)


def failure(name: str, place: str, error: BaseException) -> Claim:
    """A claim that stands for an error in the table: its measurement is NaN, so it fails."""
    said = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    return Claim(one_line(f"{name}: runs to its end ({said})"), place, expected=1.0, measured=float("nan"))
