"""The programs of a group: compiled once for each form, at the chunk asked for or at one that fits."""

import dataclasses
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp

from regopt._core.io import digest_json, environment
from regopt._core.messages import brief
from regopt._core.types import Device, Tree
from regopt.sweep.engine._evaluation import Call, Evaluation
from regopt.sweep.engine._executables import Begun, Compiled, Executables, Recent
from regopt.sweep.engine._memory import first_chunk, fit_chunk, temporary_bytes
from regopt.sweep.engine._program import (
    Each,
    build_predict,
    build_segment,
    build_start,
    calls_back,
    decomposes_batches,
    one_by_one,
)
from regopt.sweep.engine._recipe import Form, Mapped
from regopt.sweep.engine._work import arithmetic, runs_best_alone, shares_work


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
    calls_back: bool  # a segment or its evaluation calls Python, which may raise
    segment_seconds: float  # in which the segment was traced and compiled, also if it is remembered
    temporary_bytes: int  # on a device while it trains a call, in addition to the lanes at rest
    flops: float  # of a segment of one lane, see ``arithmetic``
    evaluation: Evaluation | None  # where validation data stream

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics."""
        return names_of(self.segment.out_info) if self.evaluation is None else self.evaluation.metrics


Made = TypeVar("Made", Programs, Compiled)
_RECENT = Recent()
Make: TypeAlias = Callable[[Form, Executables | None], Made]


class Beginning(NamedTuple):
    """The programs of a group that are being compiled."""

    chunk: int  # where the search for one that fits begins
    metrics: list[str]
    compiling: list[Future[tuple[jax.stages.Compiled, float]]]


def begin(form: Form, executables: Executables) -> Beginning | None:
    """Begin to compile the programs that a form needs first; None if they are remembered, or the form has no hash."""
    name = _name(compile_programs, form)
    if name is None or name in _RECENT:
        return None
    chunk = first_chunk(*_room_of(form), form.most) if form.chunk is None else _within(form)
    first = dataclasses.replace(form, chunk=chunk)
    segment = executables.begun[first] = _begun_segment(first, executables)
    own = _as_chosen(first, chunk, segment)
    start = executables.begun[build_start, own] = _begun_start(own, executables)
    return Beginning(chunk, names_of(segment.out_info), [each.compilation.done for each in (segment, start)])


def names_of(out_info: Tree) -> list[str]:
    """The names of the metrics, from the shapes of what a segment gives."""
    return list(out_info[1].names[0])


def programs_for(form: Form, executables: Executables, settings: int) -> Programs:
    """The programs of a form: remembered, or newly compiled.

    Args:
        form: what to compile for; one that has no hash, because of a static value or a patience, is always compiled.
        executables: the executables of the sweep, among which equal ones are compiled once.
        settings: how many settings the programs train, for the note of an error.

    Returns:
        The programs; the seconds are 0 where nothing was compiled.
    """
    try:
        return _known(compile_programs, form, executables)
    except jax.errors.JaxRuntimeError as error:
        values = [f"{name}={brief(value)}" for name, value in form.recipe.static_values.items()]
        which = f" with {', '.join(values)}" if values else ""
        error.add_note(f"while the programs of {settings} settings{which} were compiled")
        raise


def _segment_for(form: Form, executables: Executables) -> Compiled:
    """The segment alone, for a form with a chunk and a mapping; remembered as in ``programs_for``."""
    return _known(_compiled_segment, form, executables)


class Segments:
    """The programs of a group that train a segment: one for each size of a call, compiled when it is first needed.

    Args:
        form: what they are compiled for.
        programs: the programs of the form, with the segment of the largest calls.
        executables: the executables of the sweep.
    """

    def __init__(self, form: Form, programs: Programs, executables: Executables):
        self._form, self._executables = dataclasses.replace(form, mapping=programs.mapping), executables
        self._programs, self._evaluation = {programs.chunk: programs.segment}, programs.evaluation
        self._seconds = (0.0, 0.0)

    def of(self, chunk: int) -> jax.stages.Compiled:
        """The program of calls with ``chunk`` seats of a device."""
        if chunk not in self._programs:
            made = _segment_for(dataclasses.replace(self._form, chunk=chunk), self._executables)
            trace, compiled = self._seconds
            self._seconds = trace + made.trace_seconds, compiled + made.compile_seconds
            self._programs[chunk] = made.program
        return self._programs[chunk]

    def new_seconds(self) -> tuple[float, float]:
        """Seconds of tracing and of compiling since this was last asked, of evaluations too."""
        (trace, compiled), self._seconds = self._seconds, (0.0, 0.0)
        more = (0.0, 0.0) if self._evaluation is None else self._evaluation.new_seconds()
        return trace + more[0], compiled + more[1]


def _known(make: Make[Made], form: Form, executables: Executables) -> Made:
    name = _name(make, form)
    return make(form, executables) if name is None else _RECENT.get(name, lambda: make(form, executables))


def _name(make: Callable[..., object], form: Form) -> Hashable | None:
    """The key of a result in ``_RECENT``: the form and JAX's options; None if the form has no hash."""
    try:
        hash(form)
    except TypeError:
        return None
    return make, form, tuple(environment(list(form.layout.devices))["options"].items())


def compile_programs(form: Form, executables: Executables | None = None) -> Programs:
    """Compile the programs of a form, at the chunk asked for or at one that fits cache and memory."""

    def compile_at(lanes: int):
        made[lanes] = _compiled_segment(dataclasses.replace(form, chunk=lanes), executables)
        return made[lanes].program

    made: dict[int, Compiled] = {}
    if form.chunk is None:
        in_turn = form.mapping == "map"
        chunk, _ = fit_chunk(
            compile_at,
            *_room_of(form)[:-1],
            most=form.most,
            one_by_one=lambda: in_turn or any(each.each is one_by_one for each in made.values()),
        )
    else:
        chunk = _within(form)
        compile_at(chunk)
    segment = made[chunk]
    form = _as_chosen(form, chunk, segment)
    start = (_taken((build_start, form), executables) or _begun_start(form, executables)).wait()
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
        build_predict(form.recipe, form.layout.mesh, segment.each),
        digests,
        sum(trace for trace, _ in seconds),
        sum(compiling for _, compiling in seconds),
        segment.calls_back or (evaluation is not None and evaluation.calls_back),
        segment.trace_seconds + segment.compile_seconds,
        temporary_bytes(segment.program),
        segment.flops / chunk,
        evaluation,
    )


def _evaluation(form: Form, chunk: int, segment: Compiled) -> Evaluation | None:
    """The programs that evaluate calls of a form, where validation data stream."""
    if form.batch is None:
        return None
    mesh, layout = form.layout.mesh, form.layout
    buffer, constants = form.lane.tree(mesh, layout.rows * form.entries(chunk))
    ids = jax.ShapeDtypeStruct((layout.rows * chunk,), jnp.int32, sharding=layout.spread)
    step = jax.ShapeDtypeStruct((), jnp.int32, sharding=layout.same)
    _, outcome = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout.spread), segment.program.out_info
    )
    call = Call(buffer, constants, ids, step, form.shared.tree(mesh), outcome)
    made = Evaluation(form.recipe, mesh, segment.each, call, form.batch.tree(mesh))
    if made.blocks and segment.each is not one_by_one:
        made = Evaluation(form.recipe, mesh, one_by_one, call, form.batch.tree(mesh))
    return made


def _room_of(form: Form) -> tuple[int, float, Device, float, bool, bool]:
    """The facts that decide how many lanes a call may have, as ``first_chunk`` takes them."""
    others, stays = form.layout.bytes_on_device(form.shared.leaves, form.shared.specs), form.rest == "device"
    others += form.capacity * form.lane_bytes * (1 / form.share - 1) if stays else 0
    return form.capacity, form.lane_bytes, form.layout.devices[0], others, stays, form.mapping == "map"


def _within(form: Form) -> int:
    assert form.chunk is not None
    return min(form.chunk, form.capacity)


def _compiled_segment(form: Form, executables: Executables | None = None) -> Compiled:
    """The segment of a form with a chunk."""
    return (_taken(form, executables) or _begun_segment(form, executables)).wait()


def _taken(name: Hashable, executables: Executables | None) -> Begun | None:
    """A program that was begun; None where it was not, or its form has no hash."""
    try:
        return None if executables is None else executables.begun.pop(name, None)
    except TypeError:
        return None


def _as_chosen(form: Form, chunk: int, segment: Begun | Compiled) -> Form:
    """A form with the chunk and the mapping of its segment."""
    return dataclasses.replace(form, chunk=chunk, mapping="map" if segment.each is one_by_one else "vmap")


def _begun_start(form: Form, executables: Executables | None) -> Begun:
    """The program that initialises lanes, of a form with a chunk and a mapping."""
    assert form.chunk is not None
    mesh, rows = form.layout.mesh, form.layout.rows
    buffer, constants = form.lane.tree(mesh, rows * form.entries(form.chunk))
    ids = jax.ShapeDtypeStruct((rows * form.chunk,), jnp.int32, sharding=form.layout.spread)
    given, keys = form.lane.tree(mesh, rows * form.chunk)[1], form.shared.tree(mesh).keys
    return _begun(build_start, form, executables, buffer, constants, ids, given, keys, lanes=form.chunk)


def _begun_segment(form: Form, executables: Executables | None) -> Begun:
    assert form.chunk is not None
    mesh, rows = form.layout.mesh, form.layout.rows
    buffer, constants = form.lane.tree(mesh, rows * form.entries(form.chunk))
    ids = jax.ShapeDtypeStruct((rows * form.chunk,), jnp.int32, sharding=form.layout.spread)
    number = jax.ShapeDtypeStruct((), jnp.int32, sharding=form.layout.same)
    inputs = number, number, form.shared.tree(mesh), form.block.tree(mesh)
    return _begun(build_segment, form, executables, buffer, constants, ids, *inputs, lanes=form.chunk)


def _begun(
    build: Callable[..., jax.stages.Wrapped],
    form: Form,
    executables: Executables | None,
    *arguments: Tree,
    lanes: int,
) -> Begun:
    """A program for ``lanes`` lanes of a device, traced and lowered, that XLA compiles.

    Its lanes run one after the other where that is asked for, where ``runs_best_alone`` chooses it, and where batches
    of LAPACK calls could block each other.
    """
    began = time.perf_counter()
    each: Each = one_by_one if form.mapping == "map" else jax.vmap
    traced = build(form.recipe, form.layout.mesh, each, form.parts).trace(*arguments)
    chooses = form.mapping is None and form.layout.devices[0].platform == "cpu"
    if chooses and runs_best_alone(traced, form.recipe.eval_every, lanes):
        alone = build(form.recipe, form.layout.mesh, one_by_one, form.parts).trace(*arguments)
        if not shares_work(traced, alone, form.recipe.eval_every, lanes):
            each, traced = one_by_one, alone
    lowered = traced.lower()
    text = lowered.as_text()
    if each is not one_by_one and decomposes_batches(text):
        each = one_by_one
        lowered = build(form.recipe, form.layout.mesh, each, form.parts).lower(*arguments)
        text = lowered.as_text()
    seconds = time.perf_counter() - began
    own = Executables() if executables is None else executables
    digest = digest_json(text)
    is_called = calls_back(text)
    compilation = own.compile(lowered, digest, calls_back=is_called)
    return Begun(compilation, digest, each, seconds, is_called, arithmetic(traced.jaxpr.jaxpr), traced.out_info)
