"""Experiments: one Python file that asks one question, loaded, run and written into a folder of its own.

Such a file has a docstring whose first line is the question, a frozen dataclass ``Config``,
``run(config, key) -> dict of arrays``, ``figure(arrays)``, ``claims(arrays)`` and, if it likes,
``table(arrays) -> DataFrame``. A ``run(config, key, saved)`` gets the keyword arguments that let its main sweep,
``sweep.run(..., **saved)``, go on after an interruption.

The folder is named after the experiment and its resolved config, so the same run lands in the same place. This file is
not for reading configs (``_config.py``) nor for the file formats (``_artifacts.py``), and it prints nothing.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from regopt._core import io
from regopt._core.io import Arrays
from regopt.experiment import _artifacts as artifacts
from regopt.experiment._claims import Claim
from regopt.experiment._config import COMMAND_LINE, ConfigError, check_fields, check_file, config_values, to_toml

PIECES = ("run", "figure", "claims")
SWEEP = "sweep"  # the folder of an experiment's saved sweep, in that of its run


@dataclass(frozen=True)
class Experiment:
    """An experiment file, loaded.

    Attributes:
        name: the file's name without ``.py``.
        path: the file.
        question: the first line of its docstring.
        config_class: its frozen dataclass ``Config``.
        run: ``run(config, key)`` or ``run(config, key, saved)``, the arrays; ``arrays["interrupted"]`` true says that
            it was ended early.
        figure: ``figure(arrays)``, a matplotlib figure or a dictionary of them.
        claims: ``claims(arrays)``, a list of claims.
        table: ``table(arrays)``, a DataFrame; None where the file has none.
    """

    name: str
    path: Path
    question: str
    config_class: type[Any]
    run: Callable[..., Mapping[str, Any]]
    figure: Callable[[Arrays], Any]
    claims: Callable[[Arrays], list[Claim]]
    table: Callable[[Arrays], Any] | None = None


@dataclass(frozen=True)
class Listing:
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


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Attributes:
        folder: where everything was written.
        claims: the claims; none after an interruption.
        interrupted: whether the run was ended early.
        seconds: how long ``run`` took.
        skipped: what an interrupted run could not provide, and why.
    """

    folder: Path
    claims: tuple[Claim, ...]
    interrupted: bool
    seconds: float
    skipped: tuple[str, ...] = ()


def load_experiment(path: Path) -> Experiment:
    """Import an experiment file by its path.

    Args:
        path: a Python file.

    Returns:
        Its pieces.

    Raises:
        ConfigError: the file is missing, is no Python, does not import, or lacks a piece.
    """
    check_file(path, ".py")
    module = _import(path)
    question = _first_line(module.__doc__)
    if not question:
        raise ConfigError(path, "", "lacks a docstring whose first line is its question")
    if not hasattr(module, "Config"):
        raise ConfigError(path, "Config", "is missing; must be a frozen dataclass")
    check_fields(module.Config, path)
    for piece in (*PIECES, *(["table"] if hasattr(module, "table") else [])):
        if not callable(getattr(module, piece, None)):
            raise ConfigError(path, piece, "is missing; must be a function")
    table = getattr(module, "table", None)
    return Experiment(path.stem, path, question, module.Config, module.run, module.figure, module.claims, table)


def discover(root: Path) -> list[Listing]:
    """Find the experiments of a project without importing any.

    Args:
        root: the folder that holds ``experiments`` and ``configs``.

    Returns:
        One entry for each ``experiments/*.py`` whose name does not start with an underscore, by name.
    """
    return [
        Listing(path.stem, path, _question(path), tuple(sorted((root / "configs" / path.stem).glob("*.toml"))))
        for path in sorted((root / "experiments").glob("[!_]*.py"))
    ]


def run_folder(experiment: Experiment, config: object, out: Path) -> Path:
    """Name the folder of a run, ``out/<name>-<hash>``: 8 hexadecimal digits of the name and resolved config.

    Args:
        experiment: what is run.
        config: its config.
        out: the folder of all runs.

    Returns:
        A path that is the same for the same run and another one when any value differs.
    """
    identity = {"config": config_values(config), "experiment": experiment.name}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return out / f"{experiment.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def execute(
    experiment: Experiment, config: Any, out: Path, *, allow_different: bool = False, hosts: str | None = None
) -> Outcome:
    """Run an experiment and write what it found.

    The folder is proven writable before anything is computed. Arrays and table are written first, then
    claims and figure, each file whole or not at all, so an error in a later piece loses nothing of an
    earlier one. An interrupted run leaves arrays, table and, if it can be drawn, the figure, but no claims; one of
    several hosts whose shares are not all done leaves its share alone.

    Args:
        experiment: from `load_experiment`.
        config: an instance of its ``Config``; the random key comes from its ``seed`` (0 without one).
        out: the folder of all runs.
        allow_different: go on from a sweep that other versions, devices or data began.
        hosts: which host this is and of how many, as in "1/4", where several train shares of its sweep.

    Returns:
        Where the files are, the claims, and whether the run was interrupted.

    Raises:
        ConfigError: the folder cannot be written or holds another sweep, the seed is none, or ``hosts`` are given and
            the experiment has no sweep that they could share.
    """
    folder = run_folder(experiment, config, out)
    seed = getattr(config, "seed", 0)
    if not 0 <= seed < 2**32:  # jax.random.key would drop the higher bits and repeat another seed
        raise ConfigError(folder.name, "seed", f"must be an integer in [0, 2**32), got {seed}")
    shares = "saved" in inspect.signature(experiment.run).parameters
    if hosts is not None and not shares:
        raise ConfigError(COMMAND_LINE, "--hosts", f"{experiment.name} has no sweep that hosts could share")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        io.write_text(folder / "config.toml", to_toml(config, f"Experiment: {experiment.name}"))
    except OSError as error:
        raise ConfigError(folder, "", f"cannot be written: {error.strerror}") from error
    io.write_json(folder / "versions.json", io.versions())
    import jax

    start = time.perf_counter()
    saved = {"out": folder / SWEEP, "allow_different": allow_different} | ({"hosts": hosts} if hosts else {})
    result = _run(experiment, config, jax.random.key(seed), saved if shares else None)
    seconds = time.perf_counter() - start
    if hosts is not None and _interrupted(result):  # the host that ends last writes, over nothing of another's
        return Outcome(folder, (), True, seconds)
    artifacts.remove_results(folder)
    arrays = io.write_arrays(folder / "arrays.npz", result)
    interrupted = _interrupted(arrays)
    claims: tuple[Claim, ...] = ()
    skipped: list[str] = []
    if experiment.table is not None:
        with _forgiving("table", interrupted, skipped):
            io.write_table(folder / "table.parquet", experiment.table(arrays))
    if not interrupted:
        claims = tuple(experiment.claims(arrays))
        artifacts.write_claims(folder / "claims.json", claims)
    with _forgiving("figure", interrupted, skipped):
        artifacts.write_figures(folder, experiment.name, experiment.figure(arrays))
    return Outcome(folder, claims, interrupted, seconds, tuple(skipped))


def _run(experiment: Experiment, config: Any, key: Any, saved: dict[str, Any] | None) -> Mapping[str, Any]:
    """The experiment's arrays; if it saves a sweep, in a folder inside its own."""
    if saved is None:
        return experiment.run(config, key)
    from regopt.sweep.checkpoint import StoreError

    try:
        return experiment.run(config, key, saved)
    except StoreError as error:
        raise ConfigError(saved["out"].parent, "", str(error)) from error


def _interrupted(arrays: Mapping[str, Any]) -> bool:
    """Whether a sweep among the results was ended early, or has shares that others still train."""
    import numpy as np

    return bool(np.any(arrays.get("interrupted", False)))


@contextlib.contextmanager
def _forgiving(piece: str, interrupted: bool, skipped: list[str]) -> Iterator[None]:
    """Note an error instead of raising it where an interrupted run has an excuse for it."""
    try:
        yield
    except Exception as error:
        if not interrupted:
            raise
        skipped.append(f"{piece}: {type(error).__name__}: {error}")


def _import(path: Path) -> ModuleType:
    name = f"regopt_experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their annotations up there
    sys.path.append(str(path.parent))  # so that it imports what lies beside it, as a script does
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        if isinstance(error, SyntaxError):
            line = f"line {error.lineno}" if error.lineno else ""
            raise ConfigError(path, line, f"is no Python: {error.msg}") from error
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
