"""Configs: read from a TOML file and overrides of the command line into a checked frozen dataclass.

The dataclass is the schema, and pydantic checks both sources against it. A person writes them, so whatever is wrong
becomes one `ConfigError` line with the file, the key, the value and what would be right. No slow imports, such as jax.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from regopt._core.messages import one_line, shown, suggestion
from regopt.experiment._limits import bounded

if TYPE_CHECKING:
    import pydantic
    from _typeshed import DataclassInstance
    from pydantic_core import ErrorDetails

C = TypeVar("C")

MAX_BYTES = 65_536  # a person's config is far smaller, and tomllib is quadratic on hostile files
# options of `regopt run`, so no names of fields
RESERVED = ("address", "allow_different", "claim", "debug", "executor", "help", "out")
COMMAND_LINE = "command line"


class ConfigError(ValueError):
    """An error in a config, an experiment file or a command line; its text is one line, ``file: key: message``.

    Attributes:
        file: the file, or "command line".
        key: the key or flag inside it; empty when the whole file is meant.
        message: what is wrong and what would be right.

    >>> print(ConfigError("default.toml", "decay", "must be less than 1, got 3"))
    default.toml: decay: must be less than 1, got 3
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
        ConfigError: there is no such file, and the message names the nearest one; or it is something else.
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


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file.

    Args:
        path: a file of at most 64 KiB in UTF-8.

    Returns:
        Its keys and values, unchecked.

    Raises:
        ConfigError: the file is missing, unreadable, too large, no text or no TOML.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".toml") as file:
    ...     _ = Path(file.name).write_text("decay = 0.9")
    ...     read_toml(Path(file.name))
    {'decay': 0.9}
    """
    check_file(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(path, "", f"is larger than {MAX_BYTES} bytes, the most that a config may have")
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
        raise ConfigError(path, "", "holds an integer with too many digits; integers must fit in 64 bits") from error


def read_config(path: str | Path, config_class: type[C], overrides: Sequence[str] = ()) -> C:
    """Read a config, apply the overrides, and check both against the dataclass.

    Args:
        path: a TOML file whose keys are fields of the dataclass.
        config_class: a frozen dataclass that `check_fields` accepts.
        overrides: command line words such as ``["--learning-rate", "0.1", "--no-nesterov"]``; a tuple takes
            several values. The last one counts.

    Returns:
        An instance of the dataclass whose values have the annotated types and lie in the annotated ranges.

    Raises:
        ConfigError: the file or an override is wrong; the message says where and what would be right.

    >>> import tempfile
    >>> Config = dataclasses.make_dataclass("Config", [("decay", float, 0.5), ("steps", int, 10)], frozen=True)
    >>> with tempfile.NamedTemporaryFile(suffix=".toml") as file:
    ...     _ = Path(file.name).write_text("decay = 0.9")
    ...     read_config(Path(file.name), Config, ["--steps", "20"])
    Config(decay=0.9, steps=20)
    """
    return to_config(read_toml(Path(path)), config_class, path, overrides)


def to_config(
    values: Mapping[str, object], config_class: type[C], file: str | Path, overrides: Sequence[str] = ()
) -> C:
    """Check the values that `read_toml` read, then apply the overrides; messages name ``file``."""
    given = {field.name: field.default for field in _fields(config_class) if field.default is not dataclasses.MISSING}
    config = _checked({**given, **values}, config_class, str(file))
    if overrides:
        hints = get_type_hints(config_class, include_extras=True)
        words = dict(_overrides(overrides, {name: hints[name] for name in config_values(config)}))
        config = _checked({**config_values(config), **words}, config_class, COMMAND_LINE)
    return config


def config_values(config: object) -> dict[str, object]:
    """List the fields of a config with their values, in their order."""
    return {field.name: getattr(config, field.name) for field in _fields(type(config))}


def check_fields(config_class: object, file: str | Path) -> None:
    """Make sure that a class can serve as a config.

    Args:
        config_class: should be a frozen dataclass; its fields bool, int, float, str, a Literal of strings, or
            tuples of those, each possibly ``Annotated`` with a range.
        file: the file that defines it, for the message.

    Raises:
        ConfigError: it is something else.
    """
    if not (isinstance(config_class, type) and dataclasses.is_dataclass(config_class)):
        raise ConfigError(file, "Config", "must be a dataclass")
    if not getattr(getattr(config_class, "__dataclass_params__", None), "frozen", False):
        raise ConfigError(file, "Config", "must be frozen: @dataclasses.dataclass(frozen=True)")
    try:
        hints = get_type_hints(config_class, include_extras=True)
    except Exception as error:
        raise ConfigError(file, "Config", f"has an annotation that cannot be resolved: {error}") from error
    for field in _fields(config_class):
        if field.name in RESERVED:
            raise ConfigError(file, f"Config.{field.name}", f"is an option, --{field.name}, of every run: rename it")
        if not _supported(hints[field.name]):
            kinds = "bool, int, float, str, Literal of strings or tuples of them"
            raise ConfigError(file, f"Config.{field.name}", f"must be {kinds}, got {hints[field.name]}")


def _supported(hint: object) -> bool:
    """Whether TOML and the command line can both hold the values of an annotation."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _supported(parts[0])
    if origin is Literal:
        return all(isinstance(choice, str) for choice in parts)
    if origin is tuple:
        return parts != ((),) and all(_supported(part) for part in parts if part is not ...)
    return hint in (bool, int, float, str)


def _fields(config_class: type) -> list[dataclasses.Field[object]]:
    return [field for field in dataclasses.fields(cast("type[DataclassInstance]", config_class)) if field.init]


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


def _checked(values: Mapping[str, object], config_class: type[C], file: str) -> C:
    """Check values against the annotations: those of a file strictly, words of a command line as what they spell."""
    import pydantic

    plain = {key: _plain(value, file, _spelled(key, file)) for key, value in values.items()}
    try:
        clean = _schema(config_class).validate_python(plain, strict=file != COMMAND_LINE)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False)
        unknown_first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
        raise _refusal(unknown_first, [field.name for field in _fields(config_class)], file) from error
    fitting = {key: _plain(value, file, _spelled(key, file)) for key, value in clean.items()}  # words spell integers
    try:
        return config_class(**fitting)
    except Exception as error:  # of its __post_init__, which may check further
        raise ConfigError(file, "", str(error)) from error


def _plain(value: object, file: str, key: str) -> object:
    """Turn lists into tuples, and refuse what TOML, JSON or pydantic would stumble over."""
    if isinstance(value, list | tuple):
        return tuple([_plain(item, file, key) for item in value])
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ConfigError(file, key, f"must fit in 64 bits, got {shown(value)}")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ConfigError(file, key, f"must be text in UTF-8, got {shown(value)}")
    return value


@functools.lru_cache(maxsize=32)
def _schema(config_class: type) -> pydantic.TypeAdapter[dict[str, object]]:
    """Everything that the annotations say, without the ``__post_init__`` of the class."""
    import pydantic
    from typing_extensions import TypedDict  # pydantic refuses typing's own before Python 3.12

    hints, names = get_type_hints(config_class, include_extras=True), [field.name for field in _fields(config_class)]
    schema = cast(Any, TypedDict)("Config", {name: bounded(name, hints[name]) for name in names})
    schema.__pydantic_config__ = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
    return pydantic.TypeAdapter(schema)


def _refusal(problem: ErrorDetails, names: list[str], file: str) -> ConfigError:
    """Shorten pydantic's message to one line in the words of the file."""
    name, *places = problem["loc"]
    key = "".join([_spelled(str(name), file), *(f"[{place}]" for place in places)])
    got = shown(problem["input"])
    if problem["type"] == "extra_forbidden":
        return ConfigError(file, key, f"no such key, got {got}; {suggestion(str(name), names)}")
    if problem["type"] == "missing":
        return ConfigError(file, key, f"is missing, got {got}" if places else "is missing")
    said = re.sub("^(Input|String|Tuple|Value) should", "must", problem["msg"]).replace("a valid tuple", "a valid list")
    said = said.partition(", unable to parse")[0]  # what follows says the same again
    return ConfigError(file, key, f"{said}, got {got}")


def _overrides(words: Sequence[str], hints: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Split ``--a 1 --b 2 3 --no-c`` into the names of fields and the words, or truth values, given for them."""
    kinds = {name: get_args(hint)[0] if get_origin(hint) is Annotated else hint for name, hint in hints.items()}
    switches = {f"no_{name}": name for name, kind in kinds.items() if kind is bool}
    starts = [place for place, word in enumerate(words) if re.match(r"--|-(?!inf|nan)[^\W\d]", word)]
    if starts[:1] != [0]:
        raise ConfigError(COMMAND_LINE, "", f"expected --<field> before {shown(words[0])}")
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        flag, equals, first = words[start].partition("=")
        option, given = flag[2:].replace("-", "_"), (*([first] if equals else ()), *words[start + 1 : end])
        if not flag.startswith("--") or option not in {*kinds, *switches}:
            valid = [_spelled(known, COMMAND_LINE) for known in (*kinds, *switches, *RESERVED)]
            raise ConfigError(COMMAND_LINE, flag, f"no such option; {suggestion(flag, valid)}")
        name = switches.get(option, option)
        kind = kinds[name]
        if kind is bool and given:
            ways = " or ".join(_spelled(way, COMMAND_LINE) for way in (name, f"no_{name}"))
            raise ConfigError(COMMAND_LINE, flag, f"takes no value; write {ways} alone, got {shown(given[0])}")
        many = get_origin(kind) is tuple
        if not many and kind is not bool and len(given) != 1:
            raise ConfigError(COMMAND_LINE, flag, f"must have one value, got {shown(' '.join(given))}")
        yield name, option == name if kind is bool else given if many else given[0]


def _spelled(name: str, file: str) -> str:
    return f"--{name.replace('_', '-')}" if file == COMMAND_LINE else name
