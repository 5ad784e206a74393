"""docs/course.md: names, files, experiments and claims that it points to exist, and its slips are listed."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "course.md").read_text()
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (00\d:|E\d)", line)]
CLAIM = re.compile(r'\[(\w+)\]\(\.\./experiments/\w+\.py\): "(.+?)" \|')


def statements(name):
    """The source of an experiment with string literals on neighbouring lines joined."""
    source = (ROOT / "experiments" / f"{name}.py").read_text()
    return re.sub(r"""["']\s*\n\s*f?["']""", "", source).replace('\\"', '"')


def test_every_deck_has_its_rows():
    assert {row[2:5] for row in ROWS} >= {"000", "002", "003", "004"}
    assert len(ROWS) > 120


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(regopt\.[\w.]+)`", PAGE))))
def test_a_name_of_the_package_exists(name):
    *packages, symbol = name.split(".")
    assert hasattr(importlib.import_module(".".join(packages)), symbol)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(\.\./(.+?)\)", PAGE))))
def test_a_linked_file_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("experiment", "words"), sorted(set(CLAIM.findall(PAGE))))
def test_a_quoted_claim_is_made_by_its_experiment(experiment, words):
    assert words.replace("\\|", "|") in statements(experiment)


def test_every_row_quotes_a_claim():
    assert [row for row in ROWS if "](../experiments/" not in row] == []
    assert len(CLAIM.findall(PAGE)) == PAGE.count("](../experiments/")  # none escapes the pattern


def test_every_slip_that_a_row_names_is_listed():
    listed = set(re.findall(r"^\| (E\d+b?) \|", PAGE, re.MULTILINE))
    assert set(re.findall(r"\b(E\d+b?)\b", PAGE)) == listed
