"""The plan of a group of settings, and the words for it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from regopt._core.types import Setting
from regopt.sweep.accelerators._cost import Cost

HOW = {"vmap": "at a time", "map": "one after the other"}


class GroupPlan(NamedTuple):
    """The cost of the settings that share one program."""

    static: Setting  # the static values that they share
    settings: int
    held: int  # number of settings on the devices at the same time
    chunk: int  # number of settings that a device trains in one call
    mapping: str  # "vmap" trains these at once, "map" one after the other
    lane_bytes: int  # bytes of a setting at rest: parameters, optimizer, early stopping
    temporary_bytes: int  # further bytes of a device while it trains a chunk
    flops: float  # operations of a setting's training, counted by XLA or in the traced step; NaN if unknown
    seconds: float  # estimate for the whole training of all settings, from one segment or from ``cost``
    cost: Cost | None = None  # a training step of a call, where the programs are compiled for ``on``
    fits: int | None = None  # settings that could train at the same time on all devices, likewise
    slow_convolutions: bool = False  # whether a CPU computes convolutions by XLA's own operation, a slow loop there
    device_bytes: int | None = None  # of ``lane_bytes``, those on one device, where a mesh divides a setting


def resting(group: GroupPlan) -> str:
    """The bytes of a setting that does not train at the moment."""
    text = f"{size(group.lane_bytes)} a setting at rest"
    return text if group.device_bytes is None else f"{text}, {size(group.device_bytes)} of it on a device"


def counted(group: GroupPlan) -> dict[str, str]:
    """The counts of a compiled program, as texts by name."""
    cost = group.cost
    if cost is None:
        return {}
    lanes = group.chunk if group.mapping == "vmap" else 1
    exchanges = f", {cost.collectives} exchanges between devices" if cost.collectives else ""
    told = {
        "room": f"for {group.fits} settings at the same time, in 80 % of the memory of all devices",
        "a training step": f"{cost.kernels} kernels for {lanes} settings, {cost.products} of them with matrix products "
        f"and {cost.copies} copies, {cost.said_of_transposes}{exchanges}",
        "arithmetic": f"{cost.flops:.3g} FLOP and {size(cost.bytes)} of memory traffic, {cost.said_of_intensity}",
    }
    if cost.bounds:
        bounds = ", ".join(f"{name} {_brief_time(seconds)}" for name, seconds in cost.bounds.items())
        told["limited by"] = (
            f"{cost.binds} (rough bounds of a step, from data sheets and an assumed launch time: {bounds})"
        )
    if cost.estimate is not None and cost.estimate_of_products is not None:
        told["estimate of a step"] = (
            f"{_brief_time(cost.estimate)}, {_brief_time(cost.estimate_of_products)} of it in kernels with matrix "
            "products; by the compiler, not measured"
        )
    return told


def to_rent(groups: Sequence[GroupPlan], devices: int) -> str:
    """The number of devices that hold all settings at once, and the time of the training on these and on the plan's."""
    if not all(group.fits for group in groups):
        return "larger devices, or a mesh that divides a setting (partition=): one does not fit on a device"
    needed = math.ceil(sum(group.settings * devices / group.fits for group in groups if group.fits))
    enough = f"{needed} such device{' holds' if needed == 1 else 's hold'} all settings at once"
    seconds = sum(group.seconds for group in groups)
    if math.isnan(seconds):
        return enough
    told = (
        "about" if all(group.cost is not None and group.cost.estimate is not None for group in groups) else "at least"
    )
    if needed > devices:
        enough += f"; {devices} train them in turns"
    elif needed < devices:
        takes = f"take{'s' if needed == 1 else ''} {told} {duration(seconds * devices / needed)}"
        enough += f" and {takes}; {devices} take {duration(seconds)}"
    return (
        f"{enough}; the training steps cost {told} {duration(seconds * devices)} of device time, which is not measured"
    )


def took(group: GroupPlan) -> str:
    """The training time of a group, and the source of this number."""
    if math.isnan(group.seconds):
        return duration(group.seconds)
    source = "by the segment that was trained" if group.cost is None else group.cost.said_of_seconds
    return f"{duration(group.seconds)} {source}"


def _brief_time(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def size(count: float) -> str:
    """A number of bytes."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def duration(seconds: float) -> str:
    """A time, in the unit that suits it."""
    if math.isnan(seconds):
        return "unknown time"
    for unit, length in (("s", 60), ("min", 60), ("h", 24)):
        if seconds < length:
            return f"{seconds:.2g} {unit}" if seconds < 10 else f"{seconds:.0f} {unit}"
        seconds /= length
    return f"{seconds:.1f} days"
