"""What the numbers of a run depend on, compared leaf by leaf before it goes on."""

import functools
import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from regopt._core.io import packages
from regopt._core.messages import shown
from regopt._core.types import Device, Tree
from regopt.sweep.checkpoint._arrays import on_host

OPTIONS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)
_MISSING = object()


def environment(devices: Sequence[Device] | None = None) -> dict[str, Any]:
    """What the bits of a result may depend on besides config and data.

    Args:
        devices: what is computed on; by default all local devices.

    Returns:
        JSON values: versions of Python and the packages, kind and number of the devices, the options of jax that
        change numbers, and the flags of XLA.
    """
    devices = jax.local_devices() if devices is None else list(devices)
    first = devices[0]
    return {
        "versions": dict(packages()),
        "device": {
            "platform": first.platform,
            "kind": _processor() if first.platform == "cpu" else first.device_kind,
            "count": len(devices),
        },
        "options": {name: getattr(jax.config, name) for name in OPTIONS},
        "flags": " ".join(sorted(os.environ.get("XLA_FLAGS", "").split())),
    }


def digest(tree: Tree) -> str:
    """SHA-256 over the paths, dtypes, shapes and bytes of a tree's arrays.

    Args:
        tree: of NumPy or JAX arrays, numbers, or random keys.

    Returns:
        64 hexadecimal digits.
    """
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = on_host(leaf)
        dtype = leaf.dtype if hasattr(leaf, "dtype") else array.dtype
        found.update(f"{jax.tree_util.keystr(path)} {dtype} {array.shape}\n".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def differences(stored: Any, present: Any, path: str = "") -> list[str]:
    """The leaves in which two nested dictionaries of JSON values differ.

    Args:
        stored: of the run so far.
        present: of the one that would go on.
        path: what leads to the two.

    Returns:
        For each leaf its path and both values.

    >>> differences({"chunk": 8, "versions": {"jax": "0.10.1"}}, {"chunk": 8, "versions": {"jax": "0.10.2"}})
    ["versions.jax was '0.10.1', is '0.10.2'"]
    """
    if isinstance(stored, Mapping) and isinstance(present, Mapping):
        names = [*stored, *(name for name in present if name not in stored)]
        return [
            difference
            for name in names
            for difference in differences(
                stored.get(name, _MISSING), present.get(name, _MISSING), f"{path}.{name}" if path else str(name)
            )
        ]
    same = type(stored) is type(present) and stored == present  # in JSON true, 1 and 1.0 are three values
    return [] if same else [f"{path} was {_word(stored)}, is {_word(present)}"]


def _word(value: Any) -> str:
    return "nothing" if value is _MISSING else shown(value)


@functools.cache
def _processor() -> str:
    """The model of the CPU: XLA compiles for its instructions, so that another model may round otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
