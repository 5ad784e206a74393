"""A result read from the folder that `regopt.sweep.saved` wrote."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from regopt.messages import one_line
from regopt.sweep import saved
from regopt.sweep.space import Settings
from regopt.sweep.table import Record, Result


def load(folder: str | Path) -> Result:
    """Read a result that ``Result.save`` wrote.

    Static values that are neither text, number nor boolean come back as text. The states are not there, so ``state``,
    ``predict`` and ``refit`` raise.

    Args:
        folder: where it is.

    Returns:
        The result.

    Raises:
        FileNotFoundError: nothing was saved there.
        ValueError: what is there is damaged, or of another version.
    """
    folder = Path(folder)
    if not (folder / "sweep.json").is_file():
        raise FileNotFoundError(f"{folder}: no sweep was saved here, sweep.json is missing")
    try:
        about = _read(folder / "sweep.json")
        if about["format"] != saved.FORMAT:
            raise ValueError(f"its format is {about['format']}, this version reads {saved.FORMAT}")
        if saved.digest(folder / "record.npz") != about["sha256"]:
            raise ValueError("record.npz is not the file that was saved")
        with np.load(folder / "record.npz", allow_pickle=False) as stored:
            parts = _parts(about["arrays"], stored)
        facts: dict[str, Any] = {name: about["result"][name] for name in saved.scalars(Result)}
        facts |= {name: float("nan") for name, fact in facts.items() if fact is None}
        config, packages = _read(folder / "config.json"), _read(folder / "versions.json")
        columns = {name: tuple(column) for name, column in about["static"].items()}
        settings = Settings(parts.pop("numbers", {}), columns)
        record = Record(settings=settings, **parts)
    except Exception as error:
        raise ValueError(
            one_line(f"{folder}: the saved sweep cannot be read: {error or type(error).__name__}")
        ) from error

    def absent(*_: Any) -> NoReturn:
        raise ValueError(f"{folder} has no trained states; run the sweep again for them")

    functions: dict[str, Any] = dict.fromkeys(("state_of", "refit_of", "outputs_of"), absent)
    return Result(record=record, config=config, versions=packages, **functions, **facts)


def _parts(names: Mapping[str, list[str] | None], stored: Any) -> dict[str, Any]:
    return {
        name: stored[f"{name}.0"] if keys is None else {key: stored[f"{name}.{at}"] for at, key in enumerate(keys)}
        for name, keys in names.items()
    }


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
