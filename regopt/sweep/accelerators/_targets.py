"""The devices that programs can be compiled for without having one: their names, sizes and speeds.

The numbers are those of the data sheets, for one device as JAX counts them. Nothing here looks for a device.
"""

import math
import re
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from regopt._core.messages import one_line
from regopt._core.types import Device

NEEDED = {"tpu": ("libtpu", "cloudpickle"), "cuda": ("jax_plugins.xla_cuda13", "cloudpickle")}  # modules of an extra
COMPILES = {  # JAX cannot read what it compiled for an absent device from its persistent cache, and warns
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "0",
}
ENVIRONMENT = {  # variables of a process that compiles for a platform; else libtpu looks for a TPU on the network
    "tpu": {
        **COMPILES,
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # beside a process that uses a TPU, or compiles for one
    },
    "cuda": {**COMPILES, "XLA_FLAGS": "--xla_gpu_autotune_level=0"},  # autotuning would have to measure on a device
}
H200 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 4800000000000 l2_cache_size: 62914560 clock_rate_ghz: 1.98
  device_memory_size: 150754820096 shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 20 }
runtime_version { major: 13 }
device_description_str: "NVIDIA H200"
"""


class Speed(NamedTuple):
    """The speed of a device."""

    bandwidth: float  # bytes per second between the device's memory and its cores
    products: dict[str, float]  # FLOP per second of matrix products, by the precision of their operands
    launch: float  # the least seconds that a kernel takes
    clock: float | None  # cycles per second, where the compiler estimates in cycles; else None


class Target(NamedTuple):
    """Devices to compile for."""

    name: str  # as the user wrote it
    platform: str  # "cpu", "tpu" or "cuda"
    topology: str  # as JAX names it
    count: int  # number of devices
    speed: Speed | None  # None where it is not known


SPEEDS = {
    # 4 units of 128 x 128 multiplications at 1.5 GHz; small kernels have 1,800 cycles in the compiler's estimates
    "v5e": Speed(819e9, {"bfloat16": 197e12, "float32": 197e12 / 6}, 1.2e-6, 1.5e9),
    "v5p": Speed(2765e9, {"bfloat16": 459e12, "float32": 459e12 / 6}, 1.0e-6, 1.75e9),
    "v6e": Speed(1640e9, {"bfloat16": 918e12, "float32": 918e12 / 6}, 1.0e-6, None),
    "h200": Speed(4.8e12, {"bfloat16": 989e12, "tensorfloat32": 494e12, "float32": 67e12}, 3e-6, None),
}
SMALLEST = {"v5e": "2x2", "v5p": "2x2x1", "v6e": "2x2"}  # the smallest topology of each TPU that libtpu knows
KNOWN = '"tpu v5e", "tpu v5e:2x2", "tpu v6e:2x2", "tpu v5p:2x2x1", "nvidia h200", "nvidia h200:8" or "cpu"'


def target_of(name: str) -> Target:
    """Read the name of a target.

    Args:
        name: such as "tpu v5e:2x2", "nvidia h200", "nvidia h200:8" or "cpu".

    Returns:
        The target.

    Raises:
        ValueError: no such target is known.

    Example:
        >>> target = target_of("nvidia h200:8")
        >>> target.platform, target.count
        ('cuda', 8)
    """
    match = re.fullmatch(r"(tpu|nvidia|cpu)(?: (\w+))?(?::(\d+(?:x\d+)*))?", name.strip().lower())
    family, kind, shape = match.groups() if match else (None, None, None)
    sizes = [int(size) for size in (shape or "1").split("x")]
    count = math.prod(sizes)
    if family == "tpu" and kind in SMALLEST:
        topology = SMALLEST[kind] if count == 1 else shape  # one device of the smallest topology
        return Target(name, "tpu", f"{kind}:{topology}", count, SPEEDS[kind])
    if family == "nvidia" and kind == "h200" and len(sizes) == 1:
        return Target(name, "cuda", f"1x1x{count}", count, SPEEDS[kind])
    if family == "cpu" and kind is None and shape is None:
        return Target(name, "cpu", "", len(jax.local_devices(backend="cpu")), None)
    raise ValueError(f"on must be {KNOWN}, got {name!r}")


def devices_of_target(target: Target) -> tuple[Device, ...]:
    """Devices to compile for, which run nothing; to be called in a process with the target's ``ENVIRONMENT``."""
    if target.platform == "cpu":
        return tuple(jax.local_devices(backend="cpu"))
    options: dict[str, Any] = {"platform": target.platform, "topology_name": target.topology}
    if target.platform == "cuda":
        options |= {"topology_name": "gpu", "target_config": H200, "topology": target.topology}
    try:
        return tuple(topologies.get_topology_desc(**options).devices[: target.count])
    except jax.errors.JaxRuntimeError as error:
        told = one_line(str(error)).removeprefix("INVALID_ARGUMENT: ")
        raise ValueError(f"on must be {KNOWN}, got {target.name!r}; its compiler says: {told}") from error


def missing_extra(platform: str) -> str | None:
    """The line that names the extra of the package without which nothing can be compiled; None if all is there."""
    if all(map(_is_there, NEEDED.get(platform, ()))):
        return None
    return f'compiling for this device needs the extra {platform}: pip install "regopt[{platform}]"'


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that should hold it is missing
        return False
