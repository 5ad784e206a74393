"""Wording: values cut to a line, names suggested, nothing that a terminal would act upon."""

from regopt._core.messages import one_line, shown, suggestion


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
