"""CPU devices, one for each core, and the helpers that the files on the placement of arrays share."""

import os

import jax
import numpy as np

from regopt._core.numerics import check_whole
from regopt._core.types import Tree

LANES = "lanes"  # name of the mesh axis


def use_all_cores(count: int | None = None) -> int:
    """Split the CPU into one JAX device per core; call it before anything else touches the devices of JAX.

    Without it XLA runs the lanes of a sweep on one device. The command ``regopt`` calls it itself. It does not affect
    GPUs and TPUs. A count that is already fixed by ``JAX_NUM_CPU_DEVICES``, or by
    ``--xla_force_host_platform_device_count`` in ``XLA_FLAGS``, is left as it is.

    Args:
        count: number of devices, >= 1; by default the cores that this process may use.

    Returns:
        The number of CPU devices asked for; 0 if the environment has fixed their number.

    Raises:
        RuntimeError: JAX has already started its devices, so their number is fixed.
        ValueError: count is not a whole number >= 1.

    Example:
        A program calls it at its top:

        >>> import subprocess, sys
        >>> program = "import jax; from regopt import sweep; sweep.use_all_cores(3); print(jax.device_count('cpu'))"
        >>> int(subprocess.check_output([sys.executable, "-c", program]))
        3
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or "JAX_NUM_CPU_DEVICES" in os.environ:
        return 0
    count = available_cores() if count is None else count
    check_whole("count", count, "[1, inf)")
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        raise RuntimeError(
            "JAX has already started its devices; call regopt.sweep.use_all_cores() at the top of the program, "
            "before the first array is made"
        ) from error
    return count


def available_cores() -> int:
    """The number of cores that this process may use: those of its affinity mask where the system has one.

    Returns:
        A number of cores, >= 1.

    >>> available_cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bytes_of(tree: Tree) -> int:
    """Bytes of all arrays of a tree, or of their shapes."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
