"""The plan of a sweep: memory, arithmetic and time, measured on one segment or read from compiled programs."""

import time
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
from jax.sharding import PartitionSpec

from regopt._core.messages import brief, shown
from regopt._core.tasks import asking_for
from regopt._core.types import Device
from regopt.sweep.accelerators import GroupPlan, Target, target_of
from regopt.sweep.accelerators._group_plan import HOW, counted, duration, resting, size, to_rent, took
from regopt.sweep.accelerators._process import answers
from regopt.sweep.accelerators._request import requests
from regopt.sweep.engine._config import SweepConfig, configured
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._layout import LANES, check_count, sizes_of
from regopt.sweep.engine._measure import convolves, counted_flops, seconds_of_a_call
from regopt.sweep.engine._mistakes import explained
from regopt.sweep.engine._prepare import check_task, devices_of, prepare, share_data
from regopt.sweep.engine._progress import compiling


class Plan(NamedTuple):
    """The cost of a sweep; ``print`` shows it as text."""

    groups: tuple[GroupPlan, ...]
    devices: int
    segments: int  # number of segments that a setting trains
    compile_seconds: float  # until all programs are compiled, several at a time; with ``on`` the sum over programs
    on: str | None = None  # the devices that the programs are compiled for; None where a segment was trained
    mesh: dict[str, int] | None = None  # sizes of the mesh by axis, where it divides a setting
    partition: dict[str, PartitionSpec] | None = None  # by path pattern, likewise

    @property
    def seconds(self) -> float:
        """The estimated seconds of training, if no setting ends early."""
        return sum(group.seconds for group in self.groups)

    def _where(self) -> str:
        return "" if self.on is None else f" ({self.on}, compiled for and not run)"

    def _divided(self) -> str:
        if self.mesh is None:
            return ""
        sizes = " x ".join(f"{size} {name}" for name, size in self.mesh.items())
        rules = ", ".join(f"{pattern} {tuple(spec)}" for pattern, spec in (self.partition or {}).items())
        return f" ({sizes}, divided by {rules})"

    def _time(self) -> str:
        said = sorted({group.cost.said_of_seconds for group in self.groups if group.cost is not None})
        if not said:
            return f"about {duration(self.seconds)} after {self.compile_seconds:.1f} s of compilation"
        steps = f"training steps take {duration(self.seconds)} {' or '.join(said)}, evaluations come on top"
        told = "no estimate of the time" if "unknown" in said else steps
        return f"{told}; compiled here in {self.compile_seconds:.1f} s"

    def _repr_html_(self) -> str | None:
        """The text and a row for each group, for a notebook."""
        from regopt._core.notebook import MOST, to_html

        rows = [
            {
                **{name: shown(value) for name, value in group.static.items()},
                "settings": group.settings,
                "held": group.held,
                "chunk": f"{group.chunk} {HOW[group.mapping]}",
                "at rest": resting(group),
                "in training": size(group.temporary_bytes),
                "FLOP a setting": group.flops,
                "time": took(group),
                **counted(group),
            }
            for group in self.groups[:MOST]
        ]
        return to_html("Plan:", rows, text=str(self).split("\n")[0], total=len(self.groups))

    def __str__(self) -> str:
        lines = [
            f"{sum(group.settings for group in self.groups)} settings in {len(self.groups)} program(s) on "
            f"{self.devices} device(s){self._divided()}{self._where()}, {self.segments} segments each: {self._time()}"
        ]
        for group in self.groups:
            static = "".join(f"{name} = {shown(value)}, " for name, value in group.static.items())
            lines.append(
                f"  {static}{group.settings} settings, {group.held} held, "
                f"{group.chunk} {HOW[group.mapping]} on a device: "
                f"{resting(group)}, {size(group.temporary_bytes)} a device in training, "
                f"{group.flops:.3g} FLOP a setting, {took(group)}"
            )
            lines += [f"    {name}: {value}" for name, value in counted(group).items()]
            if group.slow_convolutions:
                lines.append(
                    "    XLA's convolutions are slow loops on a CPU: try "
                    "nnx.Conv(..., conv_general_dilated=regopt.layers.convolution_by_product)"
                )
        if self.on is not None and self.mesh is None and target_of(self.on).platform != "cpu":
            lines.append(f"  to rent: {to_rent(self.groups, self.devices)}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class PlanConfig(SweepConfig):
    """The arguments of ``plan``: those of ``run``, and the devices to compile for.

    Raises:
        ValueError: an argument is out of range, or two of them do not go together.
    """

    on: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check ``on``, then everything else."""
        if self.on is not None and not isinstance(self.on, str):
            raise ValueError(f"on must be a str or None, got {brief(self.on)}")
        if self.on is not None and self.devices is not None:
            raise ValueError("devices must be None with on, which names the devices to compile for")
        super().__post_init__()
        if self.iterated is not None and not self.iterated.can_begin_again:
            raise ValueError("a plan takes batches from data.train: pass what can be iterated over more than once")

    def _devices(self) -> tuple[Device, ...]:
        if self.on is not None and self.mesh is not None:
            check_count(sizes_of(self.mesh), target_of(self.on).count)
            return tuple(jax.local_devices())
        return super()._devices()


@configured(PlanConfig)
def plan(config: PlanConfig) -> Plan:  # noqa: D417 - the arguments are those of the config
    """Compile the programs of a sweep, train one segment of each, and estimate what the whole would take.

    With ``on`` the programs are compiled for devices that need not be there, and nothing is trained. The plan then has
    a ``cost`` for each group: what is in the compiled program of one training step, and estimates and bounds of its
    time. It shows that the programs compile, whether they fit, and what they consist of; how fast they are, only a run
    on the device shows. The compilation for an accelerator takes place in another process, so that this one keeps its
    devices.

    A ``run`` with the same arguments afterwards compiles nothing again, for up to 32 groups. ``progress`` shows on
    standard error what is being compiled and for how long, which for a large model on an absent accelerator takes
    minutes. Arguments for saving (``out``, ``save_every``, ``allow_different``) and ``callbacks`` have no effect here,
    nor has ``executor``: the plan describes a run in this process.

    The arguments are those of ``run``, so that the same call can be planned and run, and one more:

    Args:
        on: devices to compile for: "tpu v5e", "tpu v5e:2x2" or another topology of v5e, v5p or v6e (extra ``tpu``),
            "nvidia h200" or "nvidia h200:8" (extra ``cuda``), or "cpu". None measures a segment on the devices of this
            process.

    Returns:
        The plan.

    Raises:
        ValueError: as ``run`` does, or ``on`` is not known or needs an extra that is not installed.
        RuntimeError: the process that compiles has ended without an answer.

    Example:
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.2, 0.5, 0.9]})
        >>> plan = sweep.plan(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1)
        >>> plan.segments, plan.groups[0].settings, plan.groups[0].lane_bytes  # 4 bytes each: state, mark, rate, index
        (4, 4, 16)
    """
    found = _measured(config) if config.on is None else _compiled(config, target_of(config.on))
    if config.iterated is not None:
        config.iterated.give_back()
    return found


def _measured(config: PlanConfig) -> Plan:
    """The plan from a segment of each group."""
    shared, segments = share_data(config), len(config.evaluated)
    begun = time.perf_counter()
    with compiling(config.progress, len(config.settings)):
        runner = prepare(config, shared)
    seconds = time.perf_counter() - begun  # not the sum: several programs compile at a time
    groups = tuple(_plan(group, segments) for group in runner.groups)
    return Plan(groups, len(devices_of(config)), segments, seconds, None, *_division(config))


def _division(config: PlanConfig) -> tuple[dict[str, int] | None, dict[str, PartitionSpec] | None]:
    """The mesh and the partition, where a setting is divided."""
    if not config.partition or config.mesh is None:
        return None, None
    return sizes_of(config.mesh), dict(config.partition)


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
        flops=counted_flops(group.form, group.segment, group.chunk) * segments,
        seconds=seconds_of_a_call(group)[0] * calls,
        slow_convolutions=group.used[0].platform == "cpu" and convolves(group.segment),
        device_bytes=None if group.device_bytes == group.lane_bytes else group.device_bytes,
    )


def _compiled(config: PlanConfig, target: Target) -> Plan:
    """The plan of a sweep on devices that it is only compiled for."""
    check_task(config)
    asked, segments = requests(config), len(config.evaluated)
    rows = target.count if config.mesh is None else sizes_of(config.mesh)[LANES]
    where = f" in {len(asked)} groups" if len(asked) > 1 else ""
    with (
        compiling(config.progress, len(config.settings), f"{where} for {target.name}"),
        asking_for(config.settings.columns),
        explained(),
    ):
        found = answers(asked, target)
    groups = []
    for request, answer in zip(asked, found, strict=True):
        calls = -(-request.settings // (rows * answer.chunk)) * segments
        lanes = answer.chunk if answer.mapping == "vmap" else 1
        groups.append(
            GroupPlan(
                static=request.recipe.static_values,
                settings=request.settings,
                held=answer.held,
                chunk=answer.chunk,
                mapping=answer.mapping,
                lane_bytes=answer.lane_bytes,
                temporary_bytes=answer.temporary_bytes,
                flops=answer.cost.flops / lanes * config.steps * (target.count // rows),
                seconds=answer.cost.seconds * (answer.chunk / lanes) * config.eval_every * calls,
                cost=answer.cost,
                fits=answer.fits,
                device_bytes=None if answer.device_bytes == answer.lane_bytes else answer.device_bytes,
            )
        )
    seconds = sum(each.compile_seconds for each in found)
    return Plan(tuple(groups), target.count, segments, seconds, config.on, *_division(config))
