"""How the lanes of a chunk run: at once, one after the other, or as a measurement of the real program says."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from regopt import sweep
from regopt.data import Splits
from regopt.layers import MLP
from regopt.losses import cross_entropy
from regopt.sweep.checkpoint import StoreError
from regopt.sweep.engine import _measure as measure
from regopt.sweep.engine import _memory as memory
from regopt.sweep.engine import _work as work
from support.small_sweep import DATA, SCHEDULE, TASK, Y, optimizer

SETTINGS = sweep.from_columns({"learning_rate": np.geomspace(0.01, 0.1, 9), "weight_decay": np.full(9, 0.01)})


def run(**options):
    return sweep.run(TASK, SETTINGS, DATA, **(SCHEDULE | options))


@pytest.fixture(autouse=True)
def no_compile_cache():
    """Without a folder, nothing is remembered from earlier tests and runs."""
    before = getattr(jax.config, measure.CACHE_FOLDER)
    jax.config.update(measure.CACHE_FOLDER, None)
    yield
    jax.config.update(measure.CACHE_FOLDER, before)


@pytest.fixture
def fast(monkeypatch):
    """Say which mapping is the fastest, and count the measurements."""
    timed = []

    def choose(mapping, chunk):
        def seconds(group):
            timed.append((group.mapping, group.chunk))
            return float((group.mapping, group.chunk) != (mapping, chunk))

        monkeypatch.setattr(measure, "_seconds_of_a_lane", seconds)
        return timed

    monkeypatch.setattr(measure, "_REMEMBERED", {})
    monkeypatch.setattr(measure, "SHARE", 1e9)  # all candidates, however short the sweep is
    return choose


@pytest.mark.parametrize("mapping", ["vmap", "map"])
def test_lanes_train_the_same_whichever_way_they_run(mapping):
    usual, other = run(chunk=3), run(chunk=3, mapping=mapping)
    for name, curve in usual.history.curves.items():
        np.testing.assert_allclose(other.history.curves[name], curve, rtol=1e-5, err_msg=name)


def test_one_after_the_other_a_lane_has_the_same_bits_in_any_chunk():
    one, four = run(chunk=1, mapping="map"), run(chunk=4, mapping="map")
    for name, curve in one.history.curves.items():
        np.testing.assert_array_equal(four.history.curves[name], curve, err_msg=name)


@pytest.mark.parametrize(("mapping", "batched"), [("vmap", 1.0), ("map", 0.0)])
def test_lanes_begin_in_the_way_in_which_they_train(mapping, batched):
    @jax.custom_batching.custom_vmap
    def is_batched(x):
        return jnp.zeros_like(x)

    @is_batched.def_vmap
    def _(size, batch, x):
        del size, batch
        return jnp.ones_like(x), True

    task = sweep.Task(
        init=lambda key, h: is_batched(h["rate"]),
        step=lambda at_first, batch, key, h: (at_first, {"at_first": at_first, "now": is_batched(h["rate"])}),
        evaluate=lambda at_first, data, h: {"validation_loss": at_first},
    )
    settings = sweep.from_columns({"rate": [0.1, 0.2, 0.3]})
    result = sweep.run(task, settings, DATA, steps=2, eval_every=1, batch_size=4, chunk=3, mapping=mapping)
    for name in ("train_at_first", "train_now"):
        np.testing.assert_array_equal(result.history.curves[name], np.full((3, 2), batched))


def test_the_plan_says_how_lanes_run():
    plan = sweep.plan(TASK, SETTINGS, DATA, **(SCHEDULE | {"chunk": 3, "mapping": "map"}))
    assert (plan.groups[0].mapping, plan.groups[0].chunk) == ("map", 3)
    assert "3 one after the other on a device" in str(plan)


def test_the_fastest_is_taken_and_remembered(fast):
    timed = fast("vmap", 1)
    assert run(mapping="measured").chunk == 1
    assert ("map", 5) in timed  # nine lanes on two devices
    assert len(timed) == len(set(timed)) == 3
    run(mapping="measured")
    assert len(timed) == 3


def test_it_is_remembered_beside_the_compile_cache(fast, tmp_path, monkeypatch):
    timed = fast("map", 5)
    jax.config.update(measure.CACHE_FOLDER, str(tmp_path))
    run(mapping="measured")
    (file,) = tmp_path.glob("regopt-mapping-*.json")
    assert json.loads(file.read_text()) == {"mapping": "map", "chunk": 5}
    monkeypatch.setattr(measure, "_REMEMBERED", {})
    run(mapping="measured")
    assert len(timed) == 3
    file.write_text("{")
    monkeypatch.setattr(measure, "_REMEMBERED", {})
    run(mapping="measured")
    assert len(timed) == 6


def test_a_saved_sweep_goes_on_with_its_own_mapping(fast, tmp_path, monkeypatch):
    timed = fast("map", 5)
    run(mapping="measured", out=tmp_path)
    monkeypatch.setattr(measure, "_REMEMBERED", {})
    fast("vmap", 1)
    run(mapping="measured", out=tmp_path)
    assert len(timed) == 3
    with pytest.raises(StoreError, match=r"config.mapping was \['map'\], is \['vmap'\]"):
        run(mapping="vmap", chunk=5, out=tmp_path)


def test_a_short_sweep_measures_nothing(fast, monkeypatch):
    timed = fast("map", 5)
    monkeypatch.setattr(measure, "SHARE", 0.05)
    assert run(mapping="measured").chunk == run().chunk
    assert not timed
    monkeypatch.setattr(measure, "SHARE", 0.2)  # enough for the first call, but not for a program
    run(mapping="measured")
    assert not timed


def test_a_measurement_trains_the_real_program(monkeypatch):
    monkeypatch.setattr(measure, "SHARE", 1e9)
    measured, again = run(mapping="measured"), run(mapping="measured")
    assert measured.history.segments.tolist() == [3] * 9
    assert measured.chunk == again.chunk
    usual = run(chunk=3)
    for name, curve in usual.history.curves.items():
        np.testing.assert_allclose(measured.history.curves[name], curve, rtol=1e-5, err_msg=name)


def test_a_chunk_may_be_a_single_lane_where_no_more_fit_the_cache(monkeypatch):
    class Program:
        def __init__(self, lanes):
            compiled.append(lanes)
            self.lanes = lanes

        def memory_analysis(self):
            return type("Analysis", (), {"temp_size_in_bytes": 3e6 * self.lanes})

    monkeypatch.setattr(memory, "cache_bytes", lambda: jax.local_device_count("cpu") * 2 * 10e6)  # 10 MB a device
    device = jax.devices("cpu")[0]
    compiled = []
    assert memory.fit_chunk(Program, 64, 1e5, device)[0] == 3
    assert compiled == [16, 3]
    compiled.clear()
    assert memory.fit_chunk(Program, 64, 20e6, device)[0] == 1
    assert compiled == [1]  # nothing was compiled that could not fit
    compiled.clear()
    assert memory.fit_chunk(Program, 64, 1e5, device, one_by_one=lambda: True)[0] == 16
    assert compiled == [16]


def dense(inputs, units):
    return sweep.supervised(lambda _, rngs: MLP((inputs, units, 3), rngs=rngs), cross_entropy, optimizer)


def convolutions(h, rngs):
    del h
    layers = nnx.Conv(1, 2, (3,), rngs=rngs), nnx.Conv(2, 2, (3,), rngs=rngs), nnx.Linear(12, 3, rngs=rngs)
    return nnx.Sequential(lambda x: x[..., None], *layers[:2], lambda x: x.reshape(len(x), -1), layers[2])


@pytest.mark.parametrize(
    ("task", "inputs", "mapping"),
    [
        (dense(6, 8), 6, "vmap"),
        (dense(600, 400), 600, "map"),
        (sweep.supervised(convolutions, cross_entropy, optimizer), 6, "map"),
    ],
)
def test_lanes_with_large_products_or_convolutions_run_one_after_the_other_on_a_cpu(task, inputs, mapping):
    data = Splits((np.zeros((40, inputs), np.float32), Y[:40]), (np.zeros((20, inputs), np.float32), Y[40:]))
    plan = sweep.plan(task, SETTINGS, data, steps=4, eval_every=2, batch_size=20)
    assert plan.groups[0].mapping == mapping


def test_products_are_counted_as_often_as_they_run():
    def step(x, _):
        return jax.lax.scan(lambda x, _: (x @ x, None), x, length=3)[0] + x @ x, None

    traced = jax.jit(lambda x: jax.lax.scan(step, x, length=5)).trace(jax.ShapeDtypeStruct((4, 4), np.float32))
    found = work.products(traced.jaxpr.jaxpr)
    assert (found.flops, found.size, found.grouped) == (20 * 2 * 4**3, 2 * 4**3, False)


@pytest.mark.parametrize(("size", "alone"), [(125, False), (127, True)])
def test_a_product_is_large_by_what_it_does_for_one_lane(size, alone):
    def step(x, _):
        return x @ x, None

    lanes = jax.ShapeDtypeStruct((8, size, size), np.float32)
    traced = jax.jit(lambda x: jax.lax.scan(step, x, length=5)).trace(lanes)
    assert (2 * size**3 > work.LARGE) == alone
    assert work.runs_best_alone(traced, 5, 8) == alone


@pytest.mark.parametrize(("calls", "built"), [(14, 1), (15, 2), (26, 2), (27, 3), (39, 4)])
def test_candidates_are_measured_while_their_price_is_within_the_share(monkeypatch, calls, built):
    """A call takes a second, a compilation ten: the first candidate costs 14 with the default, each further one 12."""
    seconds, choices = [0.0], []

    def timed(group, calls=2):
        seconds[0] += calls
        return 1.0, 1

    def build(choice):
        if choices:
            seconds[0] += 10
        choices.append(choice)
        mapping = choice.mapping or "vmap"
        return SimpleNamespace(
            mapping=mapping, chunk=choice.chunk or 8, devices=1, indices=range(8), segment_seconds=10.0
        )

    monkeypatch.setattr(measure, "SHARE", 1.0)
    monkeypatch.setattr(measure, "_name", lambda group: f"of {calls} calls")
    monkeypatch.setattr(measure, "_REMEMBERED", {})
    monkeypatch.setattr(measure, "seconds_of_a_call", timed)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: seconds[0])
    measure.fastest(build, calls)
    assert [choice.chunk for choice in choices] == [None, None, 1, 2][:built]


@pytest.mark.parametrize(
    ("usual", "others"), [("vmap", [("map", None), ("vmap", 1), ("vmap", 2)]), ("map", [("vmap", None), ("vmap", 1)])]
)
def test_the_candidates_are_the_other_mapping_and_smaller_calls(monkeypatch, usual, others):
    choices = []

    def build(choice):
        choices.append((choice.mapping, choice.chunk))
        return SimpleNamespace(
            mapping=choice.mapping or usual, chunk=choice.chunk or 8, devices=1, indices=range(8), segment_seconds=1.0
        )

    monkeypatch.setattr(measure, "SHARE", 1e9)
    monkeypatch.setattr(measure, "_name", lambda group: usual)
    monkeypatch.setattr(measure, "_REMEMBERED", {})
    monkeypatch.setattr(measure, "seconds_of_a_call", lambda group, calls=2: (1.0, 1))
    assert measure.fastest(build, 10).mapping == usual
    assert choices[1:] == others


@pytest.mark.parametrize(("calls", "first", "compiling", "built"), [(20, 3.0, 10.0, 2), (60, 1.0, 30.0, 2)])
def test_what_measurements_take_is_held_within_the_share_where_estimates_are_short(
    monkeypatch, calls, first, compiling, built
):
    """A call takes a second, but the first may take longer, and a compilation longer than that of the default."""
    seconds, choices = [0.0], []

    def timed(group, calls=2):
        call = 1.0 if seconds[0] else first
        seconds[0] += call * calls
        return call, 1

    def build(choice):
        if choices:
            seconds[0] += compiling
        choices.append(choice)
        return SimpleNamespace(mapping="vmap", chunk=8, devices=1, indices=range(8), segment_seconds=10.0)

    monkeypatch.setattr(measure, "SHARE", 1.0)
    monkeypatch.setattr(measure, "_name", lambda group: "of any")
    monkeypatch.setattr(measure, "_REMEMBERED", {})
    monkeypatch.setattr(measure, "seconds_of_a_call", timed)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: seconds[0])
    measure.fastest(build, calls)
    assert seconds[0] <= calls
    assert len(choices) == built


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mapping": "scan"}, 'mapping must be "vmap", "map" or "measured", got \'scan\''),
        ({"mapping": "measured", "chunk": 2}, 'chunk must be None where the mapping is "measured", got 2'),
    ],
)
def test_wrong_mappings(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)
