"""Claims: the verdict on both sides of every bound, NaN and infinity, strict JSON, and the table's text."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from regopt.experiment import Claim
from regopt.experiment._claims import table, to_record


def claim(measured: float, relation: str = "equal", expected: float = 2.0, tolerance: float = 0.5) -> Claim:
    return Claim("gap [0, 1) is small", "Goodfellow (2016), eq. 7.45", expected, measured, tolerance, relation)


@pytest.mark.parametrize(
    ("relation", "measured", "holds"),
    [
        ("equal", 1.5, True),
        ("equal", 2.5, True),
        ("equal", 1.4375, False),
        ("equal", 2.5625, False),
        ("at most", -100.0, True),
        ("at most", 2.5, True),
        ("at most", 2.5625, False),
        ("at least", 100.0, True),
        ("at least", 1.5, True),
        ("at least", 1.4375, False),
    ],
)
def test_the_verdict_changes_at_the_bound(relation, measured, holds):
    assert claim(measured, relation).holds is holds
    assert claim(measured, relation).verdict == ("holds" if holds else "fails")


@pytest.mark.parametrize("relation", ["equal", "at most", "at least"])
@pytest.mark.parametrize("tolerance", [0.5, math.inf])
def test_nan_never_holds(relation, tolerance):
    assert not claim(math.nan, relation, tolerance=tolerance).holds
    assert not claim(2.0, relation, expected=math.nan, tolerance=tolerance).holds


def test_infinity_equals_itself_only():
    assert claim(math.inf, expected=math.inf).holds
    assert not claim(-math.inf, expected=math.inf).holds
    assert not claim(1e300, expected=math.inf).holds
    assert claim(math.inf, "at least").holds
    assert not claim(math.inf, "at most").holds


def test_the_default_tolerance_is_none():
    assert Claim("s", "o", 0.25, 0.25).holds
    assert not Claim("s", "o", 0.25, 0.2500001).holds


def test_numbers_from_arrays_give_a_plain_verdict():
    measured = claim(np.float32(1.75))  # pyright: ignore[reportArgumentType]
    assert measured.holds is True
    assert json.loads(json.dumps(to_record(measured)))["measured"] == 1.75


def test_an_unknown_relation_is_refused():
    with pytest.raises(ValueError, match="relation must be one of 'equal', 'at most', 'at least', got 'below'"):
        claim(1.0, "below")


@pytest.mark.parametrize("tolerance", [-0.1, -math.inf, math.nan])
def test_a_tolerance_below_zero_or_nan_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance must lie in"):
        claim(1.0, tolerance=tolerance)


def test_a_claim_cannot_be_edited():
    with pytest.raises(dataclasses.FrozenInstanceError):
        claim(1.0).measured = 2.0  # pyright: ignore[reportAttributeAccessIssue]


def test_a_record_is_strict_json():
    record = to_record(claim(-math.inf, "at most", expected=math.nan))
    assert json.loads(json.dumps(record, allow_nan=False)) == {
        "statement": "gap [0, 1) is small",
        "source": "Goodfellow (2016), eq. 7.45",
        "expected": "nan",
        "measured": "-inf",
        "tolerance": 0.5,
        "relation": "at most",
        "verdict": "fails",
    }


def test_the_table_shows_every_claim_and_no_markup():
    stream = io.StringIO()
    Console(file=stream, width=200).print(table([claim(1.75), claim(9.125, "at most")], "Title [bold]"))
    text = stream.getvalue()
    assert "Title [bold]" in text
    good, bad = (line for line in text.splitlines() if "gap [0, 1) is small" in line)
    for word in ("eq. 7.45", "1.75", "0.5", "holds"):
        assert word in good
    for word in ("at most 2", "9.125", "fails"):
        assert word in bad
