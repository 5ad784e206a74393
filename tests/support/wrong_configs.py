"""Wrong configs and wrong command lines of real experiments, made from the annotations of their fields."""

import os
import random
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from regopt.experiment import load_experiment, read_config
from regopt.experiment._config import config_values
from support.wrong_inputs import typos

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ("sweep_digits", "early_stopping", "l2_equivalence", "optimizers_race", "quadratic_rates", "lasso_path")
HUGE = "9" * 30


class WrongCommand(NamedTuple):
    """A command that must end with code 2 and one line."""

    name: str
    argv: tuple[str, ...]  # "FILE" stands for the config
    words: tuple[str, ...]  # all of them in the line
    config: bytes | None = None  # what the file FILE holds


def _plain(hint: Any) -> tuple[Any, dict[str, float]]:
    """The type without its range, and the range."""
    if get_origin(hint) is not typing.Annotated:
        return hint, {}
    base, *extras = get_args(hint)
    atoms = [atom for extra in extras for atom in (getattr(extra, "metadata", None) or [extra])]
    names = ("gt", "ge", "lt", "le", "min_length")
    return base, {name: getattr(atom, name) for atom in atoms for name in names if hasattr(atom, name)}


def _outside(limits: dict[str, float], kind: type, draw: random.Random) -> list[str]:
    """Numbers outside the range, open ends among them, as a person would type them."""
    by = draw.randrange(1, 1000) if kind is int else 10 ** draw.uniform(-2, 3)
    found = [kind(limits[name]) for name in ("gt", "lt") if name in limits]
    found += [kind(limits[name] - by) for name in ("gt", "ge") if name in limits]
    found += [kind(limits[name] + by) for name in ("lt", "le") if name in limits]
    return [*map(repr, found), *(["-0.0"] if kind is float and limits.get("gt") == 0 else [])]


SCALARS = [
    "''",
    "[]",
    "{}",
    "{a = 1}",
    "[[[[[[1]]]]]]",
    "1979-05-27",
    "07:32:00",
    '"四"',
    f"'{'x' * 5000}'",
    "'\U0001f3b2'",
]


def wrong_values(hint: Any, draw: random.Random) -> Iterator[tuple[str, str]]:
    """TOML of values that the annotation forbids, each with a word of the refusal."""
    kind, limits = _plain(hint)
    if kind is float:
        yield from ((text, "must be a valid number") for text in ("'0.5'", "true", *SCALARS))
        yield from ((text, " than ") for text in _outside(limits, float, draw))
        yield from ((text, "finite") for text in ("nan", "inf", "-inf", "1e999"))
    elif kind is int:
        texts = ["'3'", "true", "1.5", "1.0", "1e3", "nan", "inf", *SCALARS]
        yield from ((text, "must be a valid integer") for text in texts)
        yield from ((text, " than ") for text in _outside(limits, int, draw))
        yield from ((text, "64 bits") for text in (HUGE, "-" + HUGE, "0x" + "f" * 40, "1" + "0" * 5000))
    elif kind is bool:
        yield from ((text, "a valid boolean") for text in ["1", "0", "'true'", "nan", *SCALARS])
    elif kind is str:
        yield from ((text, "a valid string") for text in ("1", "true", "nan", "['a']", "{}"))
    elif get_origin(kind) is Literal:
        texts = ["1", "true", *SCALARS, *(f"'{name}'" for name in typos(str(get_args(kind)[0]), 3, draw))]
        yield from ((text, "must be '") for text in texts)
    elif get_origin(kind) is tuple:
        first, *others = get_args(kind)
        yield from ((text, "a valid list") for text in ("1", "'a'", "true", "{a = 1}", "nan"))
        yield from (("[]", "at least 1 item") for _ in range(int(limits.get("min_length", 0))))
        fill = ", 1" * len([part for part in others if part is not ...])
        yield from ((f"[{text}{fill}]", word) for text, word in wrong_values(first, draw))
        if ... not in others:
            yield from ((text, "is missing") for text in ("[]", "[1]"))
            yield "[1, 1, 1, 1]", "at most"


def _of_files(name: str, fields: dict[str, Any], draw: random.Random) -> Iterator[WrongCommand]:
    def file(label: str, content: str | bytes, *words: str) -> WrongCommand:
        content = content.encode() if isinstance(content, str) else content
        return WrongCommand(f"{name} {label}", ("run", name, "FILE"), words, content)

    for field, hint in fields.items():
        for number, (text, word) in enumerate(wrong_values(hint, draw)):
            key = "" if "0000000" in text else field  # Python's own limit on digits knows no key
            yield file(f"{field} {number}", f"{field} = {text}\n", key, word)
        for wrong in typos(field, 2, draw) if len(field) > 3 else ():
            yield file(f"typo {wrong}", f"{wrong} = 3\n", wrong, "got 3", f"did you mean '{field}'?")
        yield file(f"{field} twice", f"{field} = 1\n{field} = 2\n", field, "line 2", "twice")
        yield file(f"{field} as a table", f"[{field}]\nvalue = 1\n", field, "{'value': 1}")
        yield file(f"{field} dotted", f"{field}.value = 1\n", field, "{'value': 1}")
        yield file(f"{field} without value", f"{field} =\n", "line 1", "Invalid value")
    field = next(iter(fields))
    yield file("nested", f"{field} = {'[' * 20_000}", "nested too deeply")
    yield file("large", b"#" * 10_000_000, "larger than 65536 bytes")
    yield file("large line", f"{field} = '{'x' * 10_000_000}'", "larger than 65536 bytes")
    yield file("no text", b"\xff\xfe\x00" + os.urandom(16), "is not UTF-8 text (byte 0)")
    yield file("zeros", b"\x00" * 100, "line 1, column 1")
    yield file("unknown", "zzzzzzzz = 3\n", "zzzzzzzz", "got 3", "valid: ")
    yield file("unicode", f"{field}\u200b = 3\n", "line 1")
    yield file("colours", '"\\u001b[31m" = 1\n', "\\x1b[31m", "valid: ")
    yield file("json", '{"seed": 1}', "line 1")


def _of_words(name: str, fields: dict[str, Any], config: Any, draw: random.Random) -> Iterator[WrongCommand]:
    def command(label: str, words: list[str], *expected: str) -> WrongCommand:
        return WrongCommand(f"{name} --{label}", ("run", name, "smoke", *words), ("command line", *expected))

    for field, hint in fields.items():
        flag = f"--{field.replace('_', '-')}"
        kind, limits = _plain(hint)
        values = ["", "four", "1,5", "四", "\udcff", "[1]", "true", "x" * 20_000]
        if kind in (int, float):
            for number, value in enumerate([*values, *_outside(limits, kind, draw), "nan", "inf"]):
                yield command(f"{field} {number}", [flag, value], flag, "must be")
            yield command(f"{field} twice", [flag, "1", "2"], flag, "must have one value", "1 2")
            yield command(f"{field} alone", [flag], flag, "must have one value")
        if kind is int:
            yield command(f"{field} huge", [flag, HUGE], flag, "must")
            yield command(f"{field} fraction", [flag, "1.5"], flag, "a valid integer")
        if get_origin(kind) is tuple and _plain(get_args(kind)[0])[0] in (int, float):
            given = [str(value) for value in getattr(config, field)]
            for number, value in enumerate(values):
                yield command(f"{field} {number}", [flag, value, *given[1:]], "must be")
            if ... not in get_args(kind):
                yield command(f"{field} long", [flag, *given, "1"], flag, f"at most {len(given)} items")
        for wrong in typos(flag[2:], 2, draw) if len(field) > 3 else ():
            yield command(f"typo {wrong}", [f"--{wrong}", "1"], f"--{wrong}", f"did you mean '{flag}'?")
        yield command(f"{field} short", [f"-{field[0]}", "1"], f"-{field[0]}", "no such option")
    yield command("stray", ["stray"], "'stray'")


def _of_paths(folder: Path, draw: random.Random) -> Iterator[WrongCommand]:
    """Commands whose names, paths and options are wrong; the folder holds what they name."""
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe.toml")
    (folder / "loop.toml").symlink_to("loop.toml")
    (folder / "gone.toml").symlink_to("nowhere.toml")
    (folder / "no.py").write_text("def (")
    (folder / "bytes.py").write_bytes(b"\xff\x00")
    (folder / "question.py").write_text("x = 1\n")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "sweep.npz").write_bytes(b"PK\x03\x04 and then nothing")
    good = str(ROOT / "experiments" / "l2_equivalence.py")
    good_config = str(ROOT / "configs" / "l2_equivalence" / "smoke.toml")
    configs = {
        "empty": "is a folder",
        "pipe.toml": "is not a regular file",
        "loop.toml": "",
        "gone.toml": "no such file",
        "absent/x.toml": "there is no folder",
        "/dev/zero": "is not a regular file",
        "n" * 5000: "cannot be read",
        "a\0b": "",
    }
    for number, (path, words) in enumerate(configs.items()):
        yield WrongCommand(f"config {number}", ("run", good, str(folder / path)), (words,))
    experiments = {
        "no.py": "is not valid Python",
        "bytes.py": "",
        "question.py": "docstring",
        "empty": "is a folder",
        "pipe.toml": "is not a regular file",
    }
    for number, (path, words) in enumerate(experiments.items()):
        yield WrongCommand(f"experiment {number}", ("run", str(folder / path), good_config), (words,))
    yield from _of_names(draw)
    for number, line in enumerate(_wrong_lines(folder)):
        yield WrongCommand(f"line {number}", line, ())


def _of_names(draw: random.Random) -> Iterator[WrongCommand]:
    """Commands with a slip in the name of an experiment or of a config, to which the message gives the right name."""
    for wrong in typos("l2_equivalence", 5, draw):
        yield WrongCommand(f"name {wrong}", ("run", wrong, "smoke"), ("did you mean 'l2_equivalence.py'?",))
    for wrong in typos("default", 5, draw):
        words = ("did you mean 'default.toml'?",)
        yield WrongCommand(f"config {wrong}", ("run", "l2_equivalence", wrong), words)
        yield WrongCommand(f"all {wrong}", ("claims", "--config", wrong), ("did you mean 'default'?",))


def _wrong_lines(folder: Path) -> list[tuple[str, ...]]:
    """Lines that no command has, or whose options are wrong."""
    lines: list[tuple[str, ...]] = [
        (),
        ("rum",),
        ("run",),
        ("run", "x" * 5000, "smoke"),
        ("run", "", ""),
        ("claims", "--confg", "x"),
        ("list", "x"),
    ]
    lines += [("run", "l2_equivalence"), ("run", "l2_equivalence", "smoke", "--out"), ("claims", "--config")]
    lines += [("sweep",), ("sweep", "shw", "x")]
    lines += [
        ("sweep", action, str(folder / where))
        for action in ("show", "report")
        for where in ("", "no.py", "zz", "damaged")
    ]
    lines += [
        ("sweep", "show", str(folder), "--rows", rows) for rows in ("0", "-1", "x", "nan", "1.5", "", HUGE[:1] + "e9")
    ]
    lines += [
        ("sweep", "report", str(folder), "--out", "absent/x.html"),
        ("sweep", "show"),
        ("sweep", "show", "a", "b"),
    ]
    return lines


def of_command_line(folder: Path) -> list[WrongCommand]:
    """All of them, for a command line started in the root of the repository."""
    draw = random.Random(0)
    found = [*_of_paths(folder, draw)]
    for name in EXPERIMENTS:
        config_class = load_experiment(ROOT / "experiments" / f"{name}.py").config_class
        config = read_config(ROOT / "configs" / name / "smoke.toml", config_class)
        hints = typing.get_type_hints(config_class, include_extras=True)
        fields = {field: hints[field] for field in config_values(config)}
        found += [*_of_files(name, fields, draw), *_of_words(name, fields, config, draw)]
    return found
