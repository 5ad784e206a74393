"""Files of arrays: each is a sequence of arrays in NumPy's ``.npy`` format, with its size and SHA-256 on record.

``numpy.load`` reads such a file one array at a time. The format has no names for dtypes such as bfloat16 and int4, so
their bytes are stored as unsigned integers, and the reader says which dtype it expects. Nothing is ever pickled.
"""

import hashlib
import io
import math
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from regopt._core.messages import reason
from regopt.sweep.checkpoint._errors import StoreDamagedError

VERSION = (1, 0)  # of the .npy format


class FileRecord(NamedTuple):
    """The size and the digest by which a file is recognised."""

    size: int  # bytes
    sha256: str


def write_arrays(path: Path, arrays: Iterable[np.ndarray]) -> FileRecord:
    """Write contiguous arrays into a new file, one behind the other, without a copy of their bytes.

    Args:
        path: the file, which does not exist.
        arrays: any dtype but objects.

    Returns:
        The record of the bytes that were passed to the file; the disk may still fail to keep them.
    """
    sha256, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        for array in arrays:
            for part in (_header(array), array.reshape(-1).view(np.uint8).data):
                file.write(part)
                sha256.update(part)
                size += len(part)
    return FileRecord(size, sha256.hexdigest())


def read_array(file: io.BufferedReader, dtype: np.dtype, room: np.ndarray) -> int:
    """Read the next array of a file into the beginning of a buffer; nothing is allocated for it.

    Args:
        file: open for reading.
        dtype: what the array must have.
        room: bytes, uint8.

    Returns:
        The number of bytes that were read.

    Raises:
        StoreDamagedError: the file has an array of another dtype, or one that is larger than the buffer.
    """
    shape, found = _read_header(file)
    size = found.itemsize * math.prod(shape)
    if found != _storable(dtype) or not 0 <= size <= room.size:
        raise StoreDamagedError(
            f"{file.name} holds {found} {list(shape)} where {dtype} of at most {room.size:,} bytes was saved"
        )
    try:
        read = file.readinto(room[:size].data)
    except OSError as error:
        raise StoreDamagedError(f"{file.name} cannot be read: {reason(error)}") from error
    if read != size:
        raise StoreDamagedError(f"{file.name} is cut short")
    return size


def is_whole(path: Path, expected: FileRecord) -> bool:
    """Whether a file exists and has the bytes that were written into it."""
    try:
        if not path.is_file() or path.stat().st_size != expected.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == expected.sha256
    except OSError:
        return False


def read_small(path: Path, limit: int) -> bytes | None:
    """The bytes of a file; None if it is no plain file or is larger than ``limit``; OSError if it cannot be read."""
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for ever
        return None
    with path.open("rb") as file:
        found = file.read(limit + 1)
    return found if len(found) <= limit else None


def _storable(dtype: np.dtype) -> np.dtype:
    """The dtype with which the format stores an array: unsigned integers where it has no name for its dtype."""
    is_nameless = dtype.kind == "V" and dtype.names is None
    return np.dtype(f"u{dtype.itemsize}") if is_nameless else dtype


def _read_header(file: io.BufferedReader) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and the dtype of the next array of a file."""
    try:
        if np.lib.format.read_magic(file) != VERSION:
            raise ValueError("another version of the .npy format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # a damaged header raises whatever NumPy's parser raises, such as a TokenError
        raise StoreDamagedError(f"{file.name} cannot be read: {error}") from error
    return shape, dtype


def _header(array: np.ndarray) -> memoryview:
    stored = array.view(_storable(array.dtype))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(stored))
    return header.getbuffer()
