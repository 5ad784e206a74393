"""Measurements of a compiled program: its arithmetic and slow operations, and which mapping of lanes is fastest.

One call of the default program tells how long the sweep would take. Candidates are compiled and timed, two segments of
one call each, as long as they cost no more than a small share of that, so a short sweep measures nothing. The choice is
remembered in the process and, where JAX has a persistent compilation cache, in its folder. It decides about bits, so it
is part of the fingerprint of a sweep, and a sweep that goes on keeps the choice of its folder.
"""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from regopt._core.io import JsonObject, digest_json, environment, write_json
from regopt._core.types import Tree
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._recipe import Form, Mapped, Recipe

SHARE = 0.05  # of the time of a sweep, for measurements
CACHE_FOLDER = "jax_compilation_cache_dir"  # an option of jax, None by default
_LOG = logging.getLogger(__name__)
_REMEMBERED: dict[str, "Choice"] = {}


class Choice(NamedTuple):
    """The mapping and the chunk of a group's lanes."""

    mapping: Mapped | None  # None chooses by the program
    chunk: int | None  # lanes of a device in one call; None for what fits


def fastest(build: Callable[[Choice], Group], segments: int) -> Group:
    """The group with the fastest of the mappings that were worth a measurement.

    The candidates are the default, the other mapping at the chunk that fits, ``vmap`` at a chunk of 1 and, if ``vmap``
    is the default, at a quarter of the chunk.

    Args:
        build: makes the group with a given mapping and chunk, compiled.
        segments: the number of segments that a setting trains.

    Returns:
        The group; it holds no lanes.
    """
    usual = build(Choice(None, None))
    name = _name(usual)
    if (known := _REMEMBERED.get(name) or _read(name)) is not None:
        _REMEMBERED[name] = known
        return build(known)
    calls = -(-len(usual.indices) // (usual.devices * usual.chunk)) * segments
    if calls * SHARE < 1:  # a measurement trains at least one call
        return usual
    began = time.perf_counter()
    call, lanes = seconds_of_a_call(usual, calls=1)
    if time.perf_counter() - began + usual.segment_seconds + 4 * call > SHARE * call * calls:
        return usual
    timed = [(_seconds_of_a_lane(usual), usual)]
    call = timed[0][0] * lanes  # the first call takes longer than later ones
    budget, price = SHARE * call * calls, usual.segment_seconds + 2 * call  # the price of a candidate
    for choice in _others(usual):
        before = time.perf_counter()
        if before - began + price > budget:
            break
        group = build(choice)
        timed.append((_seconds_of_a_lane(group), group))
        price = max(price, time.perf_counter() - before)
    if len(timed) == 1:
        return usual
    best = min(timed, key=lambda each: each[0])[1]
    _LOG.info(
        'mapping "%s" with chunk %d is the fastest of %d, measured in %.1f s',
        best.mapping,
        best.chunk,
        len(timed),
        time.perf_counter() - began,
    )
    _REMEMBERED[name] = Choice(best.mapping, best.chunk)
    _write(name, _REMEMBERED[name])
    return best


def _others(usual: Group) -> list[Choice]:
    """The candidates besides the default, the most promising first."""
    smaller = [Choice("vmap", chunk) for chunk in dict.fromkeys([1, max(usual.chunk // 4, 1)]) if chunk < usual.chunk]
    return [Choice("map", None), *smaller] if usual.mapping == "vmap" else [Choice("vmap", None), *smaller[:1]]


def seconds_of_a_call(group: Group, calls: int = 2) -> tuple[float, int]:
    """Seconds of one call of the group's program, the fastest of ``calls``, and the number of lanes that it trained."""
    group.clear()
    group.start(group.held.places.admit(np.zeros(0, int)))
    lanes = next(iter(group.held.places.calls(np.flatnonzero(group.held.places.place >= 0)))).owners
    lanes = lanes[lanes >= 0]
    seats, seconds = group.held.places.plan(lanes), []
    for number in range(calls):  # the first call also warms up
        began = time.perf_counter()
        for _ in group.advance(lanes, np.full(len(lanes), number), number + 1, lambda: False, seats):
            pass
        seconds.append(time.perf_counter() - began)
    group.release()
    return min(seconds), len(lanes)


def _seconds_of_a_lane(group: Group) -> float:
    seconds, lanes = seconds_of_a_call(group)
    return seconds / lanes


def recorded(identity: JsonObject | None, groups: int) -> list[Choice] | None:
    """The choices that a saved sweep was trained with; None where it has no record of them for this number of groups.

    Args:
        identity: the fingerprint of the saved sweep; None without one.
        groups: the number of groups of the sweep that goes on.

    Returns:
        A choice for each group, or None.
    """
    config = (identity or {}).get("config", {})
    choices = [Choice(*pair) for pair in zip(config.get("mapping", ()), config.get("chunk", ()), strict=False)]
    return choices if len(choices) == groups else None


def _name(group: Group) -> str:
    """A digest of what the choice depends on: the program, the devices and the number of lanes."""
    what = [group.digests, len(group.indices), group.size, environment(group.used)]
    return digest_json(what)


def _file(name: str) -> Path | None:
    folder = getattr(jax.config, CACHE_FOLDER)
    return None if not folder or "://" in folder else Path(folder) / f"regopt-mapping-{name[:32]}.json"


def _read(name: str) -> Choice | None:
    path = _file(name)
    try:
        return None if path is None else Choice(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # there is none yet, or it is damaged: the mapping is measured again
        return None


def _write(name: str, choice: Choice) -> None:
    if (path := _file(name)) is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, choice._asdict())
        except OSError:  # a cache that cannot be written costs time, not the sweep
            return


def counted_flops(form: Form, segment: jax.stages.Compiled, chunk: int) -> float:
    """The FLOP of one segment of a lane; NaN where they are not counted.

    XLA counts the body of a loop once, so the other steps are added.

    Args:
        form: what the program is compiled for.
        segment: the program of a call.
        chunk: lanes of a device in it, or of the devices that share a lane.
    """
    recipe, shared, (lane, own) = form.recipe, form.shared.shapes, form.lane.shapes

    def train(state, batch, key, own, frozen):
        with recipe.holding(frozen):
            return recipe.task.step(state, batch, key, recipe.setting(own))

    batch = _batch(recipe, shared.data.train, form.block.shapes)
    lowered = jax.jit(train).lower(lane.state, batch, jax.random.key(0), own, shared.frozen)
    call, one_step = (
        float((count or {}).get("flops", np.nan)) for count in (segment.cost_analysis(), lowered.cost_analysis())
    )
    return call * form.layout.parts / chunk + (recipe.eval_every - 1) * one_step


def convolves(segment: jax.stages.Compiled) -> bool:
    """Whether a program has convolutions that XLA computes by its own operation."""
    return " convolution(" in (segment.as_text() or "")


def _batch(recipe: Recipe, train: Tree, block: Tree) -> Tree:
    if block is not None:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), block)
    size = recipe.batch_size
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size or len(x), *x.shape[1:]), x.dtype), train)
