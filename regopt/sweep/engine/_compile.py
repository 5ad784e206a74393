"""The programs of a group: compiled once for each form, at the chunk asked for or at one that fits."""

import dataclasses
import functools
import re
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from regopt._core.io import digest_json, environment
from regopt._core.types import Device, PyTreeDef, Tree
from regopt.sweep.engine._devices import bytes_of, mesh_of, once_on, spread_over
from regopt.sweep.engine._evaluation import Call, Evaluation
from regopt.sweep.engine._memory import fit_chunk
from regopt.sweep.engine._program import (
    Each,
    build_predict,
    build_segment,
    build_start,
    decomposes_batches,
    one_by_one,
)
from regopt.sweep.engine._recipe import Recipe
from regopt.sweep.engine._work import arithmetic, runs_best_alone, shares_work

Mapped: TypeAlias = Literal["vmap", "map"]


class Abstract(NamedTuple):
    """The shapes and dtypes of a tree of arrays, hashable."""

    structure: PyTreeDef
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    def tree(self, sharding: NamedSharding, *leading: int) -> Tree:
        """The tree of shapes on devices, with leading axes put before them."""
        return self.structure.unflatten(
            jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype, sharding=sharding) for leaf in self.leaves
        )


def abstract(tree: Tree) -> Abstract:
    """The shapes of a tree of arrays, or of shapes."""
    leaves, structure = jax.tree.flatten(tree)
    return Abstract(structure, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves))


@dataclasses.dataclass(frozen=True)
class Form:
    """The form that a group's programs are compiled for: equal forms have the same programs.

    Attributes:
        recipe: the recipe by which the lanes train.
        devices: what they run on.
        shared: shapes of what all lanes read.
        block: shapes of the batches of a segment, where the data stream; no leaves elsewhere.
        lane: shapes of a lane and of its constants.
        capacity: lanes that lie on a device.
        chunk: lanes of a device in one call; None measures what fits.
        mapping: how they run: "vmap" all at once, "map" one after the other; None chooses by the program.
        share: of the sweep's settings, those of this group: so much of the memory is for it.
        batch: shapes of the first validation batch, where they stream; None elsewhere.
    """

    recipe: Recipe
    devices: tuple[Device, ...]
    shared: Abstract
    block: Abstract
    lane: Abstract
    capacity: int
    chunk: int | None
    mapping: Mapped | None
    share: float
    batch: Abstract | None = None


class Programs(NamedTuple):
    """The compiled programs of a group."""

    chunk: int
    mapping: Mapped  # as asked for or chosen, but "map" where LAPACK would block a batch
    segment: jax.stages.Compiled
    start: jax.stages.Compiled
    predict: jax.stages.Wrapped
    digests: dict[str, str]  # SHA-256 of segment and start, before XLA compiled them
    trace_seconds: float  # in which JAX traced and lowered them
    compile_seconds: float  # in which XLA compiled them, or read them from the persistent cache
    calls_back: bool  # a segment calls Python, which may raise
    segment_seconds: float  # in which the segment was traced and compiled, when it was
    flops: float  # of a segment of one lane, see ``arithmetic``
    evaluation: Evaluation | None  # where validation data stream


class Compiled(NamedTuple):
    """A program compiled ahead of time."""

    program: jax.stages.Compiled
    digest: str  # SHA-256 of what was compiled
    each: Each  # how its lanes run
    trace_seconds: float
    compile_seconds: float
    calls_back: bool
    flops: float  # see ``arithmetic``


Made = TypeVar("Made", Programs, Compiled)


def programs_for(form: Form) -> Programs:
    """The programs of a form: one of the 32 most recently used, or newly compiled.

    Args:
        form: what to compile for; one that has no hash, because of a static value or a patience, is always compiled.

    Returns:
        The programs; the seconds are 0 where nothing was compiled.
    """
    return _known(compile_programs, form)


def _segment_for(form: Form) -> Compiled:
    """The segment alone, for a form with a chunk and a mapping; remembered as in ``programs_for``."""
    return _known(_compiled_segment, form)


class Segments:
    """The programs of a group that train a segment: one for each size of a call, compiled when it is first needed.

    Args:
        form: what they are compiled for, with the mapping that was chosen.
        chunk: the seats of a device in the largest calls.
        largest: the program of these.
    """

    def __init__(self, form: Form, chunk: int, largest: jax.stages.Compiled):
        self._form = form
        self._programs = {chunk: largest}
        self._seconds = (0.0, 0.0)

    def of(self, chunk: int) -> jax.stages.Compiled:
        """The program of calls with so many seats of a device."""
        if chunk not in self._programs:
            made = _segment_for(dataclasses.replace(self._form, chunk=chunk))
            trace, compiled = self._seconds
            self._seconds = trace + made.trace_seconds, compiled + made.compile_seconds
            self._programs[chunk] = made.program
        return self._programs[chunk]

    def new_seconds(self) -> tuple[float, float]:
        """Seconds of tracing and of compiling since this was last asked."""
        seconds, self._seconds = self._seconds, (0.0, 0.0)
        return seconds


def _known(make: Callable[[Form], Made], form: Form) -> Made:
    options = tuple(environment(list(form.devices))["options"].items())
    try:
        hash(form)
    except TypeError:
        return make(form)
    remembered = _remembered(make)
    known = remembered.cache_info().misses
    made = remembered(form, options)
    return made if remembered.cache_info().misses > known else made._replace(trace_seconds=0.0, compile_seconds=0.0)


@functools.cache
def _remembered(make: Callable[[Form], Any]) -> Any:
    """A cache of what is made from forms; JAX's options are part of its key, because they change the programs too."""

    @functools.lru_cache(maxsize=32)
    def made(form: Form, options: tuple[tuple[str, str], ...]) -> Any:
        del options
        return make(form)

    return made


def compile_programs(form: Form) -> Programs:
    """Compile the programs of a form, at the chunk asked for or at one that fits cache and memory."""
    spread, same = spread_over(form.devices), once_on(form.devices)
    devices, lane_bytes = len(form.devices), bytes_of(form.lane.leaves)

    def compile_at(lanes: int):
        made[lanes] = _compiled_segment(dataclasses.replace(form, chunk=lanes))
        return made[lanes].program

    made: dict[int, Compiled] = {}
    if form.chunk is None:
        others = bytes_of(form.shared.leaves) + form.capacity * lane_bytes * (1 / form.share - 1)
        fit = functools.partial(fit_chunk, compile_at, form.capacity, lane_bytes, form.devices[0], others)
        in_turn = form.mapping == "map"
        chunk, _ = fit(one_by_one=lambda: in_turn or any(each.each is one_by_one for each in made.values()))
    else:
        chunk = min(form.chunk, form.capacity)
        compile_at(chunk)
    segment = made[chunk]
    form = dataclasses.replace(form, mapping="map" if segment.each is one_by_one else "vmap")
    buffer, constants = form.lane.tree(spread, devices * form.capacity)
    ids = jax.ShapeDtypeStruct((devices * chunk,), jnp.int32, sharding=spread)
    given, keys = form.lane.tree(spread, devices * chunk)[1], form.shared.tree(same).keys
    start = _compiled(build_start, form, chunk, buffer, constants, ids, given, keys)
    evaluation = _evaluation(form, chunk, segment)
    digests = {"segment": segment.digest, "start": start.digest}
    seconds = [(each.trace_seconds, each.compile_seconds) for each in (*made.values(), start)]
    if evaluation is not None:
        digests["evaluation"] = evaluation.digest
        seconds.append(evaluation.new_seconds())
    return Programs(
        chunk,
        "map" if segment.each is one_by_one else "vmap",
        segment.program,
        start.program,
        build_predict(form.recipe, mesh_of(form.devices), segment.each),
        digests,
        sum(trace for trace, _ in seconds),
        sum(compiling for _, compiling in seconds),
        segment.calls_back,
        segment.trace_seconds + segment.compile_seconds,
        segment.flops / chunk,
        evaluation,
    )


def _evaluation(form: Form, chunk: int, segment: Compiled) -> Evaluation | None:
    """The programs that evaluate calls of a form, where validation data stream."""
    if form.batch is None:
        return None
    spread, same = spread_over(form.devices), once_on(form.devices)
    buffer, constants = form.lane.tree(spread, len(form.devices) * form.capacity)
    ids = jax.ShapeDtypeStruct((len(form.devices) * chunk,), jnp.int32, sharding=spread)
    step = jax.ShapeDtypeStruct((), jnp.int32, sharding=same)
    _, metrics, marks = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=spread), segment.program.out_info
    )
    call = Call(buffer, constants, ids, step, form.shared.tree(same), metrics, marks)
    return Evaluation(form.recipe, mesh_of(form.devices), segment.each, call, form.batch.tree(same))


def _compiled_segment(form: Form) -> Compiled:
    """The segment of a form with a chunk."""
    assert form.chunk is not None
    spread, same = spread_over(form.devices), once_on(form.devices)
    devices = len(form.devices)
    buffer, constants = form.lane.tree(spread, devices * form.capacity)
    ids = jax.ShapeDtypeStruct((devices * form.chunk,), jnp.int32, sharding=spread)
    step, shared = jax.ShapeDtypeStruct((), jnp.int32, sharding=same), form.shared.tree(same)
    return _compiled(build_segment, form, form.chunk, buffer, constants, ids, step, shared, form.block.tree(same))


def _compiled(build: Callable[..., jax.stages.Wrapped], form: Form, lanes: int, *arguments: Tree) -> Compiled:
    """A program compiled ahead of time for so many lanes of a device.

    Its lanes run one after the other where that is asked for, where the program says so, and where batches of LAPACK
    calls could block each other.
    """
    began, mesh = time.perf_counter(), mesh_of(form.devices)
    each: Each = one_by_one if form.mapping == "map" else jax.vmap
    traced = build(form.recipe, mesh, each).trace(*arguments)
    chooses = form.mapping is None and form.devices[0].platform == "cpu"
    if chooses and runs_best_alone(traced, form.recipe.eval_every, lanes):
        alone = build(form.recipe, mesh, one_by_one).trace(*arguments)
        if not shares_work(traced, alone, form.recipe.eval_every, lanes):
            each, traced = one_by_one, alone
    lowered = traced.lower()
    text = lowered.as_text()
    if each is not one_by_one and decomposes_batches(text):
        each = one_by_one
        lowered = build(form.recipe, mesh, each).lower(*arguments)
        text = lowered.as_text()
    done = time.perf_counter()
    program = lowered.compile()
    calls_back = re.search(r"custom_call @xla_\w*python\w*callback", text) is not None
    seconds = done - began, time.perf_counter() - done
    return Compiled(program, digest_json(text), each, *seconds, calls_back, arithmetic(traced.jaxpr.jaxpr))
