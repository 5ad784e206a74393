"""The files of a store, and how to read its newest state, also while a sweep writes into it.

    states/000017/manifest.json   what the state depends on, its leaves, and the size and SHA-256 of every file
    states/000017/*.npy           its leaves
    lock, lock.soft, lock.json    who is writing

A file never changes once it has its name.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.io import JsonObject, digest_json
from regopt._core.messages import brief, reason
from regopt.sweep.checkpoint import _arrays as arrays
from regopt.sweep.checkpoint._arrays import SMALL, LeafRecord
from regopt.sweep.checkpoint._errors import StoreAccessError, StoreDamagedError, StoreMismatchError
from regopt.sweep.checkpoint._files import FileRecord, is_whole, read_small

FORMAT = 3
STATES, MANIFEST = "states", "manifest.json"
LIMIT = 2**28  # bytes of a manifest


class Snapshot(NamedTuple):
    """A saved state without its arrays."""

    path: Path  # its folder
    number: int  # given by the caller, such as segments done
    done: bool  # nothing is left to do
    saved: str  # when, for people
    identity: JsonObject  # what its bits depend on
    files: dict[str, FileRecord]  # by their names in the state's folder
    leaves: list[LeafRecord]
    position: JsonObject | None = None  # where an iterator over the data was; None without one


def read(folder: Path | str) -> Snapshot | None:
    """Read the manifest of the newest state of a store, without a lock; the arrays are not checked.

    Args:
        folder: the folder of the sweep.

    Returns:
        The state; None if nothing was saved.

    Raises:
        StoreDamagedError: there are states, but none of their manifests is intact.
        StoreMismatchError: the state has the format of another version.
        StoreAccessError: the folder cannot be read.
    """
    paths = state_folders(Path(folder))
    for path in paths:
        if (found := snapshot(path)) is not None:
            return found
    if paths and state_folders(Path(folder)) == paths:
        raise StoreDamagedError(
            f"every state in {folder} is damaged: restore them from a copy, or start in another folder"
        )
    return read(folder) if paths else None  # a running sweep has just replaced them


def read_leaves(folder: Path | str) -> dict[str, np.ndarray]:
    """The leaves of the newest state by their names, in the order of the tree; random keys as their data.

    Args:
        folder: the folder of the sweep; a process may be writing into it.

    Returns:
        The leaves, as NumPy arrays.

    Raises:
        StoreDamagedError: no state was saved, or its files are damaged.
        StoreMismatchError: the state has the format of another version.
        StoreAccessError: the folder cannot be read.
    """
    found = read(folder)
    if found is None:
        raise StoreDamagedError(f"{folder} has no saved state")
    if (broken := damage(found)) is not None:
        raise StoreDamagedError(f"state {found.path} ({broken}) is damaged")
    like = [_empty(dtype, shape) for _, dtype, shape in found.leaves]
    leaves = arrays.read(found.path, found.files, like)
    return {name: leaf for (name, _, _), leaf in zip(found.leaves, leaves, strict=True)}


def state_folders(folder: Path) -> list[Path]:
    """The folders of the states, newest first."""
    try:
        paths = [path for path in (folder / STATES).iterdir() if path.name.isdecimal()]
        return sorted(paths, key=lambda path: int(path.name), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreAccessError(f"cannot read {folder / STATES}: {reason(error)}") from error


def write(path: Path, found: Snapshot) -> None:
    """Write a manifest with its own SHA-256 into the folder of a state, before the folder gets its final name."""
    fields = {name: value for name, value in found._asdict().items() if name != "path"}
    if found.position is None:
        del fields["position"]
    content = {"format": FORMAT, **fields}
    text = json.dumps({"sha256": digest_json(content), "content": content}, allow_nan=False)
    (path / MANIFEST).write_text(text, encoding="utf-8")


def snapshot(path: Path) -> Snapshot | None:
    """The content of the manifest in a state's folder; None if it is damaged or missing.

    Raises:
        StoreMismatchError: it has the format of another version.
    """
    try:
        whole = json.loads(read_small(path / MANIFEST, LIMIT) or b"")
        content = whole["content"]
        if whole["sha256"] != digest_json(content):
            return None
        version = content.pop("format")
        if version == FORMAT:
            return _parsed(path, **content)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    raise StoreMismatchError(
        f"{path} has format {brief(version)}, of another version of regopt: use the version that wrote it"
    )


def damage(found: Snapshot) -> str | None:
    """The first file of a state that is not as it was written; None if all are."""
    return next((name for name, expected in found.files.items() if not is_whole(found.path / name, expected)), None)


def _parsed(
    path: Path,
    *,
    number: object,
    done: object,
    saved: object,
    identity: object,
    files: object,
    leaves: object,
    position: object = None,
) -> Snapshot:
    """The content of a manifest after a check of its types; ``TypeError`` or ``ValueError`` where they are wrong."""
    if not (type(number) is int and isinstance(done, bool) and isinstance(saved, str)):
        raise TypeError("number, done or saved of a manifest has another type than int, bool and str")
    if not (isinstance(identity, dict) and isinstance(files, dict) and isinstance(leaves, list)):
        raise TypeError("identity, files or leaves of a manifest has another type than dict, dict and list")
    if not (position is None or isinstance(position, dict)):
        raise TypeError("position of a manifest has another type than dict")
    records = {name: FileRecord(size, sha256) for name, (size, sha256) in files.items()}
    forms = [(name, dtype, tuple(shape)) for name, dtype, shape in leaves]
    if SMALL not in records or not all(
        re.fullmatch(r"[\w-]+\.npy", name) and type(size) is int and isinstance(sha256, str)
        for name, (size, sha256) in records.items()
    ):
        raise TypeError("a manifest names a file that cannot belong to a state")
    if not all(
        isinstance(name, str) and isinstance(dtype, str) and all(type(size) is int for size in shape)
        for name, dtype, shape in forms
    ):
        raise TypeError("a manifest describes a leaf by another form than (name, dtype, shape)")
    return Snapshot(path, number, done, saved, identity, records, forms, position)


def _empty(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    for name in ("threefry2x32", "rbg", "unsafe_rbg"):
        key = jax.random.key(0, impl=name)
        if str(key.dtype) == dtype:
            data = jax.random.key_data(key)
            return np.empty((*shape, *data.shape), data.dtype)
    return np.empty(shape, jnp.dtype(dtype))
