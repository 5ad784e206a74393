"""Lane programs compile for a TPU and a GPU and hold no transposes; nothing runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import regopt
from regopt import sweep
from regopt.data import Splits
from regopt.regularization import regularize
from regopt.sweep.engine._program import build_take_over
from regopt.testing import CATALOGUE, exercise
from support.compile_only import TASKS, compile_sweep, devices_of, images, least_squares, pairs, small

OPTIMIZERS = [row for row in CATALOGUE if row.is_optimizer or row.kind == "second_order"]
PENALTIES = [row for row in CATALOGUE if row.kind == "penalty"]
PLATFORMS = ["tpu", pytest.param("cuda", marks=pytest.mark.long)]
WAYS = ("gradient", "decoupled", "proximal", "constraint")


@pytest.mark.sampled(5)
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", TASKS)
def test_the_lane_programs_of_a_model_compile(name, count, platform):
    task, data = TASKS[name]()
    found = compile_sweep(task, data, platform=platform, count=count, batch_size=8)
    assert found.cost.products > 0
    assert (found.cost.estimate is not None) == (platform == "tpu")
    lanes = found.form.capacity * count
    assert lanes == 8


@pytest.mark.sampled(25)
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("row", OPTIMIZERS, ids=lambda row: row.label)
def test_the_lane_programs_of_an_optimizer_compile(row, platform):
    make = (lambda h: row.make(learning_rate=h["learning_rate"])) if "learning_rate" in row.numbers else (
        lambda h: row.make()
    )  # fmt: skip
    compile_sweep(least_squares(make, residuals=row.needs_residuals), pairs(), platform=platform)


@pytest.mark.sampled(50)
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("row", PENALTIES, ids=lambda row: row.label)
def test_the_lane_programs_of_a_penalty_compile(row, how, platform):
    """Whatever ``regularize`` accepts; a refusal says so before anything compiles."""

    def make(h):
        penalty = row.make()
        given = {"learning_rate": h["learning_rate"]} if how == "decoupled" else {}
        given |= {"radius": h["learning_rate"]} if how == "constraint" else {}
        optimizer = regopt.sgd if how == "constraint" else regopt.adam  # a projection couples entries, as Adam does not
        return regularize(optimizer(h["learning_rate"]), penalty, how, **given)

    try:
        make({"learning_rate": 0.1}).init({"w": jnp.ones((4, 3)), "b": jnp.zeros(3)})
    except ValueError as refused:
        pytest.skip(f"refused: {refused}")
    compile_sweep(least_squares(make), pairs(), platform=platform)


@pytest.mark.sampled(40)
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_whatever_the_catalogue_has_compiles_over_lanes(row, platform):
    device = jax.sharding.SingleDeviceSharding(devices_of(platform)[0])
    numbers = {name: jax.ShapeDtypeStruct((4,), jnp.float32, sharding=device) for name in row.numbers}
    size = jax.ShapeDtypeStruct((4,), jnp.float32, sharding=device)
    if row.kind in ("schedule", "stopping"):
        lanes = jax.vmap(lambda numbers, size: (size, exercise(row, numbers)))
    else:
        lanes = jax.vmap(lambda numbers, size: exercise(row, numbers, size=size))
    jax.jit(lanes).lower(numbers, size).compile()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("count", [1, 4])
def test_an_exchange_in_a_population_and_streaming_blocks_compile(count, platform):
    task, data = small(), images()

    def batch(step):
        return data.train[0][:8], data.train[1][:8]

    found = compile_sweep(task, Splits(batch, data.validation), platform=platform, count=count)
    assert found.form.block.leaves[0].shape == (3, 8, 64)
    buffer, constants = found.form.lane.tree(found.form.layout.mesh, count * found.form.capacity)
    ids = jax.ShapeDtypeStruct((2,), jnp.int32)
    numbers = {"learning_rate": jax.ShapeDtypeStruct((2,), jnp.float32)}
    spread = jax.tree.map(lambda x: x.sharding, (buffer, constants))
    build_take_over(*spread).lower(buffer, constants, ids, ids, numbers).compile()


@pytest.mark.long
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_training_loop_of_our_layers_holds_no_transposes(platform):
    """At the size of a sweep over digits; where few lanes train, a compiler may choose layouts that need some."""
    lanes = {"tpu": 256, "cuda": 1024}[platform]
    settings = sweep.from_columns({"learning_rate": np.geomspace(1e-3, 0.1, lanes)})
    found = compile_sweep(
        small((64, 128, 10)), images(1024, 128), settings=settings, platform=platform, chunk=lanes, batch_size=128
    )
    assert found.cost.transposes == ()
    assert found.cost.kernels <= 22 - 2 * (platform == "cuda")


@pytest.mark.long
def test_convolutions_beside_dense_layers_need_no_transposes_on_a_tpu():
    """Only the batch of images, which all lanes share, changes the order of its axes."""
    task, _ = TASKS["CNN"]()
    settings = sweep.from_columns({"learning_rate": np.geomspace(1e-3, 0.1, 64)})
    found = compile_sweep(task, images(1024, 128), settings=settings, chunk=64, batch_size=128)
    assert [shape.split("[")[1] for shape in found.cost.transposes] in ([], ["128,64]"])
