"""The programs that evaluate a call of lanes on validation data that stream: batch after batch, after its segment.

The host reads the batches in turn, so a device holds few of them whatever their number. Pure functions of one lane,
lifted as in ``_program.py``. XLA may sum in another order for another number of devices, so these metrics may then
differ by a rounding. Not for data that the devices hold: their evaluation is a part of the segment.
"""

import time
from collections.abc import Hashable, Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from regopt._core.io import digest_json
from regopt._core.metrics import as_inexact, with_evaluation
from regopt._core.numerics import widen
from regopt._core.tasks import in_batches
from regopt._core.training_data import size_of
from regopt._core.types import Number, Tree
from regopt.sweep.engine._devices import LANES
from regopt.sweep.engine._packed import Packed
from regopt.sweep.engine._program import (
    Each,
    build_empty,
    calls_back,
    decomposes_batches,
    entry_of,
    lanes_at,
    put_back,
    watch,
)
from regopt.sweep.engine._recipe import Constants, Lane, Recipe, Shared
from regopt.sweep.results._history import Marks

Metrics = dict[str, jax.Array]


class Call(NamedTuple):
    """A call of lanes that has trained a segment: trees of arrays, of their shapes, or of their shardings."""

    buffer: Tree  # a Lane, each leaf [entries, ...]
    constants: Tree  # a Constants, each leaf [entries, ...]
    ids: Tree  # [seats], int32
    first_step: Tree  # shape (), int32
    shared: Tree  # a Shared
    outcome: Tree  # the metrics of its steps and its marks, a Packed


class Evaluation:
    """The evaluation of lanes in batches that the host reads, compiled for each size of a batch and of a call.

    Args:
        recipe: how the lanes train.
        mesh: the devices.
        each: how the lanes of a call run.
        call: the shapes of a call.
        batch: the shapes of a batch.

    Attributes:
        metrics: the names of all metrics.
        digest: SHA-256 of the programs, before XLA compiled them.
        blocks: whether batches of LAPACK calls in them could block each other, see ``decomposes_batches``.
        calls_back: whether they call Python, which may raise.
    """

    def __init__(self, recipe: Recipe, mesh: Mesh, each: Each, call: Call, batch: Tree):
        self._programs = _build(recipe, mesh, each)
        self._spread, self._same = NamedSharding(mesh, PartitionSpec(LANES)), NamedSharding(mesh, PartitionSpec())
        self._compiled: dict[Hashable, jax.stages.Compiled] = {}
        self._seconds = (0.0, 0.0)
        taken = self._shapes("take", call.buffer, call.constants, call.ids)
        sums = self._shapes("measure", *taken, None, call.shared, batch)
        self._form = entry_of(sums)
        _, text = self._compile("measure", (*taken, sums, call.shared, batch))
        count = jax.ShapeDtypeStruct((), jnp.float32, sharding=self._same)
        conclude, other = self._compile("conclude", (call.buffer, call._replace(buffer=()), sums, count))
        self.metrics = list(conclude.out_info[1].names[0])
        self.digest = digest_json([text, other])
        self.blocks = decomposes_batches(text) or decomposes_batches(other)
        self.calls_back = calls_back(text) or calls_back(other)

    def run(self, call: Call, batches: Iterable[Tree]) -> tuple[Tree, Packed]:
        """Evaluate the lanes of a call.

        Args:
            call: a call that has trained; its buffer is donated.
            batches: the batches, on the devices.

        Returns:
            The buffer, and the metrics and marks of the call, as a segment with an evaluation returns them.
        """
        taken = self._do("take", call.buffer, call.constants, call.ids)
        before, sums = None, build_empty(self._form, len(call.ids), self._spread)
        count = 0
        for batch in batches:
            jax.block_until_ready(before)  # else the host would put all batches on the devices
            before, sums = sums, self._do("measure", *taken, sums, call.shared, batch)
            count += size_of(batch)
        on_each = jax.device_put(np.float32(count), self._same)
        return self._do("conclude", call.buffer, call._replace(buffer=()), sums, on_each)

    def new_seconds(self) -> tuple[float, float]:
        """Seconds of tracing and of compiling since this was last asked."""
        seconds, self._seconds = self._seconds, (0.0, 0.0)
        return seconds

    def _do(self, name: str, *arguments: Tree) -> Tree:
        form = name, *((x.shape, x.dtype) for x in jax.tree.leaves(arguments))
        if form not in self._compiled:
            self._compile(name, arguments)
        return self._compiled[form](*arguments)

    def _compile(self, name: str, arguments: tuple[Tree, ...]) -> tuple[jax.stages.Compiled, str]:
        """Compile a program for arguments or their shapes; return it and its text."""
        began = time.perf_counter()
        lowered = self._programs[name].lower(*arguments)
        text, done = lowered.as_text(), time.perf_counter()
        form = name, *((x.shape, x.dtype) for x in jax.tree.leaves(arguments))
        program = self._compiled[form] = lowered.compile()
        trace, compiled = self._seconds
        self._seconds = trace + done - began, compiled + time.perf_counter() - done
        return program, text

    def _shapes(self, name: str, *arguments: Tree) -> Tree:
        """The shapes of what a program gives, which is spread over the devices."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._spread),
            jax.eval_shape(self._programs[name], *arguments),
        )


def _build(recipe: Recipe, mesh: Mesh, each: Each) -> dict[str, jax.stages.Wrapped]:
    """The programs by name: gather the states of a call, add a batch to its sums, compute its metrics and marks."""

    def take(buffer, constants, ids):
        lanes, given = lanes_at((buffer, constants), ids)
        return lanes.state, given

    def measure(states, given, sums, shared, batch):
        with recipe.holding(shared.frozen), recipe.multiplying():
            return each(partial(_measured, recipe, shared, batch))(states, given, sums)

    def conclude(buffer, call, sums, count):
        lanes, given = lanes_at((buffer, call.constants), call.ids)
        finish = partial(_concluded, recipe, call.shared, count, call.first_step)
        with recipe.holding(call.shared.frozen), recipe.multiplying():
            lanes, metrics, marks = each(finish)(given, lanes, sums, *call.outcome.unpacked())
        return put_back(buffer, call.ids, lanes), Packed.of((metrics, marks))

    lanes, same = PartitionSpec(LANES), PartitionSpec()
    lift = partial(jax.shard_map, mesh=mesh, out_specs=lanes, check_vma=False)
    rest = Call((), lanes, lanes, same, same, lanes)
    return {
        "take": jax.jit(lift(take, in_specs=(lanes, lanes, lanes))),
        "measure": jax.jit(lift(measure, in_specs=(lanes, lanes, lanes, same, same))),
        "conclude": jax.jit(lift(conclude, in_specs=(lanes, rest, lanes, same)), donate_argnums=0),
    }


def _measured(recipe: Recipe, shared: Shared, batch: Tree, state: Tree, constants: Constants, sums: Tree) -> Tree:
    """Add a batch to the sums of what a lane's evaluation averages; ``sums`` is None where only shapes are computed."""
    data = shared.data._replace(validation=batch)
    means, rows = in_batches(recipe.task).measure(state, data, recipe.setting(constants))
    if jax.tree.leaves(rows):
        raise ValueError(
            "a metric declared by losses.at_once needs all validation examples at once, and data.validation streams: "
            "declare it by losses.from_means, or give the validation data as arrays"
        )
    added = jax.tree.map(lambda mean: size_of(batch) * widen(as_inexact(mean))[0], means)
    return added if sums is None else jax.tree.map(jnp.add, sums, added)


def _concluded(
    recipe: Recipe,
    shared: Shared,
    count: jax.Array,
    first_step: Number,
    constants: Constants,
    lane: Lane,
    sums: Tree,
    metrics: Metrics,
    marks: Marks,
) -> tuple[Lane, Metrics, Marks]:
    """The end of a segment, from the sums over all validation examples: all metrics, and early stopping."""
    h = recipe.setting(constants)
    means = jax.tree.map(lambda sum_: sum_ / count.astype(sum_.dtype), sums)
    evaluated = in_batches(recipe.task).finish(means, (), shared.data, h)
    metrics = with_evaluation(metrics, {name: as_inexact(value) for name, value in evaluated.items()}, recipe.monitor)
    last = jnp.asarray(first_step + recipe.eval_every, jnp.int32)
    bad = (marks.first_bad_step == 0) & ~jnp.isfinite(metrics[recipe.monitor])
    stopping, stop, best_step = watch(recipe, h, lane.stopping, lane.state, metrics)
    first_bad_step = jnp.where(bad, last, marks.first_bad_step)
    return Lane(lane.state, stopping, lane.infinite), metrics, Marks(first_bad_step, stop, best_step)
