"""Experiment files: found by name, listed without an import, and loaded by path.

Such a file has a docstring whose first line is the question, a frozen dataclass ``Config``,
``run(config, key) -> dict of arrays``, ``figure(config, arrays)``, ``claims(config, arrays)`` and, optionally,
``table(config, arrays) -> DataFrame``. A ``run(config, key, saved)`` receives keyword arguments for its main sweep,
``sweep.run(..., **saved)``, which then resumes after an interruption.

They are run in ``_runner.py``.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from regopt._core.io import Arrays
from regopt.experiment._claims import Claim
from regopt.experiment._config import ConfigError, check_fields, check_file

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

PIECES = {"run": "(config, key)", "figure": "(config, arrays)", "claims": "(config, arrays)"}
OPTIONAL = {"table": "(config, arrays)"}
CHECKOUT = "experiments are files of a checkout, not of the package: start regopt where experiments/ lies"
PREFIX = "regopt_experiment_"  # of the names of modules that experiments become


@dataclass(frozen=True)
class Experiment:
    """An experiment file, loaded.

    Attributes:
        name: the file's name without ``.py``.
        path: the file.
        question: the first line of its docstring.
        config_class: its frozen dataclass ``Config``.
        run: ``run(config, key)`` or ``run(config, key, saved)``, the arrays; a true ``arrays["interrupted"]`` means
            that the run ended early.
        figure: ``figure(config, arrays)``, a matplotlib figure or a dictionary of them.
        claims: ``claims(config, arrays)``, a list of claims.
        table: ``table(config, arrays)``, a DataFrame; None where the file has none.

    >>> from dataclasses import make_dataclass
    >>> from matplotlib.figure import Figure
    >>> doubling = Experiment(
    ...     name="doubling",
    ...     path=Path("doubling.py"),
    ...     question="Is the number doubled?",
    ...     config_class=make_dataclass("Config", [("number", float, 3.0)], frozen=True),
    ...     run=lambda config, key: {"doubled": config.number + config.number},
    ...     figure=lambda config, arrays: Figure(),
    ...     claims=lambda config, arrays: [Claim("twice it", "arithmetic", 2 * config.number, arrays["doubled"])],
    ... )
    >>> config = doubling.config_class()
    >>> doubling.claims(config, doubling.run(config, key=None))[0].verdict
    'holds'
    """

    name: str
    path: Path
    question: str
    config_class: type
    run: Callable[..., Mapping[str, ArrayLike]]
    figure: Callable[[object, Arrays], Figure | Mapping[str, Figure]]
    claims: Callable[[object, Arrays], list[Claim]]
    table: Callable[[object, Arrays], pd.DataFrame] | None = None


class Listing(NamedTuple):
    """An experiment file, found but not imported.

    Attributes:
        name: the file's name without ``.py``.
        path: the file.
        question: the first line of its docstring; empty where it has none or does not parse.
        configs: its config files, ``configs/<name>/*.toml``.
    """

    name: str
    path: Path
    question: str
    configs: tuple[Path, ...]


def load_experiment(path: str | Path) -> Experiment:
    """Import an experiment file by its path.

    Args:
        path: a Python file.

    Returns:
        The experiment.

    Raises:
        ConfigError: the file is missing, is no Python, does not import, or lacks a function or class or its arguments.

    >>> import tempfile
    >>> text = '''
    ... "Is the number doubled?"
    ... from dataclasses import dataclass
    ... from matplotlib.figure import Figure
    ... from regopt.experiment import Claim
    ...
    ... @dataclass(frozen=True)
    ... class Config:
    ...     number: float = 3.0
    ...
    ... def run(config, key):
    ...     return {"doubled": config.number + config.number}
    ...
    ... def figure(config, arrays):
    ...     return Figure()
    ...
    ... def claims(config, arrays):
    ...     return [Claim("it is twice the number", "arithmetic", 2 * config.number, arrays["doubled"])]
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "doubling.py")
    ...     _ = path.write_text(text)
    ...     load_experiment(path).question
    'Is the number doubled?'
    """
    path = Path(path)
    if path.parent.name == "experiments" and not path.parent.is_dir():
        raise ConfigError(path, "", f"no such file; {CHECKOUT}")
    check_file(path, ".py")
    module = _import(path)
    question = _first_line(module.__doc__)
    if not question:
        raise ConfigError(path, "", "lacks a docstring whose first line is its question")
    if not hasattr(module, "Config"):
        raise ConfigError(path, "Config", "is missing; must be a frozen dataclass")
    check_fields(module.Config, path)
    for piece, arguments in {**PIECES, **OPTIONAL}.items():
        if piece in PIECES or hasattr(module, piece):
            _check_piece(path, piece, getattr(module, piece, None), arguments)
    table = getattr(module, "table", None)
    return Experiment(path.stem, path, question, module.Config, module.run, module.figure, module.claims, table)


def discover(root: Path) -> list[Listing]:
    """Find the experiments of a project without importing any.

    Args:
        root: the folder that holds ``experiments`` and ``configs``.

    Returns:
        One entry for each ``experiments/*.py`` whose name does not start with an underscore, sorted by name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "experiments", "coin.py")
    ...     path.parent.mkdir()
    ...     _ = path.write_text('"Is the coin fair?"')
    ...     [(found.name, found.question) for found in discover(Path(folder))]
    [('coin', 'Is the coin fair?')]
    """
    return [
        Listing(path.stem, path, _question(path), tuple(sorted((root / "configs" / path.stem).glob("*.toml"))))
        for path in sorted((root / "experiments").glob("[!_]*.py"))
    ]


def named(text: str, folder: Path, suffix: str) -> Path:
    """Find what a path or a bare name means; a wrong one is refused where the file is read."""
    path = Path(text)
    bare = path.name == text and path.suffix != suffix
    return folder / f"{text}{suffix}" if bare and not os.path.isfile(path) else path


def configs_of(experiment: Path) -> Path:
    """Find ``configs/<name>`` beside the folder of an experiment, relative where that is shorter."""
    return _shorter(Path(os.path.abspath(experiment)).parent.parent / "configs" / experiment.stem)


def unexpected(error: BaseException) -> str:
    """Say what an error inside an experiment is, and the line of the experiment's file that led to it."""
    places = [
        f"{_shorter(Path(frame.f_code.co_filename))}: line {line}: "
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith(PREFIX)
    ]
    return f"{places[-1] if places else ''}{type(error).__name__}: {error}"


def _shorter(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _check_piece(path: Path, piece: str, function: object, arguments: str) -> None:
    """Refuse a piece that could not be called, before a run takes its time."""
    if not callable(function):
        raise ConfigError(path, piece, "is missing; must be a function")
    signature = inspect.signature(function)
    given = 3 if "saved" in signature.parameters else 2
    try:
        signature.bind(*range(given))
    except TypeError as error:
        raise ConfigError(path, piece, f"must be called as {piece}{arguments}, got {piece}{signature}") from error


def _import(path: Path) -> ModuleType:
    name = PREFIX + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their annotations up there
    sys.path.append(str(path.parent))  # so that it can import the files beside it, as a script can
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        if isinstance(error, SyntaxError):
            line = f"line {error.lineno}" if error.lineno else ""
            raise ConfigError(path, line, f"is not valid Python: {error.msg}") from error
        mend = "; pip install 'regopt[experiments]'" if isinstance(error, ModuleNotFoundError) else ""
        raise ConfigError(path, "", f"does not import: {type(error).__name__}: {error}{mend}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _question(path: Path) -> str:
    try:
        return _first_line(ast.get_docstring(ast.parse(path.read_bytes())))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].strip()
