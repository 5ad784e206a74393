"""What lies in a store, and how to read it, also while a sweep writes into it.

    states/000017/manifest.json   what the state is of, its tables, and size and SHA-256 of every file
    states/000017/arrays/         its leaves
    tables/rows.000017.parquet    a table; the states after this one list it until it is written again
    lock                          who is writing

A file never changes once it has its name.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from regopt.sweep.store.errors import StoreError
from regopt.sweep.store.files import Print, is_whole, read_json

if TYPE_CHECKING:
    import pandas

FORMAT = 1
STATES, TABLES, ARRAYS, MANIFEST = "states", "tables", "arrays", "manifest.json"


class Snapshot(NamedTuple):
    """A saved state, but for its arrays."""

    path: Path  # its folder
    number: int  # given by the caller, such as segments done
    done: bool  # nothing is left to do
    saved: str  # when, for people
    identity: dict[str, Any]  # what it depends on
    tables: dict[str, tuple[str, Print]]  # names, files in the folder of tables, and what they must be
    files: dict[str, Print]  # in the state's own folder
    leaves: list[list[Any]]  # path, dtype and shape of each

    def to_json(self) -> dict[str, Any]:
        """The manifest."""
        return {"format": FORMAT, **{name: value for name, value in self._asdict().items() if name != "path"}}


def read(folder: Path | str) -> Snapshot | None:
    """The newest state of a store, needing no lock; its arrays are not looked at.

    Args:
        folder: the sweep's.

    Returns:
        The state; None if nothing was saved.

    Raises:
        StoreError: there are states, but no manifest of them is whole.
    """
    paths = state_folders(Path(folder))
    for path in paths:
        if (found := snapshot(path)) is not None:
            return found
    if paths and state_folders(Path(folder)) == paths:
        raise StoreError(f"every state in {folder} is damaged: restore them from a copy, or start in another folder")
    return read(folder) if paths else None  # a running sweep has just replaced them


def read_table(folder: Path | str, name: str) -> "pandas.DataFrame":
    """A table as of the newest state, needing no lock.

    Args:
        folder: the sweep's.
        name: the table's; of one written in parts, "rows" stands for "rows-0", "rows-1", ... in the order of names.

    Returns:
        The table.

    Raises:
        StoreError: there is no such table, or it is damaged.
        ImportError: pandas is not installed.
    """
    while True:
        found = read(folder)
        try:
            return load_table(Path(folder), {} if found is None else found.tables, name)
        except StoreError:
            if found is None or found.path.exists():
                raise  # and not because a running sweep has gone on meanwhile


def load_table(folder: Path, tables: Mapping[str, tuple[str, Print]], name: str) -> "pandas.DataFrame":
    """A table, or the parts of one, from the files that a state lists."""
    pandas = _pandas()
    wanted = [tables[key] for key in sorted(tables) if key == name or key.startswith(f"{name}-")]
    if not wanted:
        raise StoreError(f"there is no table {name!r} in {folder}, only {sorted(tables)}")
    frames = []
    for file, expected in wanted:
        path = folder / TABLES / file
        if not is_whole(path, expected):
            raise StoreError(f"table {path} is damaged or missing")
        frames.append(pandas.read_parquet(path))
    return frames[0] if len(frames) == 1 else pandas.concat(frames)


def state_folders(folder: Path) -> list[Path]:
    """The folders of the states, newest first."""
    try:
        return sorted((path for path in (folder / STATES).iterdir() if path.name.isdecimal()), reverse=True)
    except FileNotFoundError:
        return []


def snapshot(path: Path) -> Snapshot | None:
    """What the manifest in a state's folder says; None if it is damaged or missing."""
    content = read_json(path / MANIFEST)
    if content is None:
        return None
    version = content.pop("format", None)
    if version != FORMAT:
        raise StoreError(f"{path} has format {version}, of another version of regopt, which is the one to use")
    content["tables"] = {name: (file, Print(*expected)) for name, (file, expected) in content["tables"].items()}
    content["files"] = {name: Print(*expected) for name, expected in content["files"].items()}
    return Snapshot(path, **content)


def damage(folder: Path, found: Snapshot) -> str | None:
    """The first file of a state, tables included, that is not as it was written; None if all are."""
    for name, expected in found.files.items():
        if not is_whole(found.path / name, expected):
            return name
    for file, expected in found.tables.values():
        if not is_whole(folder / TABLES / file, expected):
            return f"{TABLES}/{file}"
    return None


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError("this needs pandas: pip install 'regopt[experiments]'") from error
