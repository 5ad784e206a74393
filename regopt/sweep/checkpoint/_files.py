"""Files that survive a crash: written under a temporary name, synced, hashed, renamed, and their folder synced.

Nothing here knows what is in the files. Temporary names begin with ``TEMPORARY``; after a crash they are rubbish.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

TEMPORARY = ".unfinished-"


class Print(NamedTuple):
    """What a file is recognised by."""

    size: int  # bytes
    sha256: str


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fingerprint(path: Path) -> Print:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Print(file.tell(), sha256)


def fingerprints(folder: Path) -> dict[str, Print]:
    """Of each file below a folder, by its path from there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as threads:  # hashing leaves Python to others
        names = (path.relative_to(folder).as_posix() for path in paths)
        return dict(zip(names, threads.map(fingerprint, paths), strict=True))


def is_whole(path: Path, expected: Print) -> bool:
    """Whether a file is there and has the bytes that it was written with."""
    try:
        return path.stat().st_size == expected.size and fingerprint(path) == expected
    except OSError:
        return False


@contextlib.contextmanager
def arriving(path: Path) -> Iterator[Path]:
    """Give a temporary name for a file or a folder; it appears under its own only when all of it is on the disk.

    Args:
        path: where it is to be; a folder must not be there yet.

    Yields:
        The name to write to, where nothing is.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    remove(temporary)
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                sync(Path(folder, name))
            sync(Path(folder))
        if temporary.is_file():
            sync(temporary)
        temporary.rename(path)
        sync(path.parent)
    except BaseException:
        remove(temporary)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there; a folder is never half removed under its own name."""
    with contextlib.suppress(OSError):  # what stays is tried again at the next opening
        if path.is_dir() and not path.name.startswith(TEMPORARY):
            path = path.rename(path.with_name(f"{TEMPORARY}{path.name}"))
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def free_bytes(folder: Path) -> str:
    """Room on the folder's disk, for a message."""
    try:
        return f"{shutil.disk_usage(folder).free:,}"
    except OSError:
        return "unknown"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write strict JSON with its own hash; to be called within ``arriving``."""
    path.write_text(json.dumps({"sha256": _hash(content), "content": content}, allow_nan=False), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """What ``write_json`` wrote; None if it is not there or not what was written."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        return whole["content"] if whole["sha256"] == _hash(whole["content"]) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
