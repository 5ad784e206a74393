"""What a sweep would take: memory, arithmetic and time, measured on one segment of each group."""

from typing import NamedTuple

from regopt._core.messages import shown
from regopt._core.types import Setting
from regopt.sweep.engine._config import SweepConfig, configured
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._measure import seconds_of_a_call
from regopt.sweep.engine._prepare import devices_of, prepare, share_data

_HOW = {"vmap": "at a time", "map": "one after the other"}


class GroupPlan(NamedTuple):
    """The cost of the settings that share one program."""

    static: Setting  # the static values that they share
    settings: int
    held: int  # number of settings on the devices at the same time
    chunk: int  # number of settings that a device trains in one call
    mapping: str  # "vmap" trains these at once, "map" one after the other
    lane_bytes: int  # bytes of a setting at rest: parameters, optimizer, early stopping
    temporary_bytes: int  # further bytes of a device while it trains a chunk
    flops: float  # operations of the whole training of a setting, as XLA counts them; NaN where it does not
    seconds: float  # estimate for the whole training of all settings, from one segment


class Plan(NamedTuple):
    """The cost of a sweep; ``print`` shows it as text."""

    groups: tuple[GroupPlan, ...]
    devices: int
    segments: int  # number of segments that a setting trains
    compile_seconds: float

    @property
    def seconds(self) -> float:
        """The estimated seconds of training, if no setting ends early."""
        return sum(group.seconds for group in self.groups)

    def _repr_html_(self) -> str | None:
        """The text and a row for each group, for a notebook."""
        from regopt.report._notebook import MOST, to_html

        rows = [
            {
                **{name: shown(value) for name, value in group.static.items()},
                "settings": group.settings,
                "held": group.held,
                "chunk": f"{group.chunk} {_HOW[group.mapping]}",
                "at rest": _size(group.lane_bytes),
                "in training": _size(group.temporary_bytes),
                "FLOP a setting": group.flops,
                "time": _duration(group.seconds),
            }
            for group in self.groups[:MOST]
        ]
        return to_html("Plan:", rows, text=str(self).split("\n")[0], total=len(self.groups))

    def __str__(self) -> str:
        lines = [
            f"{sum(group.settings for group in self.groups)} settings in {len(self.groups)} program(s) on "
            f"{self.devices} device(s), {self.segments} segments each: about {_duration(self.seconds)} after "
            f"{self.compile_seconds:.1f} s of compilation"
        ]
        for group in self.groups:
            static = "".join(f"{name} = {shown(value)}, " for name, value in group.static.items())
            lines.append(
                f"  {static}{group.settings} settings, {group.held} held, "
                f"{group.chunk} {_HOW[group.mapping]} on a device: "
                f"{_size(group.lane_bytes)} a setting at rest, {_size(group.temporary_bytes)} a device in training, "
                f"{group.flops:.3g} FLOP a setting, {_duration(group.seconds)}"
            )
        return "\n".join(lines)


@configured(SweepConfig)
def plan(config: SweepConfig) -> Plan:
    """Compile the programs of a sweep, train one segment of each, and estimate what the whole would take.

    A ``run`` with the same arguments afterwards compiles nothing again, up to 32 groups. The arguments are those of
    ``run``, so that the same call can be planned and run. Those for saving and showing (``out``, ``save_every``,
    ``allow_different``, ``callbacks``, ``progress``) have no effect here, nor has ``executor``: the plan is that of
    this process.

    Args:
        config: the arguments of ``run``.

    Returns:
        The plan.

    Raises:
        ValueError: as ``run`` does.

    Example:
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.2, 0.5, 0.9]})
        >>> plan = sweep.plan(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1)
        >>> plan.segments, plan.groups[0].settings, plan.groups[0].lane_bytes  # a state, a mark, a rate and an index
        (4, 4, 16)
    """
    runner = prepare(config, share_data(config))
    segments = len(config.evaluated)
    groups = tuple(_plan(group, segments) for group in runner.groups)
    seconds = sum(group.trace_seconds + group.compile_seconds for group in runner.groups)
    return Plan(groups, len(devices_of(config)), segments, seconds)


def _plan(group: Group, segments: int) -> GroupPlan:
    calls = -(-len(group.indices) // (group.devices * group.chunk)) * segments
    return GroupPlan(
        static=group.recipe.static_values,
        settings=len(group.indices),
        held=min(group.size, len(group.indices)),
        chunk=group.chunk,
        mapping=group.mapping,
        lane_bytes=group.lane_bytes,
        temporary_bytes=group.temporary_bytes,
        flops=group.flops * segments,
        seconds=seconds_of_a_call(group)[0] * calls,
    )


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _duration(seconds: float) -> str:
    for unit, length in (("s", 60), ("min", 60), ("h", 24)):
        if seconds < length:
            return f"{seconds:.2g} {unit}" if seconds < 10 else f"{seconds:.0f} {unit}"
        seconds /= length
    return f"{seconds:.1f} days"
