"""Wording: ranges in words, values cut to a line, names suggested, nothing that a terminal would act upon."""

from typing import Annotated

import pytest
from pydantic import Field

from regopt._core.messages import describe, one_line, shown, suggestion


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Annotated[float, Field(ge=0, lt=1)], "a number in [0, 1)"),
        (Annotated[float, Field(lt=3)], "a number in (-inf, 3)"),
        (Annotated[int, Field(multiple_of=8)], "an integer, a multiple of 8"),
        (Annotated[tuple[bool, ...], Field(min_length=2)], "a list, each true or false, of length 2 to any"),
        (Annotated[str, Field(pattern="^a")], "a string, matching ^a"),
        (tuple[int, str], "a list of 2: an integer, a string"),
    ],
)
def test_a_range_is_described_in_words(hint, words):
    assert describe(hint) == words


def test_long_values_are_cut():
    assert len(shown("x" * 10_000)) <= 80
    assert len(shown(list(range(1000)))) <= 80
    assert len(shown({"x" * 100: ["y" * 100] * 10})) <= 80
    assert "digits" in shown(10**10_000)


def test_words_for_a_terminal_hold_no_control_characters():
    assert one_line("a\r\n\tb\x1b[0m\u2028c\udcff") == "a b\\x1b[0m c\\udcff"


def test_a_suggestion_forgives_case_and_admits_when_there_is_none():
    assert suggestion("SEED", ["seed", "steps"]) == "did you mean 'seed'?"
    assert suggestion("x", []) == "there is none"
