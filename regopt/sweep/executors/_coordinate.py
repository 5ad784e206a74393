"""The coordinator of a sweep whose lanes train on the workers of an executor.

The coordinator keeps the table, asks the scheduler for its decisions on all settings, and saves the sweep. The executor
decides where the lanes of a call train.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path

import jax

from regopt._core.io import JsonObject
from regopt._core.keys import split_key
from regopt._core.messages import brief
from regopt.sweep.engine._config import Submits, SweepConfig
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._measure import recorded
from regopt.sweep.engine._prepare import check_places, check_task, fingerprint, frozen_on, recipes
from regopt.sweep.engine._progress import compiling
from regopt.sweep.engine._recipe import Shared
from regopt.sweep.engine._runner import Runner
from regopt.sweep.executors._carried import CarriedShards
from regopt.sweep.executors._fleet import recorded_device
from regopt.sweep.executors._futures import Futures
from regopt.sweep.executors._group import ShardedGroup
from regopt.sweep.executors._messages import CACHE, Facts, Job, encoded, portable
from regopt.sweep.executors._pool import Engine, Pool
from regopt.sweep.executors._ray import Ray
from regopt.sweep.executors._shards import Shards
from regopt.sweep.results import Result
from regopt.sweep.results._history import DEVICE, History
from regopt.sweep.space import Settings

_LOCAL = {  # arguments that concern the coordinator alone
    *("data", "devices", "out", "save_every", "allow_different", "progress", "executor", "extend", "callbacks"),
}
_SETTINGS_OF_A_SHARD = 64
_SHARDS_OF_A_WORKER = 4


class _Coordinator(Runner):
    """A runner whose workers end after each training, which frees the cluster for other jobs."""

    def __init__(
        self, groups: list[Group], settings: Settings, config: SweepConfig, shards: Shards, *, mixed: bool = False
    ):
        super().__init__(groups, settings, config)
        self._shards, self.mixed = shards, mixed

    def refit(self, setting: int | None, before: History) -> Result:
        """See ``Runner``."""
        try:
            return super().refit(setting, before)
        finally:
            self._shards.close()


def as_engine(executor: object) -> Engine:
    """The engine that the argument ``executor`` of a sweep stands for.

    Raises:
        ValueError: the argument stands for no engine.
    """
    if isinstance(executor, str) and executor == "ray":
        return Ray()
    if isinstance(executor, Engine) and not isinstance(executor, type):
        return executor
    if isinstance(executor, Submits) and not isinstance(executor, type):
        return Futures(executor, shards=os.cpu_count() or 1)
    raise ValueError(
        f'executor must be None, "ray", a sweep.Ray, a sweep.Futures or an executor of concurrent.futures, got '
        f"{brief(executor)}"
    )


@contextmanager
def coordinated(config: SweepConfig, stored: JsonObject | None) -> Iterator[tuple[Runner, Callable[[], JsonObject]]]:
    """The runner of a sweep on the workers of its executor; the workers end with the context.

    Args:
        config: the arguments of the sweep.
        stored: the fingerprint of the saved sweep that is resumed; None where there is none.

    Yields:
        The runner, and a function that gives the fingerprint of the sweep.
    """
    engine = as_engine(config.executor)
    check_task(config)
    if engine.mixed and DEVICE in config.settings.columns:
        raise ValueError(f"a mixed fleet adds a column {DEVICE!r} to the table, and the settings have one: rename it")
    pool = engine.pool(None if config.out is None else Path(config.out))
    job = _job(config, pool, engine.shards, stored)
    shards = (Shards if pool.keeps_lanes else CarriedShards)(pool, job.shards, config.save_every)
    try:
        with compiling(config.progress, len(config.settings), " on the workers"):
            prepared = pool.open(job, portable(config.data))
            facts = prepared.groups
            choices = {"config": {"mapping": [its.mapping for its in facts], "chunk": [its.chunk for its in facts]}}
            pool.join(job._replace(choices=choices, capacities=tuple(its.capacity for its in facts)), prepared)
        groups = _groups(config, facts, shards)
        check_places(config, groups)
        runner = _Coordinator(groups, config.settings, config, shards, mixed=engine.mixed)

        def identity() -> JsonObject:
            own = fingerprint(config, groups, config.settings)
            device = recorded_device(prepared.environment["device"], job.shards, mixed=engine.mixed)
            return {**own, **prepared.environment, "device": device}

        yield runner, identity
    finally:
        shards.close()


def _job(config: SweepConfig, pool: Pool, shards: int | None, stored: JsonObject | None) -> Job:
    """The job of the workers; what the arguments leave open is taken from the saved sweep, if there is one."""
    given = [each.name for each in fields(config) if each.init and each.name not in _LOCAL]
    arguments = {name: getattr(config, name) for name in given}
    if config.held_out is not None:  # a worker divides the data into the same folds
        arguments["resamples"] = None
    workers = max(pool.size(), 1)
    groups = len(list(config.settings.groups()))
    saved = stored or {}
    count = shards or saved.get("device", {}).get("count") or _shards_for(len(config.settings), workers)
    sizes = saved.get("config", {}).get("slots", ())
    capacities = tuple(size // count for size in sizes) if config.slots is None and len(sizes) == groups else None
    known = config.chunk is None and recorded(stored, groups) is not None
    choices = {"config": dict(saved["config"])} if known else None
    arguments["key"] = encoded(config.key)
    cache = () if getattr(jax.config, CACHE[0]) is None else tuple((name, getattr(jax.config, name)) for name in CACHE)
    return Job(uuid.uuid4().hex, arguments, count, workers, capacities, choices, cache)


def _shards_for(settings: int, workers: int) -> int:
    each = settings // (workers * _SETTINGS_OF_A_SHARD)
    return min(workers * min(max(each, 1), _SHARDS_OF_A_WORKER), settings)


def _groups(config: SweepConfig, facts: list[Facts], shards: Shards) -> list[Group]:
    assert config.key is not None
    keys = Shared(config.data, split_key(config.key), None)
    return [
        ShardedGroup(
            recipe,
            config.settings.numbers,
            indices,
            keys,
            number,
            its,
            shards,
            packed=config.scheduler is not None,
            frozen=None if recipe.task.frozen is None else partial(frozen_on, config, recipe, indices),
        )
        for number, ((recipe, indices), its) in enumerate(zip(recipes(config, config.settings), facts, strict=True))
    ]
