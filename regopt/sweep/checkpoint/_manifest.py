"""What lies in a store, and how to read it, also while a sweep writes into it.

    states/000017/manifest.json   what the state is of, and size and SHA-256 of every file
    states/000017/arrays/         its leaves
    lock                          who is writing

A file never changes once it has its name.
"""

from pathlib import Path
from typing import Any, NamedTuple

from regopt.sweep.checkpoint._errors import StoreError
from regopt.sweep.checkpoint._files import Print, is_whole, read_json

FORMAT = 2
STATES, ARRAYS, MANIFEST = "states", "arrays", "manifest.json"


class Snapshot(NamedTuple):
    """A saved state, but for its arrays."""

    path: Path  # its folder
    number: int  # given by the caller, such as segments done
    done: bool  # nothing is left to do
    saved: str  # when, for people
    identity: dict[str, Any]  # what it depends on
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
    content["files"] = {name: Print(*expected) for name, expected in content["files"].items()}
    return Snapshot(path, **content)


def damage(found: Snapshot) -> str | None:
    """The first file of a state that is not as it was written; None if all are."""
    for name, expected in found.files.items():
        if not is_whole(found.path / name, expected):
            return name
    return None
