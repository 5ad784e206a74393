"""The number of lanes that fit in the cache and in the memory of a device, at rest and in training."""

import logging
import os
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
import psutil

from regopt._core.types import Device

_LOG = logging.getLogger(__name__)
SMALL = 32 * 1024  # bytes; of lanes below this size a core of a CPU trains twice as many at once
LANES_OF_A_CALL = 16  # for each core of a CPU
CALL = 1  # the fixed time of a call of several segments, as a number of lanes that train in this time
CONTAINER = pathlib.Path("/sys/fs/cgroup/memory.max")  # the limit of the control group of a container
OF_A_KIND = {  # bytes that JAX may use, for devices that programs are only compiled for, which cannot be asked
    "TPU v5 lite": 15.75 * 2**30,
    "TPU v5": 95.0 * 2**30,
    "TPU v6 lite": 31.25 * 2**30,
    "NVIDIA H200": 0.75 * 150754820096,
}


def fit_chunk(
    compile_at: Callable[[int], jax.stages.Compiled],
    capacity: int,
    lane_bytes: float,
    device: Device,
    taken: float = 0.0,
    at_rest: bool = True,
    *,
    one_by_one: Callable[[], bool] = lambda: False,
    most: int | None = None,
) -> tuple[int, jax.stages.Compiled]:
    """The number of lanes to train at once, and the program compiled for it.

    On a CPU a core trains at most 16 lanes (32 small ones) at once. They are fewer if few lanes train to the end, or if
    more would not keep their temporaries in the core's share of the cache. Other devices train all of their lanes, or
    as many as fit in memory. Lanes that run one after the other need the temporaries of one lane.

    Args:
        compile_at: compiles the program for a number of lanes.
        capacity: lanes of a device.
        lane_bytes: size of a lane at rest.
        device: the first of the devices, which are alike.
        taken: bytes of its memory that hold other things: data, the lanes of other groups.
        one_by_one: tells whether the lanes of a call run one after the other, which may be known only once a program is
            compiled.
        most: lanes to train at once, from ``least_padded``; None where nothing is pruned.
        at_rest: whether the lanes lie on the device between calls. If not, the device has room for the lanes of two
            calls, of which one arrives while the other leaves.

    Returns:
        The chunk and its program.
    """
    how = capacity, lane_bytes, device, taken, at_rest
    guess, program = _first(compile_at, capacity, first_chunk(*how, one_by_one(), most))
    if one_by_one():
        return guess, program
    room = _room(device, (capacity * lane_bytes if at_rest else 0) + taken)
    moving = 0 if at_rest or device.platform == "cpu" else 2 * lane_bytes
    lane_needs = max(temporary_bytes(program) / guess + moving, 1)
    fits = int(room / lane_needs)
    chunk = _evenly(capacity, max(fits, 1))
    return (guess, program) if chunk >= guess else (chunk, compile_at(chunk))


def first_chunk(
    capacity: int,
    lane_bytes: float,
    device: Device,
    taken: float,
    at_rest: bool,
    one_by_one: bool,
    most: int | None = None,
) -> int:
    """The number of lanes at which ``fit_chunk`` compiles first."""
    if device.platform != "cpu":
        return capacity
    at_most = 2 * LANES_OF_A_CALL if lane_bytes < SMALL else most or LANES_OF_A_CALL
    if one_by_one:
        return _evenly(capacity, at_most)
    # a lane in training takes at least its state, so nothing is compiled that cannot fit
    fits = max(int(_room(device, (capacity * lane_bytes if at_rest else 0) + taken) / lane_bytes), 1)
    return _evenly(capacity, min(at_most, fits))


def least_padded(capacity: int, lane_bytes: float, device: Device, going: Sequence[float]) -> int | None:
    """The number of lanes of a call that takes the least time, where fewer and fewer lanes train.

    Args:
        capacity: lanes of a device.
        lane_bytes: size of a lane at rest.
        device: the first of the devices, which are alike.
        going: the share of the lanes that trains each segment; empty where that is not known.

    Returns:
        The largest number of lanes of a call that takes at most 5 % more than the least time; None where it saves less
        than a tenth of the time.
    """
    if not going or device.platform != "cpu" or lane_bytes < SMALL:  # the padding of small lanes costs little
        return None
    chunks = np.arange(1, min(LANES_OF_A_CALL, capacity) + 1)
    lanes = np.maximum(np.ceil(capacity * np.array(going) - 1e-9), 1)
    seconds = np.ceil(lanes / chunks[:, None]).sum(1) * (chunks + CALL)
    best = int(np.flatnonzero(seconds <= 1.05 * seconds.min())[-1])
    return int(chunks[best]) if seconds[best] < 0.9 * seconds[-1] else None


def _first(
    compile_at: Callable[[int], jax.stages.Compiled], capacity: int, at_most: int
) -> tuple[int, jax.stages.Compiled]:
    """The largest chunk of about this size whose program compiles: compilers for TPUs refuse what does not fit."""
    while True:
        guess = _evenly(capacity, at_most)
        try:
            return guess, compile_at(guess)
        except jax.errors.JaxRuntimeError as error:
            if guess == 1 or "RESOURCE_EXHAUSTED" not in str(error):
                raise
            at_most = guess // 2


def _evenly(capacity: int, at_most: int) -> int:
    """The smallest chunk that needs no more calls than ``at_most`` would, so that the last call has little padding."""
    calls = -(-capacity // min(at_most, capacity))
    return -(-capacity // calls)


def _room(device: Device, resting_bytes: float) -> float:
    """Bytes for temporaries: half of a CPU device's share of the last cache, or 80 % of the memory left.

    Memory that other programs use at the moment does not count: the chunk affects the bits of a sweep, so it must be
    the same in the next process.
    """
    if device.platform == "cpu":
        return cache_bytes() / jax.local_device_count("cpu") / 2
    return 0.8 * (memory_limit(device) - resting_bytes)


def resting_room(devices: list[Device]) -> float:
    """Bytes on the devices for lanes at rest: half of their memory."""
    if devices[0].platform == "cpu":
        return host_room()
    return len(devices) * memory_limit(devices[0]) / 2


def host_room() -> float:
    """Bytes of the host for lanes at rest: half of its memory."""
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _container_bytes()) / 2


def lanes_at_rest(settings: int, slots: int | None, lane_bytes: float, room: float, rows: int) -> int:
    """The number of lanes that a row of devices holds: its share of the slots, or of as many as there is room for."""
    held = settings if slots is None else min(slots, settings)
    if slots is None:
        held = max(min(held, int(room / lane_bytes)), 1)
    return -(-held // rows)


def warn_of_memory(resting: float, training: float) -> None:
    """Say in one line that lanes on CPUs may not fit: the system ends a process that takes more than there is.

    Args:
        resting: bytes of all lanes at rest.
        training: further bytes, of the lanes in training.
    """
    free = min(psutil.virtual_memory().available, _container_bytes())
    if resting + training > free:
        _LOG.warning(
            "the sweep needs about %.3g GB of memory, %.3g GB of it for the settings in training, and %.3g GB are "
            "free: pass a smaller slots, chunk or batch_size, or fewer devices",
            (resting + training) / 1e9,
            training / 1e9,
            free / 1e9,
        )


def memory_limit(device: Device) -> float:
    """The bytes of an accelerator that JAX may use."""
    try:
        stats = device.memory_stats()
    except jax.errors.JaxRuntimeError:
        stats = {"bytes_limit": OF_A_KIND.get(device.device_kind, 8 * 2**30)}
    return (stats or {}).get("bytes_limit", 8 * 2**30)


def _container_bytes() -> float:
    """The bytes that a container may use, as its control group says; infinite without one."""
    try:
        return float(CONTAINER.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return float("inf")


def cache_bytes(default: int = 32 * 2**20) -> int:
    """The size of the last cache of the CPU, where the system tells it."""
    for level in (3, 2):
        size = pathlib.Path(f"/sys/devices/system/cpu/cpu0/cache/index{level}/size")
        if size.exists():
            return int(size.read_text().strip().rstrip("K")) * 1024
    return default


def temporary_bytes(program: jax.stages.Compiled) -> int:
    """The bytes that a compiled program needs on a device besides its arguments and results."""
    analysis = program.memory_analysis()
    return analysis.temp_size_in_bytes if analysis is not None else 0
