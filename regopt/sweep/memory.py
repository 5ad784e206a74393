"""How many lanes fit: in the cache, in the memory of a device, at rest and in training."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from regopt.types import Device


def fit_chunk(compile_at: Callable[[int], Any], capacity: int, lane_bytes: float, device: Device) -> tuple[int, Any]:
    """The number of lanes to train at once, and the program compiled for it.

    On a CPU 16 lanes for a core (32 of small ones), down to 8 where their temporaries would not stay in its share
    of the cache; elsewhere all of them, or as many as fit in the device's memory.

    Args:
        compile_at: compiles the program for a number of lanes.
        capacity: lanes of a device.
        lane_bytes: size of a lane at rest.
        device: the first of the devices, which are alike.

    Returns:
        The chunk and its program.
    """
    on_cpu = device.platform == "cpu"
    guess = _evenly(capacity, (32 if lane_bytes < 32 * 1024 else 16) if on_cpu else capacity)
    program = compile_at(guess)
    lane_needs = max(temporary_bytes(program) / guess, 1)
    fits = int(_room(device, capacity * lane_bytes) / lane_needs)
    chunk = _evenly(capacity, max(fits, 8 if on_cpu else 1))
    return (guess, program) if chunk >= guess else (chunk, compile_at(chunk))


def _evenly(capacity: int, at_most: int) -> int:
    """The smallest chunk that needs no more calls than ``at_most`` would: a short tail is not padded far."""
    calls = -(-capacity // min(at_most, capacity))
    return -(-capacity // calls)


def _room(device: Device, resting_bytes: float) -> float:
    """Bytes for temporaries: half of a core's share of the last cache, or 80 % of the memory left."""
    if device.platform == "cpu":
        return cache_bytes() / jax.local_device_count("cpu") / 2
    statistics = device.memory_stats() or {}
    limit = statistics.get("bytes_limit", 8 * 2**30)
    return 0.8 * (limit - statistics.get("bytes_in_use", 0) - resting_bytes)


def resting_room(devices: list[Device]) -> float:
    """Bytes on the devices for lanes at rest: half of their memory."""
    if devices[0].platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
    return len(devices) * (devices[0].memory_stats() or {}).get("bytes_limit", 8 * 2**30) / 2


def cache_bytes(default: int = 32 * 2**20) -> int:
    """Size of the CPU's last-level cache, where the system tells it."""
    for level in (3, 2):
        size = pathlib.Path(f"/sys/devices/system/cpu/cpu0/cache/index{level}/size")
        if size.exists():
            return int(size.read_text().strip().rstrip("K")) * 1024
    return default


def temporary_bytes(program: Any) -> int:
    """Bytes of a device for what a compiled program makes and drops."""
    analysis = program.memory_analysis()
    return analysis.temp_size_in_bytes if analysis is not None else 0
