"""Files that appear whole or not at all, the digest of a tree of arrays, and the record of what results depend on.

Every file and folder that regopt writes goes through ``replacing``. JAX and NumPy are imported only where they are
used, so that the command line can refuse a wrong config without loading them.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil

from regopt._version import __version__

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from regopt._core.types import Device, Tree


Arrays = dict[str, "np.ndarray"]
JsonObject: TypeAlias = dict[str, Any]  # its values are JSON values
PACKAGES = ("jax", "jaxlib", "optax", "flax", "numpy")
OPTIONS = ("enable_x64", "default_matmul_precision", "default_prng_impl", "threefry_partitionable")  # of JAX
TEMPORARY = ".unfinished-"  # the beginning of every temporary name; a killed process may leave such files behind


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or a new folder under a temporary name; it takes its own name only when it is on the disk.

    The temporary name is synced (fsync) with everything below it, renamed, and then the folder around it is synced.
    If the block raises, nothing is left behind; what a killed process left behind of the same file is removed.

    Args:
        path: the file to write or replace, or a folder that does not exist.

    Yields:
        The temporary name, beside ``path``; nothing exists there.
    """
    begin = f"{TEMPORARY}{path.name}-{socket.gethostname()}-"
    temporary = path.with_name(f"{begin}{os.getpid()}")
    _remove_abandoned(path.parent, begin)
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync(Path(folder, name))
            _sync(Path(folder))
        if temporary.is_file():
            _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Remove a file or a folder if it exists; a folder that is half removed has a temporary name.

    Args:
        path: the file or folder. An error is ignored, since what remains has a temporary name or is tried again.
    """
    with contextlib.suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return
        if not path.name.startswith(TEMPORARY):
            path = path.rename(path.with_name(f"{TEMPORARY}{path.name}"))
        shutil.rmtree(path)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8.

    Args:
        path: the file.
        text: all of it.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write strict JSON, which has no NaN.

    Args:
        path: the file.
        value: dictionaries, lists, strings, finite numbers, booleans.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def free_bytes(folder: Path) -> str:
    """Say how much room the disk of a folder has, for a message.

    Args:
        folder: any folder.

    Returns:
        The number of bytes with separators, or "unknown".
    """
    try:
        return f"{shutil.disk_usage(folder).free:,}"
    except OSError:
        return "unknown"


def on_host(leaf: Tree) -> np.ndarray:
    """Bring an array to the host; on a CPU this is no copy.

    Args:
        leaf: a NumPy or JAX array, a number, or random keys, of which the data are taken.

    Returns:
        A contiguous NumPy array.

    Raises:
        TypeError: the leaf holds Python objects.
    """
    import jax
    import numpy as np

    is_keys = isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(jax.device_get(jax.random.key_data(leaf) if is_keys else leaf))
    if array.dtype.hasobject:
        raise TypeError(f"a tree to be stored must have arrays of numbers as leaves, got {type(leaf).__name__}")
    return np.ascontiguousarray(array).reshape(array.shape)  # the former makes a vector of a scalar


def digest(tree: Tree) -> str:
    """Compute the SHA-256 of the paths, dtypes, shapes and bytes of a tree's arrays.

    Args:
        tree: a tree of NumPy or JAX arrays, numbers, or random keys.

    Returns:
        64 hexadecimal digits.
    """
    import jax
    import numpy as np

    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = on_host(leaf)
        dtype = leaf.dtype if isinstance(leaf, jax.Array) else array.dtype
        found.update(f"{jax.tree_util.keystr(path)} {dtype} {array.shape}\n".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def digest_json(value: object) -> str:
    """Compute the SHA-256 of a JSON value, in which the order of keys does not matter.

    Args:
        value: nested dictionaries and lists of texts, numbers, booleans and None.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@functools.cache
def packages() -> dict[str, str]:
    """Versions of Python, of this package, and of those that its numbers may depend on."""
    others = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), "regopt": __version__, **others}


def environment(devices: Sequence[Device] | None = None) -> JsonObject:
    """Record what the bits of a result may depend on besides its config and its data; this starts JAX's devices.

    Args:
        devices: the devices that compute; by default all local ones.

    Returns:
        JSON values: versions of Python and the packages, kind and number of the devices, the options of JAX that
        change numbers, and the flags of XLA.
    """
    import jax

    devices = jax.local_devices() if devices is None else list(devices)
    first = devices[0]
    return {
        "versions": dict(packages()),
        "device": {
            "platform": first.platform,
            "kind": _processor() if first.platform == "cpu" else first.device_kind,
            "count": len(devices),
        },
        "options": {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in OPTIONS},
        "flags": " ".join(sorted(os.environ.get("XLA_FLAGS", "").split())),
    }


def versions() -> JsonObject:
    """Return the record of ``environment`` with the versions of the packages at its top, for a person to read."""
    record = environment()
    return {**record.pop("versions"), **record}


def write_arrays(path: Path, result: object) -> Arrays:
    """Write all arrays that can be stored, and only then complain about the others.

    Args:
        path: the ``.npz`` file, which ``numpy.load`` reads without pickle.
        result: names and arrays; dtypes such as bfloat16, which the format cannot name, become float32.

    Returns:
        The arrays as stored.

    Raises:
        TypeError: something in the result is no array.
    """
    import numpy as np

    if not isinstance(result, Mapping):
        raise TypeError(f"run must return a dict of arrays, got {type(result).__name__}")
    arrays: Arrays = {}
    refused = []
    for key, value in result.items():
        try:
            array = np.asarray(value)
            if array.dtype.hasobject:
                raise TypeError(f"{type(value).__name__} holds Python objects")
            nameless = array.dtype.kind == "V" and array.dtype.names is None
            arrays[str(key)] = array.astype(np.float32) if nameless else array
        except (TypeError, ValueError) as error:
            refused.append(f"{key} ({error})")
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for key, array in arrays.items():
            entry = zipfile.ZipInfo(f"{key}.npy")  # without the time, so that equal arrays make equal files
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
    if refused:
        raise TypeError(f"run returned what cannot be stored: {', '.join(refused)}")
    return arrays


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as parquet.

    Args:
        path: the file.
        table: a pandas DataFrame.

    Raises:
        TypeError: it is something else.
    """
    if not hasattr(table, "to_parquet"):
        raise TypeError(f"table must return a pandas DataFrame, got {type(table).__name__}")
    with replacing(path) as temporary:
        table.to_parquet(temporary)


def _remove_abandoned(folder: Path, begin: str) -> None:
    """Remove the temporary files of processes of this host that have ended, and those of this one."""
    for path in folder.glob(f"{glob.escape(begin)}*"):
        number = path.name.removeprefix(begin)
        is_pid = number.isdecimal() and len(number) < 10  # psutil takes no larger ones
        if is_pid and (int(number) == os.getpid() or not psutil.pid_exists(int(number))):
            remove(path)


def _sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder, and keeps its names by itself
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@functools.cache
def _processor() -> str:
    """The model of the CPU: XLA compiles for its instructions, so that another model may round otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
