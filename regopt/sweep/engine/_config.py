"""The arguments of a sweep: each stated once, with its type, its default and its check.

``run`` and ``plan`` take them as keyword arguments (``configured`` gives them the signature); the docstring of ``run``
describes them. The check of one argument is in the metadata of its field, checks between arguments are in
``__post_init__``.
"""

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from regopt._core.checks import check_key
from regopt._core.io import JsonObject, digest_json
from regopt._core.keys import split_key
from regopt._core.messages import misspelt
from regopt._core.metrics import check_mode, check_monitor, monitored
from regopt._core.tasks import check_task, first_metrics
from regopt._core.training_data import check_data, check_multiple
from regopt._core.types import Device, Key, Mode, Number, Setting, Task
from regopt.data import Splits
from regopt.sweep.checkpoint import digested, digested_arrays
from regopt.sweep.engine import _checks as checks
from regopt.sweep.engine._callbacks import Callback
from regopt.sweep.engine._code import code_digest
from regopt.sweep.engine._iterated import Iterated, check_iterated
from regopt.sweep.engine._layout import check_count, check_mesh, check_partition
from regopt.sweep.engine._recipe import Rest
from regopt.sweep.engine._streams import Evaluated, Stream, as_evaluated, as_stream, leaves_of, sample_digest
from regopt.sweep.schedulers import Scheduler
from regopt.sweep.space import Settings

P = ParamSpec("P")
Config = TypeVar("Config")
Outcome = TypeVar("Outcome")
NOTHING = Splits(np.zeros(1, np.float32), np.zeros(1, np.float32))  # the data of a task that needs none
Patience = Number | Callable[[Setting], Number]


@runtime_checkable
class Submits(Protocol):
    """The interface of an executor of ``concurrent.futures``, or of a library that has the same one."""

    def submit(self, fn: Callable[..., object], /, *args: object) -> Any:
        """Submit a call; return a future with ``done`` and ``result``."""
        ...


class HasPool(Protocol):
    """An engine, such as ``sweep.Ray`` or ``sweep.Futures``; see ``regopt.sweep.executors``."""

    def pool(self, folder: Path | None) -> object:
        """The workers of the engine, for a sweep that is saved in this folder."""
        ...


def _checked(check: Callable[[object], object], *, optional: bool = False) -> Mapping[str, object]:
    """The metadata of a field whose value must pass this check, or may be None where it is optional."""
    return {"check": check if not optional else lambda value: None if value is None else check(value)}


@dataclass(frozen=True, eq=False)
class SweepConfig:
    """The arguments of ``regopt.sweep.run``, checked and with their defaults resolved.

    Raises:
        ValueError: an argument is out of range, or two of them do not go together.
    """

    task: Task = field(metadata=_checked(check_task))
    settings: Settings = field(metadata=_checked(checks.check_settings))
    data: Splits = field(default=NOTHING, metadata=_checked(checks.check_parts))
    _: KW_ONLY
    steps: int = field(metadata=_checked(checks.whole("steps")))
    eval_every: int = field(metadata=_checked(checks.whole("eval_every")))
    batch_size: int | None = field(default=None, metadata=_checked(checks.whole("batch_size"), optional=True))
    eval_batch_size: int | None = field(default=None, metadata=_checked(checks.whole("eval_batch_size"), optional=True))
    eval_batches: int | None = field(default=None, metadata=_checked(checks.whole("eval_batches"), optional=True))
    eval_cache_bytes: float = field(default=2**28, metadata=_checked(checks.check_cache))
    key: Key | None = field(default=None, metadata=_checked(functools.partial(check_key, "key"), optional=True))
    patience: Patience | None = field(default=None, metadata=_checked(checks.check_patience))
    monitor: str = field(default="validation_loss", metadata=_checked(check_monitor))
    mode: Mode | None = field(default=None, metadata=_checked(check_mode, optional=True))
    noise: Literal["shared", "per lane"] = field(
        default="shared", metadata=_checked(checks.one_of("noise", "shared", "per lane"))
    )
    held_out: np.ndarray | None = field(default=None, init=False)  # [folds, examples]: the rows to evaluate each on
    resamples: Sequence[Sequence[int]] | np.ndarray | jax.Array | None = None
    scheduler: Scheduler | None = field(default=None, metadata=_checked(checks.check_scheduler))
    slots: int | None = field(default=None, metadata=_checked(checks.whole("slots"), optional=True))
    chunk: int | None = field(default=None, metadata=_checked(checks.whole("chunk"), optional=True))
    mapping: Literal["vmap", "map", "measured"] | None = field(
        default=None, metadata=_checked(checks.one_of("mapping", "vmap", "map", "measured"), optional=True)
    )
    default_matmul_precision: str | None = field(default=None, metadata=_checked(checks.check_precision))
    devices: Sequence[Device] | None = field(default=None, metadata=_checked(checks.check_devices))
    mesh: Mesh | Mapping[str, int] | None = field(default=None, metadata=_checked(check_mesh))
    partition: Mapping[str, PartitionSpec] | None = None
    rest: Rest = field(default="device", metadata=_checked(checks.one_of("rest", "device", "host")))
    executor: Literal["ray"] | HasPool | Submits | None = None
    out: str | os.PathLike[str] | None = field(default=None, metadata=_checked(checks.check_folder))
    save_every: float = field(default=60.0, metadata=_checked(checks.check_save_every))
    allow_different: bool = field(default=False, metadata=_checked(checks.switch("allow_different")))
    extend: bool = field(default=False, metadata=_checked(checks.switch("extend")))
    callbacks: Sequence[Callback] = field(default=(), metadata=_checked(checks.check_callbacks))
    progress: bool = field(default=False, metadata=_checked(checks.switch("progress")))

    def __post_init__(self) -> None:
        """Check every argument, then those that depend on each other, and resolve the defaults."""
        if checks.FOLD in getattr(self.settings, "columns", ()) and getattr(self.data, "validation", ()) is None:
            object.__setattr__(self, "data", checks.with_unused_validation(self.data))
        for argument in fields(self):
            if check := argument.metadata.get("check"):
                check(getattr(self, argument.name))
        check_multiple(self.steps, self.eval_every)
        if self.mapping == "measured" and self.chunk is not None:
            raise ValueError(f'chunk must be None where the mapping is "measured", got {self.chunk}')
        if self.executor is not None and self.devices is not None:
            raise ValueError("devices must be None with an executor, whose workers compute on their own first device")
        check_partition(self.mesh, self.partition)
        if self.mesh is not None and self.executor is not None:
            raise ValueError("mesh must be None with an executor, whose workers compute on their own first device")
        if self.rest != "device" and self.executor is not None:
            raise ValueError(
                f'rest must be "device" with an executor, whose workers keep their lanes, got {self.rest!r}'
            )
        checks.check_changes(self.scheduler, self.settings, self.patience)
        if self.extend and self.out is None:
            raise ValueError("extend needs the folder of a sweep: pass out")
        checks.check_batch_sizes(self.settings, self.batch_size)
        resolved: dict[str, Any] = {}
        checks.check_stream(self.stream, self.resamples)
        if (iterated := self.iterated) is not None:
            check_iterated(
                executor=self.executor,
                extend=self.extend,
                mapping=self.mapping,
                begins_again=iterated.can_begin_again,
            )
        checks.check_evaluated(self.evaluated_batches, self.settings)
        if self.partition and self.evaluated_batches is not None:
            raise ValueError("partition needs data.validation as arrays in memory, got data that stream")
        for name in ("steps", "eval_every", "batch_size", "eval_batch_size", "eval_batches", "slots", "chunk"):
            size = getattr(self, name)
            resolved[name] = None if size is None else int(size)  # JSON has no NumPy integers
        resolved["resamples"] = None if self.resamples is None else checks.as_resamples(self.resamples, self.data)
        checks.check_replicas(self.settings, resolved["resamples"])
        resolved["key"] = jax.random.key(0) if self.key is None else self.key
        if checks.FOLD in self.settings.columns:
            found = checks.as_folds(self.settings, self.data, resolved["key"], self.resamples)
            resolved["resamples"], resolved["held_out"] = found
        resolved["mode"] = monitored(self.task, self.monitor, self.mode, lambda: self._first_metrics(resolved["key"]))
        resolved["devices"] = self._devices()
        for name, value in resolved.items():
            object.__setattr__(self, name, value)

    def _devices(self) -> tuple[Device, ...]:
        """Those that are given, those of the mesh, or all."""
        if isinstance(self.mesh, Mesh):
            if self.devices is not None:
                raise ValueError("devices must be None with a jax.sharding.Mesh, which has its own")
            return tuple(self.mesh.devices.flat)
        devices = tuple(jax.local_devices() if self.devices is None else self.devices)
        if self.mesh is not None:
            check_count(self.mesh, len(devices))
        return devices

    def _first_metrics(self, key: Key) -> dict[str, jax.Array]:
        """The metrics of the first setting, for their names."""
        return first_metrics(self.task, self.sample, key, self.settings.row(0))

    @functools.cached_property
    def stream(self) -> Stream | Iterated | None:
        """The stream of the training batches; None for arrays in memory."""
        if all(hasattr(leaf, "dtype") for leaf in leaves_of(self.data.train)):
            check_data(self.data, ("train",))
        key = jax.random.key(0) if self.key is None else self.key
        stream = as_stream(self.data.train, self.batch_size, split_key(key).order)
        if stream is None:
            check_data(self.data, ("train",))
        return stream

    @property
    def iterated(self) -> Iterated | None:
        """The stream of training batches that can only be iterated over; None for others."""
        return self.stream if isinstance(self.stream, Iterated) else None

    @functools.cached_property
    def evaluated_batches(self) -> Evaluated | None:
        """The batches of validation data that stream; None for arrays in memory."""
        if all(hasattr(leaf, "dtype") for leaf in leaves_of(self.data.validation)):
            check_data(self.data, ("validation",))
        batches = as_evaluated(self.data.validation, self.eval_batch_size, self.eval_batches)
        if batches is None:
            check_data(self.data, ("validation",))
        return batches

    @property
    def resting(self) -> Splits:
        """The data that every device holds: nothing in place of what streams."""
        train = self.data.train if self.stream is None else ()
        return self.data._replace(
            train=train, validation=self.data.validation if self.evaluated_batches is None else ()
        )

    @functools.cached_property
    def sample(self) -> Splits:
        """The data, with the first batch in place of what streams."""
        data = self.data
        if self.stream is not None:
            data = data._replace(train=jax.tree.map(lambda x: x[0], self.stream.sample()))
        if self.evaluated_batches is not None:
            data = data._replace(validation=self.evaluated_batches.read(0))
        return data

    @property
    def direction(self) -> Mode:
        """Whether a smaller or a larger ``monitor`` is better."""
        assert self.mode is not None
        return self.mode

    @functools.cached_property
    def data_digests(self) -> JsonObject | None:
        """The digests of the data, computed once for a sweep, because their time grows with the data."""
        streams = {"train": self.stream, "validation": self.evaluated_batches}
        digests = (
            digested_arrays({name: part for name, part in self.data._asdict().items() if not streams.get(name)}) or {}
        )
        for name, stream in streams.items():
            if stream is not None:
                code = None if stream.code is None else code_digest(stream.code)
                words = [stream.size, code, sample_digest(stream)]  # reading all of the data may take hours
                digests[name] = digested(digest_json(words), "batches")
        return digests or None

    @property
    def evaluated(self) -> np.ndarray:
        """[evaluations], int: the steps after which settings are evaluated."""
        return np.arange(self.eval_every, self.steps + 1, self.eval_every)

    @property
    def keeps_best(self) -> bool:
        """Whether early stopping keeps the best state of each setting, rather than the last."""
        return self.patience is not None


def configured(make: Callable[P, Config]) -> Callable[[Callable[[Config], Outcome]], Callable[P, Outcome]]:
    """Turn a function of a config into one of the config's arguments, with their signature.

    Args:
        make: the config's class.

    Returns:
        The decorator.
    """

    def decorate(function: Callable[[Config], Outcome]) -> Callable[P, Outcome]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Outcome:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:  # its text names the class of the config, which the caller does not know
                unknown = next((name for name in kwargs if name not in signature.parameters), None)
                found = error if unknown is None else f"got an unexpected keyword argument {unknown!r}"
                hint = misspelt(kwargs, signature.parameters)
                raise TypeError(f"{function.__name__}(): {found}{hint}") from None
            return function(make(*args, **kwargs))

        signature = inspect.signature(make)
        returns = inspect.signature(function).return_annotation
        call.__signature__ = signature.replace(return_annotation=returns)  # type: ignore[attr-defined]
        return call

    return decorate
