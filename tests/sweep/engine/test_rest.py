"""Settings that lie in the memory of the host when they do not train: the same bits as on the devices."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.checkpoint import StoreError
from support.divided_sweep import PARTITION, SCHEDULE, SETTINGS, TASK, run
from support.same_sweeps import same_states
from support.small_sweep import DATA, X, same_bits

pytestmark = pytest.mark.usefixtures("one_segment_a_call")

KINDS = {
    "plain": {},
    "pruned": {"scheduler": sweep.successive_halving(2.0), "slots": 6, "patience": 0},  # and stopped, and refilled
    "population": {"scheduler": sweep.population_based_training({"rate": sweep.log_uniform(0.01, 0.5)})},
    "evaluated in streaming batches": {
        "data": DATA._replace(validation=lambda number: jax.tree.map(lambda x: x[5 * number :][:5], DATA.validation)),
        "eval_batches": 4,
    },
    "divided": {"mesh": {"lanes": 1, "model": 2}, "partition": PARTITION},
}
LONG = ("pruned", "evaluated in streaming batches")


def trained(rest, *, task=TASK, **options):
    options = {"mesh": None, "partition": None, **options}
    return run(task=task, rest=rest, **options)


def same(ours, theirs):
    rows = np.arange(len(SETTINGS))
    same_bits(ours, theirs, rows)
    assert ours.status.tolist() == theirs.status.tolist()
    np.testing.assert_array_equal(ours.history.seats, theirs.history.seats)
    same_states(ours, theirs, rows)


@pytest.mark.parametrize(
    "kind", ["plain", "population", "divided", *(pytest.param(kind, marks=pytest.mark.long) for kind in LONG)]
)
def test_the_table_and_the_states_have_the_same_bits(kind):
    ours = trained("host", **KINDS[kind])
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(ours.states._held[0].buffer))
    same(ours, trained("device", **KINDS[kind]))


def test_outputs_refits_and_resumes_have_the_same_bits(tmp_path):
    whole = trained("device")
    once = iter([signal.SIGINT])
    interrupt = [lambda *_: [signal.raise_signal(sent) for sent in once]]
    assert trained("host", out=tmp_path, callbacks=interrupt).interrupted
    resumed = trained("host", out=tmp_path)
    same(resumed, whole)
    np.testing.assert_array_equal(resumed.predict(X), whole.predict(X))
    jax.tree.map(np.testing.assert_array_equal, resumed.refit(4).state(4), whole.state(4))
    same(sweep.load(tmp_path), whole)
    with pytest.raises(StoreError, match=r"config\.rest was 'host', is nothing"):
        trained("device", out=tmp_path)


def test_a_program_has_room_for_one_call_alone():
    ours = trained("host")
    arguments = jax.tree.leaves(ours.states._groups[0].segment.args_info[0][0])
    assert {leaf.shape[0] for leaf in arguments} == {6}  # 3 on each of two devices, of 11


class Broken(Exception):
    pass


def test_an_error_leaves_the_lanes_where_their_last_report_was(tmp_path):
    reports = []

    def fail(*_):
        reports.append(1)
        if len(reports) == 2:
            raise Broken

    with pytest.raises(Broken):
        trained("host", out=tmp_path, callbacks=[fail])
    same(trained("host", out=tmp_path), trained("device"))


@pytest.mark.parametrize("rest", ["host", "device"])
def test_a_group_that_is_cleared_forgets_the_lanes_that_could_not_begin(rest, monkeypatch):
    def fail(*_):
        raise Broken

    group = trained(rest).states._groups[0]
    group.clear()
    monkeypatch.setattr(group, "_start", fail)
    with pytest.raises(Broken):
        group.start(group.held.places.admit(np.zeros(0, int)))
    assert group.in_flight
    group.clear()
    assert not group.in_flight


@pytest.mark.long
def test_random_keys_in_a_state_come_and_go():
    def step(state, batch, key, h):
        after, metrics = TASK.step(state[0], batch, key, h)
        own, used = jax.random.split(state[1])
        return (after, own), {"noise": jax.random.normal(used), **metrics}

    task = sweep.Task(
        lambda key, h: (TASK.init(key, h), jax.random.fold_in(key, 7)),
        step,
        lambda state, data, h: TASK.evaluate(state[0], data, h),
    )
    ours, theirs = (trained(rest, task=task) for rest in ("host", "device"))
    same_bits(ours, theirs, np.arange(len(SETTINGS)))
    for a, b in zip(*(jax.random.key_data(each.state(3)[1]) for each in (ours, theirs)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_random_keys_on_several_devices_resume(tmp_path):
    def step(state, batch, key, h):
        own, used = jax.random.split(state[1])
        return (state[0] + h["rate"] * jax.random.normal(used), own), {"loss": state[0]}

    task = sweep.Task(
        lambda key, h: (jnp.zeros(()), key), step, lambda state, data, h: {"validation_loss": state[0] ** 2}
    )
    settings = sweep.from_columns({"rate": [0.1, 0.2, 0.3]})
    whole = sweep.run(task, settings, steps=4, eval_every=1, rest="host")
    once = iter([signal.SIGINT])
    options = {"out": tmp_path, "callbacks": [lambda *_: [signal.raise_signal(number) for number in once]]}
    assert sweep.run(task, settings, steps=4, eval_every=1, rest="host", **options).interrupted
    same_bits(sweep.run(task, settings, steps=4, eval_every=1, rest="host", out=tmp_path), whole, np.arange(3))


def test_wrong_places_are_refused():
    for rest in ("disk", None, jnp.ones(2)):
        with pytest.raises(ValueError, match='rest must be "device" or "host"'):
            trained(rest)
    with pytest.raises(ValueError, match='rest must be "device" with an executor'):
        trained("host", executor="ray")


def test_a_plan_counts_with_the_memory_of_the_host(monkeypatch):
    monkeypatch.setattr("regopt.sweep.engine._recipe.host_room", lambda: 5000.0)
    options = {"rest": "host", "on": "cpu", "chunk": 3}
    plan = sweep.plan(TASK, SETTINGS, DATA, steps=SCHEDULE["steps"], eval_every=SCHEDULE["eval_every"], **options)
    assert plan.groups[0].held == 2 * -(-(5000 // plan.groups[0].lane_bytes) // 2)


def test_a_plan_counts_a_lane_that_is_divided_on_each_of_its_devices(monkeypatch):
    """What each of two devices holds of a lane, part of which both hold, counts against the room on both."""
    options = {"chunk": 3, "mesh": {"lanes": 1, "model": 2}, "partition": PARTITION, **SCHEDULE}
    group = sweep.plan(TASK, SETTINGS, DATA, **options).groups[0]
    assert group.lane_bytes < 2 * group.device_bytes < 2 * group.lane_bytes
    assert group.held == 11
    monkeypatch.setattr("regopt.sweep.engine._recipe.resting_room", lambda devices: 7.5 * 2 * group.device_bytes)
    assert sweep.plan(TASK, SETTINGS, DATA, **options).groups[0].held == 7
