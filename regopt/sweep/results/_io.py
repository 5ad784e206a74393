"""Saves a result in a folder with its config and versions; a result that is there is replaced as a whole.

    sweep.npz       the history and all about it: arrays, and their sha256, without pickle
    table.parquet, config.json, versions.json    the same for people and other programs

One file holds all that is read back, so a sweep that is killed while it saves leaves the previous one. The trained
states are not in it. Reading is in ``_load.py``, resuming a sweep in ``regopt.sweep.checkpoint``.
"""

import dataclasses
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regopt._core.io import JsonObject, digest, versions, write_arrays, write_json, write_table
from regopt.sweep.results._history import SEATS
from regopt.sweep.results._tables import Tables
from regopt.sweep.space import Settings

if TYPE_CHECKING:
    import pandas

FORMAT = 2
NAME, ABOUT = "sweep.npz", "about"
OTHERS = {"history", "config", "versions", "states", "modes", "parameters"}  # fields of a result that are no scalars


def save(
    result: Tables,
    folder: str | Path,
    config: Mapping[str, object] | None = None,
    states: Sequence[Mapping[str, object]] = (),
) -> None:
    """Write a result into a folder; a result in it is replaced.

    The parquet file is left out where pandas or pyarrow is not installed.

    Args:
        result: a ``Result``, finished or not.
        folder: created if it does not exist.
        config: the resolved config as JSON values; by default what the result knows of it.
        states: where the trained states of each group lie in the checkpoint beside it; () without one.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays, names = _flat(result)
    settings = result.history.settings
    about = {
        "format": FORMAT,
        "sha256": digest(arrays),
        "arrays": names,
        "static": {name: [word(value) for value in column] for name, column in settings.static.items()},
        "result": {name: _number(getattr(result, name)) for name in scalars(result)},
        "config": dict(result.config if config is None else config) or _known(result),
        "versions": dict(result.versions) or versions(),
        "modes": dict(result.modes),
        "states": list(states),
        "parameters": None if result.parameters is None else np.asarray(result.parameters).tolist(),
    }
    text = json.dumps(about, allow_nan=False)
    write_arrays(folder / NAME, arrays | {ABOUT: np.frombuffer(text.encode(), np.uint8)})
    if all(map(importlib.util.find_spec, ("pandas", "pyarrow"))):
        write_table(folder / "table.parquet", _as_text(result.to_pandas(), settings))
    for name in ("config", "versions"):
        write_json(folder / f"{name}.json", about[name])


def scalars(result: Tables | type[Tables]) -> list[str]:
    """The fields of a result, or of its class, that are numbers, texts and booleans."""
    return [field.name for field in dataclasses.fields(result) if field.name not in OTHERS]


def _flat(result: Tables) -> tuple[dict[str, np.ndarray], dict[str, list[str] | None]]:
    """The history's arrays under plain names, and for each field the keys of its dictionary, None for an array."""
    history = result.history
    parts = {field.name: getattr(history, field.name) for field in dataclasses.fields(history)}
    parts["numbers"] = dict(parts.pop("settings").numbers)
    parts[SEATS] = parts.pop("seats")
    arrays: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        values = part.values() if isinstance(part, Mapping) else [part]
        arrays |= {f"{name}.{at}": np.asarray(value) for at, value in enumerate(values)}
    return arrays, {name: list(part) if isinstance(part, Mapping) else None for name, part in parts.items()}


def _known(result: Tables) -> JsonObject:
    """The part of the config that the result knows."""
    steps = result.history.steps
    lasting = {"steps": int(steps[-1]), "eval_every": int(steps[0])} if len(steps) else {}
    return {"settings": len(result.history.settings), **lasting, "monitor": result.monitor, "mode": result.mode}


def _as_text(frame: "pandas.DataFrame", settings: Settings) -> "pandas.DataFrame":
    """The table with static values of one type in each column, as parquet needs them."""
    columns = {name: [word(value) for value in column] for name, column in settings.static.items()}
    for name, column in columns.items():
        columns[name] = column if len(set(map(type, column))) == 1 else list(map(str, column))
    return frame.assign(**columns)


def _number(value: object) -> object:
    """A scalar as a value of strict JSON; None for a number that is not finite."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def word(value: object) -> str | bool | int | float:
    """A static value as a value of JSON; a function by its name, any other object by its repr."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str | bool | int) or (isinstance(value, float) and np.isfinite(value)):
        return value
    return getattr(value, "__qualname__", None) or repr(value)
