"""Reading a result from the folder that ``Result.save`` wrote."""

import dataclasses
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from regopt._core.io import JsonObject, digest
from regopt._core.messages import one_line
from regopt._core.types import Tree
from regopt.sweep import checkpoint
from regopt.sweep.results import _io
from regopt.sweep.results._at_rest import TABLE_OF_ANOTHER, StatesInFolder
from regopt.sweep.results._history import SEATS, History
from regopt.sweep.results._result import Result
from regopt.sweep.space import Settings

MOST_DEFLATED = 1100  # bytes that deflate makes of one byte; 1032 at most


class NoStates:
    """The states of a result that was read from its folder, which does not hold them: every method raises.

    Args:
        folder: the folder, for the message.
    """

    def __init__(self, folder: str | Path):
        self._folder = folder

    def state(self, setting: int) -> NoReturn:
        """Raise an error that says what to do."""
        del setting
        raise ValueError(f"{self._folder} has no trained states: run the sweep again, with out= to save them")

    def refit(self, setting: int | None) -> NoReturn:
        """Raise an error that says what to do."""
        self.state(setting or 0)

    def outputs(self, wanted: np.ndarray, inputs: Tree) -> NoReturn:
        """Raise an error that says what to do."""
        del wanted, inputs
        self.state(0)


def load(folder: str | Path) -> Result:
    """Read a result that ``Result.save`` wrote, or ``sweep.run`` in its folder ``out``, also while it runs.

    Static values that are neither text, finite number nor boolean are read as text. The folder of ``sweep.run`` holds
    the states too: ``state`` and ``params`` read them without the script that trained them, as dicts, lists and records
    with the fields of the original classes. ``predict`` and ``refit`` need the program and raise.

    Args:
        folder: the folder of the sweep.

    Returns:
        The result.

    Raises:
        FileNotFoundError: nothing was saved in the folder.
        ValueError: the saved files are damaged or of another version, or the states beside them are of other settings.

    Example:
        >>> import tempfile
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.5]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2).save(folder)
        ...     loaded = sweep.load(folder)
        >>> loaded.best().setting
        {'rate': 0.5}
    """
    path = Path(folder) / _io.NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no sweep was saved here, {_io.NAME} is missing")
    try:
        with path.open("rb") as file:
            _check_sizes(file)
            with np.load(file, allow_pickle=False) as stored:
                arrays = dict(stored)
        about = json.loads(arrays.pop(_io.ABOUT).tobytes())
        if about["format"] != _io.FORMAT:
            raise ValueError(f"its format is {about['format']}, and this version of regopt reads format {_io.FORMAT}")
        if digest(arrays) != about["sha256"]:
            raise ValueError("its arrays are not those that were saved (their SHA-256 differs)")
        parts = _parts(about["arrays"], arrays)
        facts: JsonObject = {name: about["result"][name] for name in _io.scalars(Result)}
        facts |= {name: float("nan") for name, fact in facts.items() if fact is None}
        columns = {name: tuple(column) for name, column in about["static"].items()}
        facts["modes"] = {str(name): str(mode) for name, mode in about["modes"].items()}
        counts = about.get("parameters")
        facts["parameters"] = None if counts is None else np.array(counts, int)
        seats = parts.pop(SEATS)
        history = History(settings=Settings(parts.pop("numbers", {}), columns), seats=seats, **parts)
    except Exception as error:
        raise ValueError(
            one_line(f"{path}: the saved sweep cannot be read: {str(error) or type(error).__name__}")
        ) from error

    identity = _identity(folder)
    if not _has_columns(identity.get("settings", {}), history):
        raise ValueError(TABLE_OF_ANOTHER.format(folder))
    config = identity.get("config", {}) | about["config"]
    packages = about["versions"] | {name: identity[name] for name in ("device", "options", "flags") if name in identity}
    found = Result(history=history, config=config, versions=packages, states=NoStates(folder), **facts)
    if not (about.get("states") and (Path(folder) / checkpoint.STATES).is_dir()):
        return found
    states = StatesInFolder(Path(folder), about["states"], found.kept_step, history.curves, keeps_best=found.keeps_best)
    return dataclasses.replace(found, states=states)


def _has_columns(digested: Mapping[str, JsonObject], history: History) -> bool:
    """Whether the columns agree with the digests in the identity of the states, where their lengths agree.

    A sweep that is being extended may have a table of more settings than its states, or of fewer. Numbers that change
    in training are compared as they began, if all settings have.
    """
    columns = {name: np.asarray(column) for name, column in history.settings.numbers.items()}
    for name, used in history.used.items():
        now = columns.pop(name)
        if not np.isnan(used[:, 0]).any():
            columns[name] = used[:, 0].astype(now.dtype)
    known = {name: digested.get(name, {}) for name in columns}
    return all(
        known[name].get("kind") != f"{column.dtype}{list(column.shape)}" or known[name].get("sha256") == digest(column)
        for name, column in columns.items()
    )


def _check_sizes(file: IO[bytes]) -> None:
    """Refuse arrays that claim more bytes than the file can hold, before NumPy allocates them."""
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as stream:
                if np.lib.format.read_magic(stream) != (1, 0):
                    raise ValueError(f"{entry.filename} is not an array in .npy format 1.0")
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            if not 0 <= math.prod(shape) * dtype.itemsize <= min(entry.file_size, MOST_DEFLATED * entry.compress_size):
                raise ValueError(f"{entry.filename} declares {dtype}{list(shape)}, more bytes than the file can hold")
    file.seek(0)


def _identity(folder: str | Path) -> JsonObject:
    """The identity that the checkpoint of a sweep records; empty where there is no checkpoint."""
    try:
        found = checkpoint.read(folder)
    except checkpoint.StoreError:  # the states are damaged, the result may be whole
        return {}
    return found.identity if found else {}


def _parts(names: Mapping[str, list[str] | None], stored: Mapping[str, np.ndarray]) -> dict[str, Tree]:
    return {
        name: stored[f"{name}.0"] if keys is None else {key: stored[f"{name}.{at}"] for at, key in enumerate(keys)}
        for name, keys in names.items()
    }
