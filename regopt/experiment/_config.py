"""Configs: a TOML file and command line overrides in, a checked frozen dataclass out.

The dataclass is the schema. A person writes the file, so whatever is wrong with it becomes one `ConfigError`
line with the file, the key, the value and what would be right. This file is not for running experiments, and
it starts neither jax nor anything else that is slow to import.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

from regopt._core.messages import describe, element, one_line, shown, suggestion, supported

C = TypeVar("C")

MAX_BYTES = 65_536  # a person's config is far smaller, and tomllib is quadratic on hostile files
# options of `regopt run`, so no field can be overridden by that name
RESERVED = ("allow_different", "debug", "help", "hosts", "out")
COMMAND_LINE = "command line"


class ConfigError(ValueError):
    """Something that a person wrote is wrong; its text is a single line, ``file: key: message``.

    Attributes:
        file: the file, or "command line".
        key: the key or flag inside it; empty when the whole file is meant.
        message: what is wrong and what would be right.
    """

    def __init__(self, file: str | Path, key: str, message: str) -> None:
        super().__init__(file, key, message)
        self.file, self.key, self.message = str(file), key, message

    def __str__(self) -> str:
        key = self.key if len(self.key) <= 60 else self.key[:57] + "..."
        file = self.file if len(self.file) <= 300 else "..." + self.file[-297:]
        return one_line(": ".join(part for part in (file, key, self.message) if part))


def check_file(path: Path, suffix: str = "") -> None:
    """Make sure that a path names a file that can be read.

    Args:
        path: a file that a person named.
        suffix: how its name must end.

    Raises:
        ConfigError: nothing is there, with the nearest name that is; or it is something else.
    """
    try:
        if path.is_file():
            if not path.name.endswith(suffix):
                raise ConfigError(path, "", f"is the wrong file; its name must end in {suffix}")
            return
        if path.exists():
            raise ConfigError(path, "", "is a folder, not a file" if path.is_dir() else "is not a regular file")
        if not path.parent.is_dir():
            raise ConfigError(path, "", f"no such file: there is no folder {path.parent}")
        siblings = [other.name for other in path.parent.iterdir() if other.is_file()]
    except OSError as error:
        raise ConfigError(path, "", f"cannot be read: {error.strerror}") from error
    raise ConfigError(path, "", f"no such file in {path.parent}; {suggestion(path.name, siblings)}")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: a file of at most 64 KiB in UTF-8.

    Returns:
        Its keys and values, unchecked.

    Raises:
        ConfigError: the file is missing, unreadable, too large, no text or no TOML.
    """
    check_file(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(path, "", f"is larger than {MAX_BYTES} bytes, so it is no config")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(path, "", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, "", f"is not UTF-8 text (byte {error.start})") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error
    except RecursionError as error:
        raise ConfigError(path, "", "is nested too deeply; a config holds scalars and lists of them") from error
    except ValueError as error:  # the limit on the digits of an integer
        raise ConfigError(path, "", "holds a number that is too long; integers must fit in 64 bits") from error


def read_config(path: Path, config_class: type[C], overrides: Sequence[str] = ()) -> C:
    """Read a config, apply the overrides, and check both against the dataclass.

    Args:
        path: a TOML file whose keys are fields of the dataclass.
        config_class: a frozen dataclass as `check_fields` accepts it.
        overrides: command line words such as ``["--learning-rate", "0.1", "--no-nesterov"]``; with several
            values for a tuple. The last one counts.

    Returns:
        An instance of the dataclass whose values have the annotated types and lie in the annotated ranges.

    Raises:
        ConfigError: the file or an override is wrong; says where and what would be right.
    """
    config = _checked(read_toml(path), config_class, str(path))
    if overrides:
        config = _checked(_overridden(config, overrides), config_class, COMMAND_LINE)
    return config


def config_values(config: object) -> dict[str, Any]:
    """List the fields of a config, in their order.

    Args:
        config: an instance of a dataclass.

    Returns:
        Field names and values.
    """
    return {field.name: getattr(config, field.name) for field in _fields(type(config))}


def to_toml(config: object, heading: str) -> str:
    """Write a config as TOML that `read_config` reads back to an equal config.

    Args:
        config: an instance of a config dataclass.
        heading: the comment on the first line.

    Returns:
        The text of the file.
    """
    lines = [f"# {one_line(heading)}"]
    for name, value in config_values(config).items():
        # JSON's scalars and lists are TOML's, but for the delete character, which TOML wants escaped
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
        lines.append(f"{name if name.isascii() else json.dumps(name, ensure_ascii=False)} = {text}")
    return "\n".join(lines) + "\n"


def check_fields(config_class: Any, file: str | Path) -> None:
    """Make sure that a class can serve as a config.

    Args:
        config_class: should be a frozen dataclass; its fields bool, int, float, str, a Literal of those, or
            tuples of those, each possibly ``Annotated`` with a range.
        file: the file that defines it, for the message.

    Raises:
        ConfigError: it is something else.
    """
    if not (isinstance(config_class, type) and dataclasses.is_dataclass(config_class)):
        raise ConfigError(file, "Config", "must be a dataclass")
    if not cast(Any, config_class).__dataclass_params__.frozen:
        raise ConfigError(file, "Config", "must be frozen: @dataclasses.dataclass(frozen=True)")
    try:
        hints = get_type_hints(config_class, include_extras=True)
    except Exception as error:
        raise ConfigError(file, "Config", f"has an annotation that means nothing: {error}") from error
    for field in _fields(config_class):
        if field.name in RESERVED:
            raise ConfigError(file, f"Config.{field.name}", f"the command line takes --{field.name} for itself")
        if not supported(hints[field.name]):
            kinds = "bool, int, float, str, Literal or tuples of them"
            raise ConfigError(file, f"Config.{field.name}", f"must be {kinds}, got {hints[field.name]}")


def _fields(config_class: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(config_class) if field.init]


def _syntax_error(path: Path, text: str, reason: str) -> ConfigError:
    where = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", reason)
    lines = text.splitlines() or [""]
    line, column = len(lines), len(lines[-1]) + 1
    if where:
        reason = reason[: where.start()]
        line, column = (int(where[1]), int(where[2])) if where[1] else (line, column)
    key = ""
    if reason.startswith("Cannot overwrite"):
        named = (re.match(r"\s*([^=#\[]+?)\s*=", before) for before in reversed(lines[:line]))
        key, reason = next((match[1] for match in named if match), ""), "the key is given twice"
    written = lines[min(line, len(lines)) - 1].strip()
    return ConfigError(path, key, f"line {line}, column {column}: {reason}, in {shown(written)}")


def _plain(value: Any, file: str, key: str) -> Any:
    """Turn lists into tuples, and refuse what TOML, JSON or pydantic would stumble over."""
    if isinstance(value, list | tuple):
        return tuple([_plain(item, file, key) for item in value])
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ConfigError(file, key, f"must fit in 64 bits, got {shown(value)}")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ConfigError(file, key, f"must be text in UTF-8, got {shown(value)}")
    return value


def _checked(values: dict[str, Any], config_class: type[C], file: str) -> C:
    hints = get_type_hints(config_class, include_extras=True)
    names = [field.name for field in _fields(config_class)]
    for key, value in values.items():
        if key not in names:
            raise ConfigError(file, key, f"no such key, got {shown(value)}; {suggestion(key, names)}")
    plain = {key: _plain(value, file, key) for key, value in values.items()}
    for field in _fields(config_class):
        if field.default is not dataclasses.MISSING:
            plain.setdefault(field.name, field.default)
        elif field.name not in plain:
            raise ConfigError(file, field.name, f"is missing; must be {describe(hints[field.name])}")
    clean = _validated(plain, {name: hints[name] for name in names}, file)
    try:
        return config_class(**clean)
    except Exception as error:  # its __post_init__ has the last word
        raise ConfigError(file, "", str(error)) from error


def _validated(values: dict[str, Any], hints: dict[str, Any], file: str) -> dict[str, Any]:
    """Check against the annotations; the result holds floats where the values hold integers for them."""
    import pydantic

    schema = _typed_dict(hints)
    schema.__pydantic_config__ = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    try:
        return pydantic.TypeAdapter(schema).validate_python(values)
    except pydantic.ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = problem["loc"][:1] if problem["type"] == "missing" else problem["loc"]
        key, value, hint = "", values, None
        for part in cast(tuple[Any, ...], place):
            key, hint = (f"{key}[{part}]", element(hint, part)) if key else (part, hints[part])
            value = value[part]
        finite = "finite, " if problem["type"] == "finite_number" else ""
        raise ConfigError(file, key, f"must be {finite}{describe(hint)}, got {shown(value)}") from error


def _typed_dict(hints: dict[str, Any]) -> Any:
    from typing_extensions import TypedDict  # pydantic refuses typing's own before Python 3.12

    return cast(Any, TypedDict)("Config", hints)


def _overridden(config: object, overrides: Sequence[str]) -> dict[str, Any]:
    """Apply overrides one flag at a time, so that a refusal names its flag."""
    import tyro

    values = config_values(config)
    plain, ranged = get_type_hints(type(config)), get_type_hints(type(config), include_extras=True)
    schema = _typed_dict({name: plain[name] for name in values})
    for flag, words in _flags(overrides, {name: plain[name] for name in values}):
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                values = tyro.cli(schema, args=words, default=values, add_help=False, console_outputs=False)
        except SystemExit as error:
            name = flag[2:].replace("-", "_")
            if plain.get(name, bool) is bool:
                right = f"takes no value; write {flag} alone"
            else:
                right = f"must be {describe(ranged[name])}"
            raise ConfigError(COMMAND_LINE, flag, f"{right}, got {shown(' '.join(words))}") from error
    return values


def _flags(words: Sequence[str], hints: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Split ``--a 1 --b 2 3`` into its flags, each with its own words, checking the names."""
    names = [*hints, *(f"no_{name}" for name, hint in hints.items() if hint is bool)]
    starts = [place for place, word in enumerate(words) if re.match(r"--|-(?!inf|nan)[^\W\d]", word)]
    if starts[:1] != [0]:
        raise ConfigError(COMMAND_LINE, "", f"expected --<field> before {shown(words[0])}")
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        flag = words[start].partition("=")[0]
        if not flag.startswith("--") or flag[2:].replace("-", "_") not in names:
            valid = [f"--{name.replace('_', '-')}" for name in names]
            raise ConfigError(COMMAND_LINE, flag, f"no such option; {suggestion(flag, valid)}")
        yield flag, list(words[start:end])
