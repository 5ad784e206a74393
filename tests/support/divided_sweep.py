"""Sweeps whose settings are divided over devices, and a program that compares eight of these with one.

``python -m support.divided_sweep`` needs eight CPU devices; it prints "the same" if all agrees. The task is small, so
that its programs compile in no time.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from regopt import sweep
from support.small_sweep import DATA

PARTITION = {"hidden/*": PartitionSpec("model"), "out/kernel": PartitionSpec(None, "model")}
SETTINGS = sweep.from_columns({"rate": np.geomspace(0.01, 0.2, 11)})
SCHEDULE = {"steps": 12, "eval_every": 4, "batch_size": 10}


class State(NamedTuple):
    params: dict
    velocity: dict


def init(key, h):
    del h
    params = {
        "hidden": {"kernel": 0.4 * jax.random.normal(jax.random.fold_in(key, 0), (8, 6)), "bias": jnp.zeros(8)},
        "out": {"kernel": 0.1 * jnp.ones((3, 8)), "bias": jnp.zeros(3)},
    }
    return State(params, jax.tree.map(jnp.zeros_like, params))


def predict(state, x, h):
    del h
    hidden = jnp.tanh(x @ state.params["hidden"]["kernel"].T + state.params["hidden"]["bias"][None])
    hidden += 0.1 * jnp.roll(hidden, 1, axis=-1)  # moves numbers from device to device
    return hidden @ state.params["out"]["kernel"].T + state.params["out"]["bias"][None]


def loss_of(state, batch, h):
    x, y = batch
    return jnp.mean((predict(state, x, h) - jax.nn.one_hot(y, 3)) ** 2)


def step(state, batch, key, h):
    del key
    loss, grads = jax.value_and_grad(lambda params: loss_of(state._replace(params=params), batch, h))(state.params)
    velocity = jax.tree.map(lambda v, g: 0.9 * v - h["rate"] * g, state.velocity, grads)
    return State(jax.tree.map(jnp.add, state.params, velocity), velocity), {"loss": loss}


def evaluate(state, data, h):
    return {"validation_loss": loss_of(state, data.validation, h)}


TASK = sweep.Task(init, step, evaluate, predict)


def run(mesh, *, task=TASK, settings=SETTINGS, data=DATA, **options):
    return sweep.run(task, settings, data, **(SCHEDULE | {"mesh": mesh, "partition": PARTITION, "chunk": 3} | options))


def run_whole(**options):
    """The same on one device."""
    return run(None, partition=None, devices=jax.devices()[:1], **options)


def assert_close(divided, whole, tolerance=1e-6):
    """The tables and the states of two results, up to rounding."""
    for name, curve in whole.history.curves.items():
        np.testing.assert_allclose(divided.history.curves[name], curve, rtol=tolerance, atol=tolerance, err_msg=name)
    assert divided.status.tolist() == whole.status.tolist()
    for row in range(len(whole.history.settings)):
        for a, b in zip(*(jax.tree.leaves(each.state(row)) for each in (divided, whole)), strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def shapes_on_devices(result):
    """By the path of a leaf of a lane, the shape of what lies on the first device, without the axis of the lanes."""
    held = result.states._held[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.addressable_shards[0].data.shape[1:]
        for path, leaf in jax.tree_util.tree_leaves_with_path(held.buffer)
    }


def main():
    for options in (
        {"patience": 1, "scheduler": sweep.median_rule(grace_period=1)},  # some are pruned
        {"settings": sweep.from_columns({"rate": [*np.geomspace(0.01, 0.2, 10), 1e20]}), "steps": 24},  # one diverges
    ):
        divided = run({"lanes": 4, "model": 2}, **options)
        assert_close(divided, run_whole(**options))
        assert len(set(divided.status)) > 1
        assert shapes_on_devices(divided)["state/params/hidden/kernel"] == (4, 6)
        alone = divided.refit(0)  # all other rows of devices have padding
        curves = (each.history.curves["validation_loss"][0] for each in (alone, divided))
        np.testing.assert_allclose(*curves, rtol=1e-6)
    print("the same")


if __name__ == "__main__":
    main()
