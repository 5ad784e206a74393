"""One CPU device for each core: without it XLA runs a sweep's lanes on one device."""

import os

import jax

from regopt._core.numerics import check_whole


def use_all_cores(count: int | None = None) -> int:
    """Split the CPU into one JAX device per core; call it before anything else touches JAX's devices.

    The command line does so itself. On GPU and TPU it changes nothing about the accelerators. A count already fixed by
    ``JAX_NUM_CPU_DEVICES``, or ``--xla_force_host_platform_device_count`` in ``XLA_FLAGS``, is left as it is.

    Args:
        count: number of devices; by default the cores that this process may use.

    Returns:
        The number of CPU devices asked for (0 if the environment had decided).

    Raises:
        RuntimeError: JAX has already started its devices, so their number is fixed.
        ValueError: count is below 1.
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
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
