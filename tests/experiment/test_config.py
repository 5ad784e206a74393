"""Configs: what is accepted, that it survives a round trip, and that every mistake is one helpful line."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from regopt.experiment import ConfigError, read_config
from regopt.experiment._config import check_fields, config_values
from regopt.experiment._runner import to_toml


@dataclass(frozen=True)
class Config:
    """One field of each kind."""

    learning_rate: Annotated[float, Field(gt=0, le=1)]
    seed: int = 0
    steps: tuple[Annotated[int, Field(ge=1)], ...] = (10, 30)
    window: tuple[float, float] = (0.0, 1.0)
    nesterov: bool = True
    name: str = "digits"
    rule: Literal["sgd", "adam"] = "sgd"

    def __post_init__(self) -> None:
        if self.window[0] > self.window[1]:
            raise ValueError("window must not end\nbefore it starts")


GOOD = "learning_rate = 0.5\n"


def write(folder: Path, text: str | bytes, name: str = "smoke.toml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def complaint(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(path, Config, overrides)
    line = str(caught.value)
    assert line.splitlines() == [line]
    assert line.isprintable()
    return line


def test_a_config_is_read_with_defaults_and_integers_for_floats(tmp_path):
    text = "# Claim\nlearning_rate = 1\nsteps = [3]\nwindow = [0, 2.5]\nnesterov = false\nrule = 'adam'\n"
    config = read_config(write(tmp_path, text), Config)
    assert config == Config(1.0, steps=(3,), window=(0.0, 2.5), nesterov=False, rule="adam")
    assert type(config.learning_rate) is type(config.window[0]) is float


@pytest.mark.parametrize("text", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n")])
def test_files_from_other_systems_are_read(tmp_path, text):
    assert read_config(write(tmp_path, text), Config) == Config(0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lerning_rate = 0.5", ["lerning_rate", "0.5", "did you mean 'learning_rate'?"]),
        (
            GOOD + "zzz = 3",
            ["zzz", "got 3", "valid: learning_rate, name, nesterov, rule, seed, steps, window"],
        ),
        (GOOD + "[seed]\nvalue = 3", ["seed", "a valid integer", "{'value': 3}"]),
        ("seed = 1", ["learning_rate", "is missing"]),
        ("learning_rate = '0.5'", ["learning_rate", "must be a valid number", "got '0.5'"]),
        ("learning_rate = true", ["learning_rate", "must be a valid number", "got true"]),
        ("learning_rate = 0.0", ["learning_rate", "must be greater than 0", "got 0.0"]),
        ("learning_rate = 1.5", ["learning_rate", "must be less than or equal to 1", "got 1.5"]),
        ("learning_rate = nan", ["learning_rate", "finite", "got nan"]),
        ("learning_rate = -inf", ["learning_rate", "finite", "got -inf"]),
        ("learning_rate = 1e999", ["learning_rate", "finite", "got inf"]),
        (GOOD + "seed = 1.0", ["seed", "a valid integer", "got 1.0"]),
        (GOOD + "seed = false", ["seed", "a valid integer", "got false"]),
        (GOOD + "seed = 9223372036854775808", ["seed", "64 bits", "9223372036854775808"]),
        (GOOD + "seed = 0x" + "f" * 9000, ["seed", "64 bits", "digits"]),
        (GOOD + "seed = 1" + "0" * 5000, ["64 bits"]),
        (GOOD + "seed = 2020-01-31", ["seed", "a valid integer", "2020"]),
        (GOOD + "nesterov = 1", ["nesterov", "a valid boolean", "got 1"]),
        (GOOD + "rule = 'adan'", ["rule", "must be 'sgd' or 'adam'", "got 'adan'"]),
        (GOOD + "steps = 3", ["steps", "must be a valid list", "got 3"]),
        (GOOD + "steps = [3, 0]", ["steps[1]", "must be greater than or equal to 1", "got 0"]),
        (GOOD + "steps = [3, 'x']", ["steps[1]", "got 'x'"]),
        (GOOD + "window = [1.0]", ["window[1]", "is missing", "got [1.0]"]),
        (GOOD + "window = [1.0, 2.0, 3.0]", ["window", "at most 2 items", "got [1.0, 2.0, 3.0]"]),
        (GOOD + "window = [2.0, 1.0]", ["window must not end before it starts"]),
        (GOOD + "seed = 1\nseed = 2", ["seed", "line 3", "twice"]),
        (GOOD + "seed = \n", ["line 2, column 8", "Invalid value", "'seed ='"]),
        (GOOD + "steps = [1,\n", ["line 2", "Invalid value"]),
        ("\x00", ["line 1, column 1"]),
        (GOOD + '"\\u001b[31m\\u2028" = 1', ["\\x1b[31m", "valid:"]),
        (GOOD + f"seed = {'[' * 9000}", ["nested too deeply"]),
        (GOOD + f"seed = {'[' * 60 + ']' * 60}", ["seed", "a valid integer", "[["]),
    ],
)
def test_each_mistake_is_one_line_that_says_what_would_be_right(tmp_path, text, words):
    path = write(tmp_path, text)
    line = complaint(path)
    assert line.startswith(f"{path}: ")
    for word in words:
        assert word in line
    assert len(line) < len(str(path)) + 250


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"seed = \xff1", "byte 7"), (b"x" * 10_000_000, "larger than 65536 bytes"), (b"", "learning_rate")],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, content, word):
    assert word in complaint(write(tmp_path, content))


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path, GOOD, "default.toml")
    assert "did you mean 'default.toml'?" in complaint(tmp_path / "defualt.toml")
    assert "valid: default.toml" in complaint(tmp_path / "zzz")
    assert f"there is no folder {tmp_path / 'other'}" in complaint(tmp_path / "other" / "default.toml")
    assert "is a folder" in complaint(tmp_path)
    assert "cannot be read" in complaint(tmp_path / ("n" * 5000))


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["--learning-rate", "0.25"], {"learning_rate": 0.25}),
        (["--learning_rate", "0.25"], {"learning_rate": 0.25}),
        (["--learning-rate=0.25", "--seed", "-7"], {"learning_rate": 0.25, "seed": -7}),
        (["--window", "-1e-3", "4"], {"window": (-1e-3, 4.0)}),
        (["--window", "5", "6", "--steps", "1", "2", "3"], {"window": (5.0, 6.0), "steps": (1, 2, 3)}),
        (["--no-nesterov"], {"nesterov": False}),
        (["--no-nesterov", "--nesterov"], {"nesterov": True}),
        (["--seed", "1", "--seed", "2"], {"seed": 2}),
        (["--rule", "adam", "--name", "a b"], {"rule": "adam", "name": "a b"}),
        (["--name=--seed"], {"name": "--seed"}),
    ],
)
def test_overrides_replace_values(tmp_path, words, changed):
    text = "learning_rate = 0.5\nseed = 5\n"
    assert read_config(write(tmp_path, text), Config, words) == replace(Config(0.5, seed=5), **changed)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--lerning-rate", "1"], ["--lerning-rate", "did you mean '--learning-rate'?"]),
        (["--no-seed"], ["--no-seed", "no such option"]),
        (["-s", "1"], ["-s", "no such option"]),
        (["--"], ["--", "no such option"]),
        (["0.1"], ["expected --<field> before '0.1'"]),
        (["--learning-rate", "fast"], ["--learning-rate", "a valid number", "'fast'"]),
        (["--learning-rate", "2"], ["--learning-rate", "less than or equal to 1", "got '2'"]),
        (["--learning-rate", "nan"], ["--learning-rate", "finite", "got 'nan'"]),
        (["--seed", "1.5"], ["--seed", "a valid integer", "1.5"]),
        (["--seed"], ["--seed", "must have one value"]),
        (["--seed", "1", "2"], ["--seed", "must have one value", "1 2"]),
        (["--seed", "9" * 30], ["--seed", "64 bits"]),
        (["--steps", "1", f"{10**18}"], ["--steps[1]", "less than or equal to 1000000000", f"got '{10**18}'"]),
        (["--seed", "9" * 9000], ["--seed", "an integer", "maximum size"]),
        (["--nesterov", "false"], ["--nesterov", "takes no value", "write --nesterov or --no-nesterov alone", "false"]),
        (["--no-nesterov", "1"], ["--no-nesterov", "takes no value", "write --nesterov or --no-nesterov alone", "1"]),
        (["--hlep"], ["--hlep", "no such option", "did you mean '--help'?"]),
        (["--rule", "adan"], ["--rule", "must be 'sgd' or 'adam'", "'adan'"]),
        (["--steps", "1", "0"], ["--steps[1]", "got '0'"]),
        (["--window", "1"], ["--window[1]", "is missing", "got ['1']"]),
        (["--window", "2", "1"], ["window must not end before it starts"]),
        (["--name", "\udcff"], ["--name", "UTF-8", "\\udcff"]),
    ],
)
def test_each_wrong_override_is_one_line(tmp_path, capfd, words, expected):
    line = complaint(write(tmp_path, GOOD), *words)
    assert line.startswith("command line: ")
    for word in expected:
        assert word in line
    assert capfd.readouterr() == ("", "")


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
WORDS = st.one_of(
    st.sampled_from(["--learning-rate", "--seed", "--steps", "--no-nesterov", "--name", "--rule", "--window=1"]),
    st.sampled_from(["0.25", "1", "-3", "nan", "-inf", "adam", "", "--", "-", "--=", "--name="]),
    TEXT,
)
SCALARS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
    st.sampled_from(["true", "false", "nan", "+inf", "1979-05-27", "{}", "{a.b = 1}", "''", '"\\u0000"', "1_0"]),
    TEXT.map(lambda text: f"'{text}'"),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
    st.integers(1, 3000).map(lambda depth: "[" * depth + "]" * depth),
)
NAMES = st.one_of(
    st.sampled_from(["learning_rate", "seed", "steps", "window", "nesterov", "name", "rule"]),
    st.sampled_from(["lerning_rate", "Seed", "step", "no.dots", '"sp ace"', "[table]\nx"]),
    TEXT.map(lambda text: f"'{text}'"),
)
FILES = st.one_of(
    st.lists(st.tuples(NAMES, VALUES), max_size=4).map(lambda rows: "\n".join(map(" = ".join, rows))),
    st.tuples(VALUES, VALUES).map(lambda pair: f"learning_rate = 0.5\nseed = {pair[0]}\nname = {pair[1]}"),
    TEXT,
    st.just(GOOD),
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "fuzz.toml"


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(text=FILES, words=st.one_of(st.just([]), st.lists(WORDS, max_size=4)))
def test_whatever_is_written_gives_a_valid_config_or_one_line(fuzzed, text, words):
    fuzzed.write_text(text, encoding="utf-8", newline="")
    try:
        config = read_config(fuzzed, Config, words)
    except ConfigError as error:
        line = str(error)
        assert line.splitlines() == [line]
        assert line.isprintable()
        assert line.startswith((str(fuzzed), "command line"))
    else:
        assert 0 < config.learning_rate <= 1
        assert all(type(step) is int and step >= 1 for step in config.steps)
        assert all(map(math.isfinite, config.window))
        assert type(config.seed) is int
        assert type(config.nesterov) is bool
        fuzzed.write_text(to_toml(config, "again"), encoding="utf-8")
        assert read_config(fuzzed, Config) == config


@pytest.mark.parametrize("name", ["", 'a"b\\c', "λ ≤ 1 🎲", "tab\tnew\nline\x00\x1f\x7f", "# no comment = 1"])
@pytest.mark.parametrize("rate", [0.1, 1e-300, 5e-324, 1.0])
def test_a_resolved_config_survives_the_round_trip(tmp_path, name, rate):
    config = Config(rate, -3, (1, 10**9), (-1e22, 1e-7), False, name, "adam")
    text = to_toml(config, "Experiment: two\nlines \x1b")
    assert text.startswith("# Experiment: two lines \\x1b\n")
    assert read_config(write(tmp_path, text), Config) == config


def test_values_keep_the_order_of_the_fields():
    assert list(config_values(Config(0.5)))[:3] == ["learning_rate", "seed", "steps"]


def dataclass_with(annotation: Any, name: str = "field", frozen: bool = True) -> type:
    return dataclass(frozen=frozen)(type("Config", (), {"__annotations__": {name: annotation}}))


@pytest.mark.parametrize(
    ("config_class", "word"),
    [
        (dict, "must be a dataclass"),
        (Config(0.5), "must be a dataclass"),
        (dataclass_with(int, frozen=False), "frozen"),
        (dataclass_with(int, "out"), "--out"),
        (dataclass_with(str, "claim"), "--claim"),
        (dataclass_with(dict[str, int]), "bool, int, float"),
        (dataclass_with(float | None), "bool, int, float"),
        (dataclass_with(tuple), "bool, int, float"),
        (dataclass_with("Unheard"), "Unheard"),
    ],
)
def test_a_class_that_cannot_be_a_config_is_refused(config_class, word):
    with pytest.raises(ConfigError, match=re.escape(word)):
        check_fields(config_class, "toy.py")


@pytest.mark.parametrize(
    ("hint", "value", "words"),
    [
        (Annotated[float, Field(ge=0, lt=1)], "1.0", "must be less than 1, got 1.0"),
        (Annotated[float, Field(lt=3)], "3", "must be less than 3, got 3"),
        (Annotated[int, Field(multiple_of=8)], "12", "must be a multiple of 8, got 12"),
        (Annotated[tuple[bool, ...], Field(min_length=2)], "[true]", "must have at least 2 items"),
        (Annotated[str, Field(pattern="^a")], "'b'", "must match pattern '^a', got 'b'"),
        (tuple[int, str], "[1, 2]", "field[1]: must be a valid string, got 2"),
    ],
)
def test_a_range_is_described_in_words(tmp_path, hint, value, words):
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, f"field = {value}\n"), dataclass_with(hint))
    assert words in str(caught.value)
