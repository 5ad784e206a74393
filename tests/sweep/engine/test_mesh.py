"""Settings that are divided over devices: equal to one device up to rounding, and sweeps as any other."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

import regopt
from regopt import sweep
from regopt.losses import cross_entropy
from regopt.sweep.checkpoint import StoreError
from support.divided_sweep import PARTITION, SETTINGS, TASK, assert_close, run, run_whole, shapes_on_devices
from support.small_sweep import DATA, X, same_bits

pytestmark = pytest.mark.usefixtures("one_segment_a_call")

MESH = {"lanes": 1, "model": 2}


@pytest.fixture(scope="module")
def divided():
    return run(MESH)


@pytest.fixture(scope="module")
def whole():
    return run_whole()


def test_four_lanes_over_two_devices_each_are_those_of_one_device():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        "JAX_PLATFORMS": "cpu",
    }
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    command = [sys.executable, "-m", "support.divided_sweep"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout.split("\n")[0] == "the same", done.stderr


def test_a_divided_setting_trains_as_a_whole_one(divided, whole):
    assert_close(divided, whole)
    np.testing.assert_allclose(divided.predict(X), whole.predict(X), rtol=1e-5, atol=1e-6)
    assert divided.parameters.tolist() == whole.parameters.tolist()


def test_parameters_and_what_is_like_them_lie_in_parts():
    shapes = shapes_on_devices(run(MESH, patience=3))
    parts = {path: shape for path, shape in shapes.items() if path.endswith("hidden/kernel")}
    assert len(parts) == 4  # the parameters and the velocity, now and at their best
    assert set(parts.values()) == {(4, 6)}
    assert {shape for path, shape in shapes.items() if path.endswith("out/kernel")} == {(3, 4)}
    assert {shape for path, shape in shapes.items() if path.endswith("out/bias")} == {(3,)}


def test_a_mesh_of_ones_own_is_the_same(divided):
    mesh = jax.make_mesh((1, 2), ("lanes", "model"))
    same_bits(run(mesh), divided, np.arange(len(SETTINGS)))


@pytest.mark.long
def test_lanes_may_run_one_after_the_other(whole):
    assert_close(run(MESH, mapping="map"), whole)


def test_an_interrupted_sweep_goes_on_to_the_same_bits(divided, tmp_path):
    once = iter([signal.SIGINT])
    assert run(MESH, out=tmp_path, callbacks=[lambda *_: [signal.raise_signal(sent) for sent in once]]).interrupted
    resumed = run(MESH, out=tmp_path)
    assert not resumed.interrupted
    same_states(resumed, divided, range(len(SETTINGS)))
    loaded = sweep.load(tmp_path)
    np.testing.assert_array_equal(
        loaded.state(3).params["hidden"]["kernel"], divided.state(3).params["hidden"]["kernel"]
    )
    with pytest.raises(StoreError, match=r"config.mesh was .*config.partition was .*\('model',\)"):
        run_whole(out=tmp_path)


def test_a_refit_has_the_same_bits(divided):
    same_states(divided.refit(4), divided, [4])


def test_pruned_lanes_give_their_places_to_others(divided):
    ours = run(MESH, scheduler=sweep.successive_halving(2.0), slots=6)
    assert set(ours.status) == {"pruned", "done"}
    for name, curve in divided.history.curves.items():
        mine = ours.history.curves[name]
        np.testing.assert_allclose(mine, np.where(np.isnan(mine), np.nan, curve), rtol=1e-6, atol=1e-6)


def test_states_go_from_one_setting_to_another(divided, whole):
    del divided, whole  # their programs are used again
    scheduler = sweep.population_based_training({"rate": sweep.log_uniform(0.01, 0.5)})
    ours = run(MESH, scheduler=scheduler)
    theirs = run_whole(scheduler=scheduler)
    assert np.any(ours.history.parents >= 0)
    np.testing.assert_array_equal(ours.history.parents, theirs.history.parents)
    assert_close(ours, theirs, 1e-5)


@pytest.mark.long
def test_frozen_parameters_are_divided_too():
    trunk = nnx.Linear(6, 8, rngs=nnx.Rngs(0))

    class Classifier(nnx.Module):
        def __init__(self, rngs):
            self.trunk, self.head = trunk, nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(jax.nn.relu(self.trunk(x)))

    task = sweep.supervised(
        lambda h, rngs: Classifier(rngs),
        cross_entropy,
        lambda h: regopt.adamw(h["learning_rate"]),
        trainable="head/**",
    )
    settings = sweep.from_columns({"learning_rate": np.geomspace(0.01, 0.1, 5)})
    partition = {"trunk/kernel": PartitionSpec(None, "model"), "head/kernel": PartitionSpec("model")}
    ours = run(MESH, task=task, settings=settings, partition=partition)
    assert_close(ours, run_whole(task=task, settings=settings))
    frozen = ours.states._groups[0].frozen["trunk"]
    assert frozen["kernel"].addressable_shards[0].data.shape == (6, 4)
    assert frozen["bias"].addressable_shards[0].data.shape == (8,)


@pytest.mark.parametrize("on", [None, "cpu"])
def test_a_plan_tells_of_the_mesh_and_of_the_bytes_of_a_device(on):
    options = {"mesh": MESH, "partition": PARTITION, "on": on, "chunk": 3}
    plan = sweep.plan(TASK, SETTINGS, DATA, steps=12, eval_every=4, **options)
    assert "(1 lanes x 2 model, divided by hidden/* ('model',), out/kernel (None, 'model'))" in str(plan)
    (group,) = plan.groups
    divided = 2 * (48 + 8 + 24) * 4  # parameters and velocities: two kernels and a bias
    assert group.device_bytes == group.lane_bytes - divided / 2
    assert "of it on a device" in str(plan)


@pytest.mark.parametrize(
    ("mesh", "partition", "message"),
    [
        (("lanes", "model"), PARTITION, r'mesh must be a jax.sharding.Mesh or sizes by axis, such as {"lanes": 4,'),
        ({"model": 2}, PARTITION, "mesh must have an axis \"lanes\", got the axes \\['model'\\]"),
        ({"lanes": 1, "model": 0}, PARTITION, "the size of the mesh axis 'model' must be a whole number in"),
        ({"lanes": 3, "model": 2}, PARTITION, "needs 6 devices, got 2: change a size, or pass devices"),
        (MESH, None, "mesh has an axis 'model' that partition does not use"),
        (None, PARTITION, "partition needs a mesh, which must be a jax.sharding.Mesh or sizes by axis"),
        (MESH, [PARTITION], "partition must map path patterns to a PartitionSpec, such as"),
        (MESH, {"**/kernel": "model"}, r"partition must have a jax.sharding.PartitionSpec for '\*\*/kernel', got"),
        (MESH, {"**/kernel": PartitionSpec("modle")}, "axis 'modle', which the mesh does not have; .*'model'"),
        (MESH, {"**/kernel": PartitionSpec("lanes")}, 'partition must leave the axis "lanes" to the settings'),
        (MESH, {"**/kernel": PartitionSpec("model", "model")}, "partition must name an axis once for an array"),
        (MESH, {"**/kernal": PartitionSpec("model")}, r"a pattern that matches nothing, '\*\*/kernal'; the nearest"),
        (MESH, {"out/kernel": PartitionSpec("model")}, "axis 0 of 'out/kernel' over 'model': 2 must divide"),
        (MESH, {"out/bias": PartitionSpec(None, "model")}, "gives 'out/bias' 2 axes.* but its shape is"),
    ],
)
def test_what_cannot_be_divided_is_refused_in_one_line(mesh, partition, message):
    with pytest.raises(ValueError, match=message) as refused:
        run(mesh, partition=partition)
    assert "\n" not in str(refused.value)


def test_a_mesh_goes_neither_with_an_executor_nor_with_other_devices():
    with pytest.raises(ValueError, match="mesh must be None with an executor"):
        run(MESH, executor="ray")
    with pytest.raises(ValueError, match=r"devices must be None with a jax\.sharding\.Mesh"):
        run(jax.make_mesh((1, 2), ("lanes", "model")), devices=jax.devices())


def test_streaming_training_data_are_taken_and_validation_data_refused():
    data = DATA._replace(train=lambda step: (X[:10], DATA.train[1][:10]))
    ours = run(MESH, data=data, batch_size=None)
    assert_close(ours, run_whole(data=data, batch_size=None))
    batch = DATA.validation
    with pytest.raises(ValueError, match=r"partition needs data\.validation as arrays in memory"):
        run(MESH, data=data._replace(validation=lambda number: batch), eval_batches=2, batch_size=None)


def same_states(ours, theirs, rows):
    same_bits(ours, theirs, list(rows))
    for row in rows:
        jax.tree.map(np.testing.assert_array_equal, ours.state(row), theirs.state(row))
