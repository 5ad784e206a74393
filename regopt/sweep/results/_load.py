"""A result read back from the folder that ``Result.save`` wrote."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from regopt._core.messages import one_line
from regopt._core.types import Tree
from regopt.sweep import checkpoint
from regopt.sweep.results import _io
from regopt.sweep.results._history import History
from regopt.sweep.results._layout import shares_in
from regopt.sweep.results._merge import merge
from regopt.sweep.results._result import Result
from regopt.sweep.space import Settings


class NoStates:
    """The states of a result that was read from its folder: they are not there.

    Args:
        folder: for the message.
    """

    def __init__(self, folder: str | Path):
        self._folder = folder

    def state(self, setting: int) -> NoReturn:
        """Raise an error that says what to do."""
        del setting
        raise ValueError(f"{self._folder} has no trained states; run the sweep again for them")

    def refit(self, setting: int | None) -> NoReturn:
        """Raise an error that says what to do."""
        self.state(setting or 0)

    def outputs(self, wanted: np.ndarray, inputs: Tree) -> NoReturn:
        """Raise an error that says what to do."""
        del wanted, inputs
        self.state(0)


def load(folder: str | Path) -> Result:
    """Read a result that ``Result.save`` wrote, or ``sweep.run`` in its folder ``out``, also while it runs.

    Static values that are neither text, finite number nor boolean come back as text. The states are not there, so
    ``state``, ``predict`` and ``refit`` raise.

    Args:
        folder: where it is.

    Returns:
        The result.

    Raises:
        FileNotFoundError: nothing was saved there.
        ValueError: what is there is damaged, or of another version.
    """
    try:
        hosts, shares = shares_in(Path(folder))
    except checkpoint.StoreError as error:
        raise ValueError(str(error)) from error
    if shares := {host: share for host, share in shares.items() if (share / _io.NAME).is_file()}:
        return merge({host: load(share) for host, share in shares.items()}, hosts)
    path = Path(folder) / _io.NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no sweep was saved here, {_io.NAME} is missing")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        about = json.loads(arrays.pop(_io.ABOUT).tobytes())
        if about["format"] != _io.FORMAT:
            raise ValueError(f"its format is {about['format']}, this version reads {_io.FORMAT}")
        if _io.digest(arrays) != about["sha256"]:
            raise ValueError("its numbers are not those that were saved")
        parts = _parts(about["arrays"], arrays)
        facts: dict[str, Any] = {name: about["result"][name] for name in _io.scalars(Result)}
        facts |= {name: float("nan") for name, fact in facts.items() if fact is None}
        columns = {name: tuple(column) for name, column in about["static"].items()}
        facts["modes"] = {str(name): str(mode) for name, mode in about["modes"].items()}
        history = History(settings=Settings(parts.pop("numbers", {}), columns), **parts)
    except Exception as error:
        raise ValueError(
            one_line(f"{path}: the saved sweep cannot be read: {str(error) or type(error).__name__}")
        ) from error

    identity = _identity(folder)
    config = identity.get("config", {}) | about["config"]
    packages = about["versions"] | {name: identity[name] for name in ("device", "options", "flags") if name in identity}
    return Result(history=history, config=config, versions=packages, states=NoStates(folder), **facts)


def _identity(folder: str | Path) -> dict[str, Any]:
    """What the store of a sweep that can go on says of it; nothing where there is none."""
    try:
        found = checkpoint.read(folder)
    except checkpoint.StoreError:  # the states are damaged, the result may be whole
        return {}
    return found.identity if found else {}


def _parts(names: Mapping[str, list[str] | None], stored: Any) -> dict[str, Any]:
    return {
        name: stored[f"{name}.0"] if keys is None else {key: stored[f"{name}.{at}"] for at, key in enumerate(keys)}
        for name, keys in names.items()
    }
