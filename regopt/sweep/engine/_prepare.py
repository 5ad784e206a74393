"""From a config to a runner: keys split, data on the devices, settings in groups, programs compiled."""

import contextlib
import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from regopt._core.io import JsonObject, digest, digest_json, environment
from regopt._core.keys import split_key
from regopt._core.tasks import asking_for
from regopt._core.types import Device, Task, Tree
from regopt.sweep.checkpoint import digested, digested_arrays
from regopt.sweep.engine._checks import check_held, check_leaves, check_metric_names
from regopt.sweep.engine._code import code_digest, name_of
from regopt.sweep.engine._config import SweepConfig
from regopt.sweep.engine._executables import Executables
from regopt.sweep.engine._feed import Feed, ValidationFeed
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._host import HostGroup
from regopt.sweep.engine._iterated import check_together
from regopt.sweep.engine._layout import Layout, arranged
from regopt.sweep.engine._measure import Choice, fastest, recorded
from regopt.sweep.engine._memory import warn_of_memory
from regopt.sweep.engine._mistakes import check_examples, explained, warn_of_no_rung, warn_of_programs, warn_of_unused
from regopt.sweep.engine._program import lane_shapes
from regopt.sweep.engine._recipe import Recipe, Shared, constants_of, form_of, of_setting, static_values
from regopt.sweep.engine._runner import Runner
from regopt.sweep.space import Settings
from regopt.sweep.space._settings import BATCH_SIZE

MOST_NAMED = 1000  # settings up to which a message names the value that differs


def share_data(config: SweepConfig) -> Shared:
    """The arrays that all lanes read, once on each device."""
    assert config.key is not None
    resamples = None if config.resamples is None else np.asarray(config.resamples)
    shared = Shared(config.resting, split_key(config.key), resamples, config.held_out)
    return layout_of(config).on_each(shared)


def devices_of(config: SweepConfig) -> tuple[Device, ...]:
    """The devices that a sweep runs on."""
    assert config.devices is not None
    return tuple(config.devices)


def layout_of(config: SweepConfig) -> Layout:
    """The layout of the lanes on the devices."""
    return arranged(devices_of(config), config.mesh, config.partition)


def recipes(config: SweepConfig, settings: Settings) -> list[tuple[Recipe, np.ndarray]]:
    """The recipe of each group, and the rows of its settings."""
    task = config.task
    frozen = getattr(task, "frozen", None)
    recipe = Recipe(
        # without its modes, which cannot be hashed
        Task(task.init, task.step, task.evaluate, getattr(task, "predict", None), frozen=frozen),
        (),
        config.eval_every,
        config.batch_size if config.stream is None else None,
        of_setting(config.patience),
        config.monitor,
        config.direction,
        config.noise,
        config.eval_batch_size,
        config.default_matmul_precision,
        config.evaluated_batches is not None,
    )
    found = []
    for static, indices in settings.groups():
        size = static.get(BATCH_SIZE, recipe.batch_size)
        found.append((dataclasses.replace(recipe, static=static_values(static), batch_size=size), indices))
    return found


def frozen_on(config: SweepConfig, recipe: Recipe, indices: np.ndarray) -> Tree:
    """The parameters of a group that are not trained."""
    assert recipe.task.frozen is not None
    numbers = constants_of(config.settings.numbers, indices[:1]).numbers
    return recipe.task.frozen.values(recipe.static_values | {name: number[0] for name, number in numbers.items()})


def _feeds(config: SweepConfig, layout: Layout) -> tuple[Feed | None, ValidationFeed | None]:
    """The readers of training and validation data that stream; None for arrays in memory."""
    stream, batches, put = config.stream, config.evaluated_batches, layout.on_each
    feed = None if stream is None else Feed(stream, config.eval_every, config.steps, put)
    return feed, None if batches is None else ValidationFeed(batches, put, config.eval_cache_bytes)


def _going(config: SweepConfig) -> tuple[float, ...]:
    """Of the lanes, the share that trains each segment, where the scheduler tells and no later lanes fill the calls."""
    tells = None if config.scheduler is None else config.scheduler.going
    streams = config.slots is not None and config.slots < len(config.settings)
    return () if tells is None or streams else tuple(tells(len(config.evaluated)))


def _choices(config: SweepConfig, stored: JsonObject | None, count: int) -> list[Choice] | None:
    """The mapping and the chunk of each group; None where they are still to be measured."""
    if config.mapping == "measured":
        return recorded(stored, count)
    return [Choice(config.mapping, config.chunk)] * count


def prepare(
    config: SweepConfig,
    shared: Shared,
    stored: JsonObject | None = None,
    capacities: Sequence[int] | None = None,
    until: contextlib.ExitStack | None = None,
) -> Runner:
    """Compile what trains all settings.

    Args:
        config: the arguments of the sweep.
        shared: the arrays from ``share_data``.
        stored: the fingerprint of what is saved already; a mapping that was measured for it is kept.
        capacities: for each group, the number of settings held at the same time; by default ``config.slots``.
        until: a stack; until it closes, the programs of later groups may compile in threads. None compiles them first.

    Returns:
        The runner.

    Raises:
        ValueError: the task asks for a name that the settings do not have, a metric has the name of a column, or the
            scheduler needs more settings on the devices than there is room for.
    """
    settings, layout = config.settings, layout_of(config)
    scheduler, frozen = config.scheduler, getattr(config.task, "frozen", None)
    kind = HostGroup if config.rest == "host" else Group
    feed, validation = _feeds(config, layout)
    block, batch = (None if each is None else each.form for each in (feed, validation))

    def build(recipe: Recipe, indices: np.ndarray, held: int | None, choice: Choice) -> Group:
        own = shared if frozen is None else shared._replace(frozen=frozen_on(config, recipe, indices))
        lane = lane_shapes(recipe, own.keys, constants_of(settings.numbers, indices[:1]))
        check_leaves(lane[0].state, len(layout.devices))
        form = form_of(
            recipe,
            layout,
            own,
            block,
            lane,
            settings=len(indices),
            slots=held,
            mapping=choice.mapping,
            chunk=choice.chunk,
            share=len(indices) / len(settings),
            rest=config.rest,
            batch=batch,
            going=going,
        )
        group = kind(form, settings.numbers, indices, own, executables, feed, validation, packed=scheduler is not None)
        if config.iterated is not None:
            check_together(group.size, len(indices))
        return group

    executables, going = Executables(), _going(config)
    each = recipes(config, settings)
    parts = [(*part, held) for part, held in zip(each, capacities or [config.slots] * len(each), strict=True)]
    if capacities is None:
        check_task(config)
    with asking_for(settings.columns), explained():
        choices = _choices(config, stored, len(parts))
        if choices is None:
            groups = [
                fastest(lambda choice, part=part: build(*part, choice).compile(), len(config.evaluated))
                for part in parts
            ]
        else:
            groups = [build(*part, choice) for part, choice in zip(parts, choices, strict=True)]
            _compile(groups, executables, until)
    for group in groups:
        check_metric_names(group.metrics, settings)
    if layout.devices[0].platform == "cpu":
        training = len(layout.devices) * max(group.temporary_bytes for group in groups)
        warn_of_memory(sum(group.size * group.lane_bytes for group in groups), training)
    if capacities is None:
        check_places(config, groups)
    return Runner(groups, settings, config)


def _compile(groups: Sequence[Group], executables: Executables, until: contextlib.ExitStack | None) -> None:
    """Compile the programs of all groups, or of the first and those whose chunk or metrics must be known at once."""
    if len(groups) == 1:
        groups[0].compile()
        return
    with contextlib.ExitStack() as here:
        (here if until is None else until).enter_context(executables)
        for group in groups:
            group.begin()
        for group in groups:
            if until is None or group is groups[0] or group.size < len(group.indices) or group.form.batch is not None:
                group.compile()


def check_task(config: SweepConfig) -> None:
    """Require that the data fit the task, and say which columns change nothing, before anything compiles."""
    settings = config.settings
    firsts = [int(indices[0]) for _, indices in settings.groups()]
    with asking_for(settings.columns), explained():
        check_examples(config, settings, firsts)
        warn_of_unused(config, settings, firsts)
    warn_of_no_rung(config)
    warn_of_programs(settings, len(firsts))


def check_places(config: SweepConfig, groups: Sequence[Group]) -> None:
    """Require that all lanes are held at the same time, with a scheduler that copies states between settings."""
    if config.scheduler is not None and config.scheduler.changes:
        for group in groups:
            check_held(group.size, len(group.indices))


def fingerprint(config: SweepConfig, groups: Sequence[Group], settings: Settings) -> JsonObject:
    """All that the bits of a sweep depend on, as nested dictionaries of JSON values.

    Args:
        config: the arguments of the sweep.
        groups: the groups, which are waited for where they still compile.
        settings: the settings that the groups train.

    Returns:
        Versions and devices, the arguments that matter, and digests of settings, data, key, scheduler and programs.
    """
    for group in groups:
        group.compile()
    arguments = {
        "steps": config.steps,
        "eval_every": config.eval_every,
        "batch_size": config.batch_size,
        "eval_batch_size": config.eval_batch_size,
        **({} if config.eval_batches is None else {"eval_batches": config.eval_batches}),
        "monitor": config.monitor,
        "mode": config.mode,
        "noise": config.noise,
        "patience": config.patience is not None,
        "scheduler": None if config.scheduler is None else config.scheduler.name,
        "slots": [group.size for group in groups],
        "chunk": [group.chunk for group in groups],
        "mapping": [group.mapping for group in groups],
    }
    if config.default_matmul_precision is not None:
        arguments["default_matmul_precision"] = config.default_matmul_precision
    if config.rest != "device":
        arguments["rest"] = config.rest
    layout = layout_of(config)
    if layout.parts > 1:
        arguments["mesh"] = dict(layout.mesh.shape)
        arguments["partition"] = {pattern: str(tuple(spec)) for pattern, spec in layout.partition}
    scheduler = None if config.scheduler is None else config.scheduler.decide
    programs = [group.digests for group in groups]
    frozen = [digested_arrays(group.frozen) for group in groups if group.frozen is not None]
    return {
        **environment(devices_of(config)),
        "config": arguments,
        "scheduler": _of_code(scheduler),
        "settings": _of_settings(settings),
        "data": config.data_digests,
        "resamples": digested_arrays(config.resamples),
        "key": digested_arrays(config.key),
        **({"frozen": dict(enumerate(frozen))} if frozen else {}),
        "task": digested(digest_json(programs), "compiled program", _parts(config)),
    }


def _parts(config: SweepConfig) -> dict[str, JsonObject]:
    """The parts that the programs are made of, so that a message can name the ones that have changed."""
    task = config.task
    functions = {"init": task.init, "step": task.step, "evaluate": task.evaluate}
    named = {**(functions if task.parts is None else task.parts()), "patience": config.patience}
    return {name: _of_code(value) for name, value in named.items()}


def _of_code(value: object) -> JsonObject:
    return digested(code_digest(value), name_of(value))


def _of_settings(settings: Settings) -> JsonObject:
    """A digest of each column; static values count by how they are printed, without memory addresses."""
    words = {name: re.sub(r" at 0x[0-9a-f]+", "", repr(column)) for name, column in settings.static.items()}
    static = {name: digested(digest_json(text), f"{len(settings)} static values") for name, text in words.items()}
    numbers = {}
    for name, column in settings.numbers.items():
        values = np.asarray(column)
        few: JsonObject = {}
        if len(values) <= MOST_NAMED:
            few = {str(row): f"{value:.8g}" for row, value in enumerate(values.tolist())}
        numbers[name] = digested(digest(values), f"{values.dtype}{list(values.shape)}", few or None)
    return numbers | static
