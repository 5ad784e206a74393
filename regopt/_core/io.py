"""Files written whole or not at all, and the versions that results depend on.

Every file that regopt writes goes through ``replacing``: a temporary name, fsync, rename. Not for the files of a
sweep's checkpoint, whose digests stand in a manifest.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import socket
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from regopt._version import __version__

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


Arrays = dict[str, "np.ndarray"]
PACKAGES = ("jax", "jaxlib", "optax", "flax", "numpy")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file; it takes the file's place only when all of it was written.

    Args:
        path: the file to write or replace.

    Yields:
        The name to write to.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # a name must not outlive a power cut without its bytes
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


@functools.cache
def packages() -> dict[str, str]:
    """Versions of Python, of this package, and of those that its numbers may depend on."""
    others = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), "regopt": __version__, **others}


def versions() -> dict[str, str | int]:
    """List what the numbers of a run may depend on besides its config; starts jax's devices.

    Returns:
        Versions of Python and of the packages, the devices, and whether jax computes in 64 bits.
    """
    import jax

    devices = jax.devices()
    return {
        **packages(),
        "platform": devices[0].platform,
        "device_kind": devices[0].device_kind,
        "device_count": len(devices),
        "x64": bool(jax.config.read("jax_enable_x64")),
    }


def write_arrays(path: Path, result: object) -> Arrays:
    """Write all arrays that can be stored, and only then complain about the others.

    Args:
        path: the ``.npz`` file, which ``numpy.load`` reads without pickle.
        result: names and arrays; bfloat16 and its kin, which the format cannot name, become float32.

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
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
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
