"""The program that trains lanes: segments of steps, an evaluation after each, the metrics and marks of each lane.

Pure functions of one lane, lifted over a chunk of lanes with ``vmap`` and over the devices with ``shard_map``. Not for
deciding which lanes train, nor when (``_rounds.py``).
"""

import math
import re
from collections.abc import Callable
from functools import cache, partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from regopt._core import trees
from regopt._core.keys import Keys, of_seed
from regopt._core.tasks import as_state
from regopt._core.training_data import size_of
from regopt._core.types import Number, PyTreeDef, Setting, Tree
from regopt.data import Splits, batch_indices
from regopt.sweep.engine._devices import LANES
from regopt.sweep.engine._packed import Packed
from regopt.sweep.engine._recipe import Constants, Lane, Recipe, Shared
from regopt.sweep.engine._repeat import repeated
from regopt.sweep.results._history import Marks
from regopt.training import train_segment

Each = Callable[[Callable[..., Tree]], Callable[..., Tree]]  # lifts a function of one lane to many: vmap, one_by_one
Parts: TypeAlias = Tree  # a Lane with a PartitionSpec for each leaf; None where a lane lies on one device


def start_lane(recipe: Recipe, keys: Keys, constants: Constants) -> Lane:
    """A lane before its first step."""
    h = recipe.setting(constants)
    with recipe.multiplying():
        state = as_state(recipe.task.init(of_seed(keys.init, h), h))
    rule = recipe.stopping(h)
    return Lane(state, () if rule is None else rule.init(state), trees.count_not_finite(state))


def train_lane(
    recipe: Recipe,
    keys: Keys,
    first_step: Number,
    data: Splits,
    constants: Constants,
    lane: Lane,
    resamples: jax.Array | None = None,
    batches: jax.Array | None = None,
    block: Tree | None = None,
    held_out: jax.Array | None = None,
) -> tuple[Lane, dict[str, jax.Array], Marks]:
    """One segment of training and an evaluation.

    Args:
        recipe: the recipe of the training.
        keys: the keys of the whole sweep.
        first_step: steps done before this segment, shape ().
        data: training and validation examples.
        constants: the lane's setting.
        lane: the lane before.
        resamples: ``[replicas, examples]``, int32: the rows of ``data.train`` that each ``replica`` trains on. They are
            read through the index of each batch, never copied into a lane.
        batches: from ``common_batches``.
        block: the batches themselves, ``[steps, batch, ...]``, where the data stream.
        held_out: ``[folds, examples]``, int32: the rows of ``data.train`` that each ``fold`` is evaluated on; it
            trains on the same row of ``resamples``.

    Returns:
        The lane after, its metrics (``train_*`` are means over the segment), and its marks. Where validation data
        stream, ``_evaluation.py`` adds its part to all three.
    """
    h = recipe.setting(constants)
    shared = recipe.noise == "shared"
    if held_out is not None:
        own = jnp.asarray(held_out)[h["fold"]]
        data = data._replace(validation=jax.tree.map(lambda x: jnp.asarray(x)[own], data.train))
    state, metrics, bad_step = train_segment(
        recipe.task,
        lane.state,
        data,
        h,
        first_step=first_step,
        steps=recipe.eval_every,
        batch_size=recipe.batch_size,
        order_key=of_seed(keys.order, h),
        noise_key=keys.noise if shared else jax.random.fold_in(keys.noise, constants.index),
        infinite=lane.infinite,
        monitor=recipe.monitor,
        rows=None if resamples is None else resamples[h["replica" if held_out is None else "fold"]],
        batches=batches,
        block=block,
        eval_batch_size=recipe.eval_batch_size,
        evaluates=not recipe.apart,
    )
    if recipe.apart:
        nothing = jnp.zeros((), jnp.int32)
        return Lane(state, lane.stopping, lane.infinite), metrics, Marks(bad_step, nothing, nothing)
    stopping, stop, best_step = watch(recipe, h, lane.stopping, state, metrics)
    return Lane(state, stopping, lane.infinite), metrics, Marks(bad_step, stop, best_step)


def common_batches(recipe: Recipe, constants: Constants, first_step: Number, shared: Shared) -> jax.Array | None:
    """The indices of the batches of a segment; None if lanes have a number ``seed``, and without a batch size."""
    if recipe.batch_size is None or "seed" in constants.numbers:
        return None
    examples = size_of(shared.data.train) if shared.resamples is None else np.shape(shared.resamples)[1]
    key = of_seed(shared.keys.order, recipe.static_values)
    return batch_indices(key, first_step, recipe.eval_every, examples=examples, batch_size=recipe.batch_size)


def lane_shapes(recipe: Recipe, keys: Keys, constants: Constants) -> tuple[Lane, Constants]:
    """Shapes and dtypes of a lane and of its constants; ``constants`` have a leading axis and may be shapes."""
    own = entry_of(constants)
    return jax.eval_shape(partial(start_lane, recipe), keys, own), own


def entry_of(tree: Tree) -> Tree:
    """Shapes of an entry of arrays with a leading axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), tree)


def build_empty(shapes: Tree, size: int, spread: Tree) -> Tree:
    """A buffer of ``size`` entries, all zeros, spread over the devices by one sharding or a tree of shardings."""
    leaves, structure = jax.tree.flatten(shapes)
    forms, shardings = tuple((x.shape, x.dtype) for x in leaves), jax.tree.leaves(jax.tree.broadcast(spread, shapes))
    return structure.unflatten(_zeros(forms, size, tuple(shardings))())


@cache  # keeps the jitted functions, so that the next sweep finds their programs
def _zeros(
    leaves: tuple[tuple[tuple[int, ...], DTypeLike], ...], size: int, spread: tuple[NamedSharding, ...]
) -> Callable[[], list[jax.Array]]:
    return jax.jit(lambda: [jnp.zeros((size, *shape), dtype) for shape, dtype in leaves], out_shardings=list(spread))


def one_by_one(train: Callable[..., Tree]) -> Callable[..., Tree]:
    """The function lifted over lanes as by ``jax.vmap``, except that a lane begins when the one before has ended."""
    return lambda *lanes: jax.lax.map(lambda lane: train(*lane), lanes)


def decomposes_batches(text: str) -> bool:
    """Whether a program for the CPU calls LAPACK for several matrices at a time.

    Such a call waits, in a thread of XLA's pool, for parts of it that the pool computes. If all threads wait at
    once, for the orthogonal weights of two layers for example, or on two devices, none of them ever ends.
    """
    shapes = re.findall(r"custom_call @lapack_\w+\(.*: \(tensor<([\dx]+)x[a-z]", text)
    return any(math.prod(map(int, shape.split("x")[:-2])) > 1 for shape in shapes)


def calls_back(text: str) -> bool:
    """Whether a program calls Python."""
    return re.search(r"custom_call @xla_\w*python\w*callback", text) is not None


def build_start(recipe: Recipe, mesh: Mesh, each: Each = jax.vmap, parts: Parts = None) -> jax.stages.Wrapped:
    """``(buffer, constants, ids, given, keys) -> buffer, constants``, the first two donated.

    Each device writes lanes before their first step, and the constants given, to the places ``ids`` of its share; an id
    outside is padding. If ``parts`` divides a lane over several devices, these act as one.
    """

    def start(buffer, constants, ids, given, keys):
        lanes = _divided(each(partial(start_lane, recipe, keys))(given), parts)
        return put_back((buffer, constants), ids, (lanes, given))

    lanes, same = PartitionSpec(LANES), PartitionSpec()
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return jax.jit(
        _mapped(start, mesh, (lanes, lanes, lanes, lanes, same)),
        donate_argnums=(0, 1),
        out_shardings=_results(mesh, parts),
        # it runs seldom, and LLVM takes a second over its random numbers at full optimization
        compiler_options={"xla_backend_optimization_level": 1} if on_cpu else None,
    )


def build_take_over(buffer: Tree, constants: Tree) -> Callable[..., tuple[Lane, Constants]]:
    """``(buffer, constants, to, parents, numbers) -> buffer, constants``: entries go on from others' states.

    The ids are of the whole buffer, so that a state may go to another device.

    Args:
        buffer: the shardings of the buffer.
        constants: the shardings of the constants.
    """
    leaves, structure = jax.tree.flatten((buffer, constants))
    return _take_over(structure, tuple(leaves))


@cache
def _take_over(structure: PyTreeDef, spread: tuple[NamedSharding, ...]) -> Callable[..., tuple[Lane, Constants]]:

    def take_over(buffer, constants, to, parents, numbers):
        buffer = jax.tree.map(lambda x: x.at[to].set(x[parents]), buffer)
        changed = {name: constants.numbers[name].at[to].set(values) for name, values in numbers.items()}
        return buffer, constants._replace(numbers={**constants.numbers, **changed})

    return jax.jit(take_over, donate_argnums=(0, 1), out_shardings=structure.unflatten(spread))


def build_segment(recipe: Recipe, mesh: Mesh, each: Each = jax.vmap, parts: Parts = None) -> jax.stages.Wrapped:
    """``(buffer, constants, ids, first_step, count, shared, block) -> buffer, (metrics, marks)``, the buffer donated.

    Each device gathers the lanes ``ids`` from its share of the buffer, trains them, and scatters them back; an
    id outside the buffer is padding, whose result is dropped. Metrics and marks are ``Packed``. The block holds the
    batches of data that stream, the same for all lanes, and is None for others. It trains up to ``count`` segments, see
    ``repeated``, but one where data stream, and where a lane lies on several devices, which must run in step.
    """

    def segment(buffer, constants, ids, first_step, count, shared, block):
        gathered, given = lanes_at((buffer, constants), ids)

        def train(first_step, lanes):
            own = {"resamples": shared.resamples, "held_out": shared.held_out, "block": block}
            own["batches"] = common_batches(recipe, constants, first_step, shared)
            with recipe.holding(shared.frozen), recipe.multiplying():
                trained, metrics, marks = each(
                    partial(train_lane, recipe, shared.keys, first_step, shared.data, **own)
                )(given, lanes)
            return _divided(trained, parts), (metrics, marks)

        lanes = _divided(gathered, parts)
        if recipe.apart or block is not None or parts is not None:
            lanes, outcome = train(first_step, lanes)
            return put_back(buffer, ids, lanes), Packed.of(outcome)
        is_lane = ids < jax.tree.leaves(buffer)[0].shape[0]
        lanes, outcomes = repeated(train, lanes, first_step, recipe.eval_every, count, is_lane)
        return put_back(buffer, ids, lanes), outcomes

    lanes, same = PartitionSpec(LANES), PartitionSpec()
    return jax.jit(
        _mapped(segment, mesh, (lanes, lanes, lanes, same, same, same, same)),
        donate_argnums=0,
        out_shardings=_results(mesh, parts),
    )


def build_predict(recipe: Recipe, mesh: Mesh, each: Each = jax.vmap) -> jax.stages.Wrapped:
    """``(buffer, constants, ids, inputs, frozen) -> outputs`` of the lanes ``ids`` as kept, ``[lanes, ...]``."""

    def predict_lane(inputs, constants, lane):
        assert recipe.task.predict is not None
        return recipe.task.predict(recipe.kept(lane), inputs, recipe.setting(constants))

    def predict(buffer, constants, ids, inputs, frozen):
        gathered, given = lanes_at((buffer, constants), ids)
        with recipe.holding(frozen), recipe.multiplying():
            return each(partial(predict_lane, inputs))(given, gathered)

    lanes, same = PartitionSpec(LANES), PartitionSpec()
    return jax.jit(_mapped(predict, mesh, (lanes, lanes, lanes, same, same)))


def _mapped(program: Callable[..., Tree], mesh: Mesh, specs: tuple[PartitionSpec, ...]) -> Callable[..., Tree]:
    """A program of one device lifted over the axis of the lanes; over the other axes of the mesh XLA divides it."""
    return jax.shard_map(
        program, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(LANES), axis_names={LANES}, check_vma=False
    )


def _divided(lanes: Lane, parts: Parts) -> Lane:
    """Lanes in training, divided over the devices as they are at rest."""
    if parts is None:
        return lanes
    return jax.tree.map(lambda x, part: jax.lax.with_sharding_constraint(x, PartitionSpec(None, *part)), lanes, parts)


def _results(mesh: Mesh, parts: Parts) -> tuple[Tree, NamedSharding] | None:
    """The shardings of a buffer and of what else a program gives; None where each lane lies on one device."""
    if parts is None:
        return None
    buffer = jax.tree.map(lambda part: NamedSharding(mesh, PartitionSpec(LANES, *part)), parts)
    return buffer, NamedSharding(mesh, PartitionSpec(LANES))


def lanes_at(buffer: Tree, ids: jax.Array) -> Tree:
    """Entries of the buffer; an id outside gives the last."""
    return jax.tree.map(lambda x: x.at[ids].get(mode="clip"), buffer)


def put_back(buffer: Tree, ids: jax.Array, lanes: Tree) -> Tree:
    """The buffer with some of its entries replaced; an id outside is dropped."""
    return jax.tree.map(lambda all, some: all.at[ids].set(some, mode="drop"), buffer, lanes)


def watch(recipe: Recipe, h: Setting, before: Tree, state: Tree, metrics: dict[str, jax.Array]):
    """Early stopping after an evaluation: its state, whether to stop, and the best step."""
    rule = recipe.stopping(h)
    if rule is None:
        return (), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    after = rule.update(before, state, metrics[recipe.monitor])
    return after, after.stop.astype(jnp.int32), after.best_step
