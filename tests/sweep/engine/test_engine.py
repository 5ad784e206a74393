"""The engine: equal to a loop, blind to the company, and exact in what it records."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from regopt import sweep
from regopt._core.types import Task
from regopt.data import Splits, batch_indices
from regopt.losses import cross_entropy
from regopt.sweep.engine import _compile
from regopt.sweep.engine._program import common_batches
from regopt.sweep.results._history import History
from support.small_sweep import DATA, NUMBERS, SCHEDULE, TASK, X, Y, network, optimizer, same_bits


def run(columns=NUMBERS, task=TASK, **options):
    return sweep.run(task, sweep.from_columns(columns), DATA, **(SCHEDULE | {"chunk": 3} | options))


@pytest.fixture(scope="module")
def result():
    """Eleven settings on two devices, three at a time: the last call has padding on both devices."""
    return run()


def trained_alone(h, *, steps=12, seed=None):
    """The same training as a plain loop over steps, without vmap and without the engine."""
    init_key, data_key, noise_key = (jax.random.fold_in(jax.random.key(0), purpose) for purpose in range(3))
    if seed is not None:
        init_key, data_key = (jax.random.fold_in(key, seed) for key in (init_key, data_key))
    state = TASK.init(init_key, h)
    order = batch_indices(data_key, 0, steps, examples=40, batch_size=10)
    step = jax.jit(lambda state, batch, key: TASK.step(state, batch, key, h))
    losses = []
    for number, rows in enumerate(order):
        state, metrics = step(state, (X[rows], Y[rows]), jax.random.fold_in(noise_key, number))
        losses.append(float(metrics["loss"]))
    return state, losses, TASK.evaluate(state, DATA, h)


@pytest.mark.parametrize("row", [0, 4, 10])
def test_a_lane_is_the_plain_loop_over_its_setting(result, row):
    state, losses, measured = trained_alone(sweep.from_columns(NUMBERS).row(row))
    curves = result.history.curves
    np.testing.assert_allclose(curves["train_loss"][row], np.reshape(losses, (3, 4)).mean(axis=1), rtol=2e-5)
    for name, value in measured.items():
        np.testing.assert_allclose(curves[name][row, -1], value, rtol=2e-5)
    kept = result.state(row).params
    for ours, theirs in zip(jax.tree.leaves(kept), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_lanes_without_seeds_read_one_order_of_batches_and_those_with_seeds_have_their_own(result):
    group = result.states._groups[0]
    constants = group._given(np.arange(2))
    order = batch_indices(jax.random.fold_in(jax.random.key(0), 1), 4, 4, examples=40, batch_size=10)
    np.testing.assert_array_equal(common_batches(group.recipe, constants, 4, group._shared), order)
    with_seeds = constants._replace(numbers={**constants.numbers, "seed": jnp.arange(2)})
    assert common_batches(group.recipe, with_seeds, 4, group._shared) is None


def test_the_settings_are_trained_to_the_end_and_differ(result):
    assert set(result.status) == {"done"}
    assert not result.interrupted
    np.testing.assert_array_equal(result.history.last_step, 12)
    np.testing.assert_array_equal(result.history.steps, [4, 8, 12])
    final = result.history.curves["validation_loss"][:, -1]
    assert len(np.unique(final)) == 11


def test_a_setting_alone_has_the_bits_it_had_among_all(result):
    for row in (0, 5, 10):
        alone = result.refit(row)
        same_bits(result, alone, [row])
        others = np.delete(np.arange(11), row)
        assert np.isnan(alone.history.curves["validation_loss"][others]).all()
        for a, b in zip(jax.tree.leaves(alone.state(row)), jax.tree.leaves(result.state(row)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("poison", [{"learning_rate": 1e30}, {"weight_decay": np.nan}, {"learning_rate": np.inf}])
def test_a_diverging_setting_changes_no_bit_of_the_others(result, poison):
    columns = {name: values.copy() for name, values in NUMBERS.items()}
    for name, value in poison.items():
        columns[name][[0, 7]] = value
    poisoned = run(columns)
    np.testing.assert_array_equal(poisoned.status[[0, 7]], "diverged")
    assert set(np.delete(poisoned.status, [0, 7])) == {"done"}
    same_bits(result, poisoned, np.delete(np.arange(11), [0, 7]))
    assert poisoned.best().index not in (0, 7)


def test_the_same_run_twice_has_the_same_bits(result):
    same_bits(result, run(), np.arange(11))


def test_a_lane_keeps_its_slot_whoever_trains(result):
    seats = result.history.seats
    np.testing.assert_array_equal(seats, seats[:, :1].repeat(3, 1))
    np.testing.assert_array_equal(seats[:, 0], np.arange(11) % 2 * 3 + np.arange(11) // 2 % 3)
    assert jax.local_device_count() == 2
    for row in range(11):
        np.testing.assert_array_equal(result.refit(row).history.seats[row], seats[row])


def counting():
    """A task without a network: the state counts steps, and everything it measures is scripted by ``h``."""

    def init(key, h):
        del key, h
        return {"count": jnp.zeros((), jnp.int32)}

    def step(state, batch, key, h):
        del batch, key
        count = state["count"] + 1
        return {"count": count}, {"loss": jnp.where(count == h["bad_step"], jnp.nan, 1.0 / count.astype(float))}

    def evaluate(state, data, h):
        del data
        gap = state["count"].astype(float) - h["optimum"]
        return {"validation_loss": gap * gap}

    return Task(init, step, evaluate)


@pytest.mark.parametrize("bad_step", [1, 3, 4, 5, 12])
def test_the_first_bad_step_is_recorded_exactly(bad_step):
    columns = {"bad_step": [0, bad_step, 0], "optimum": [100.0, 100.0, 100.0]}
    outcome = run(columns, counting())
    table = outcome.to_pandas()
    assert list(table["status"]) == ["done", "diverged", "done"]
    assert table["first_bad_step"].isna().tolist() == [True, False, True]
    assert table["first_bad_step"][1] == bad_step
    segment = -(-bad_step // 4)
    assert table["last_step"][1] == 4 * segment
    assert np.isnan(outcome.history.curves["validation_loss"][1, segment:]).all()
    trained = np.arange(3) < outcome.history.segments[:, None]
    np.testing.assert_array_equal(outcome.history.seats >= 0, trained)  # none is planned beyond the end
    np.testing.assert_allclose(
        outcome.history.curves["train_loss"][0], [np.mean(1 / np.arange(i, i + 4)) for i in (1, 5, 9)], rtol=1e-6
    )


def test_a_bad_evaluation_or_state_counts_as_its_segments_last_step():
    columns = {"bad_step": [0, 0], "optimum": [5.0, np.inf]}
    assert run(columns, counting()).history.first_bad_step.tolist() == [0, 4]


def test_patience_is_a_number_of_the_setting():
    """The loss falls to a minimum at step 8 or 16 and rises after it; evaluations are at 4, 8, ..., 40."""
    columns = {"bad_step": [0] * 4, "optimum": [8.0, 8.0, 16.0, 100.0], "patience": [1, 3, 2, 2]}
    outcome = run(columns, counting(), steps=40, patience=lambda h: h["patience"])
    assert list(outcome.status) == ["stopped", "stopped", "stopped", "done"]
    np.testing.assert_array_equal(outcome.history.last_step, [12, 20, 24, 40])
    np.testing.assert_array_equal(outcome.kept_step, [8, 8, 16, 40])
    assert [int(outcome.state(row)["count"]) for row in range(4)] == [8, 8, 16, 40]
    assert outcome.to_pandas()["validation_loss"].tolist() == [0.0, 0.0, 0.0, 3600.0]
    assert np.isnan(outcome.history.curves["validation_loss"][0, 3:]).all()


def test_stopped_settings_do_not_change_the_others():
    """Who stops early leaves the seats of the others as they were."""
    columns = {**NUMBERS, "learning_rate": np.geomspace(0.3, 3.0, 11)}  # so large that the loss goes up and down
    patient = run(columns, steps=32, patience=100)
    hasty_columns = {**columns, "patience": [1 if row % 2 else 100 for row in range(11)]}
    hasty = run(hasty_columns, steps=32, patience=lambda h: h["patience"])
    assert np.sum(hasty.status[1::2] == "stopped") >= 3
    same_bits(patient, hasty, np.arange(0, 11, 2))


def test_static_values_are_groups_of_one_program_each():
    traces = []

    def watched(h, rngs):
        traces.append(h["width"])
        return network(h, rngs)

    task = sweep.supervised(watched, cross_entropy, optimizer)
    columns = {"learning_rate": [0.01, 0.02, 0.03, 0.04, 0.05], "width": ["narrow", "wide", "narrow", "wide", "wide"]}
    widths = {"narrow": 4, "wide": 9}
    task = sweep.supervised(lambda h, rngs: watched({**h, "width": widths[h["width"]]}, rngs), cross_entropy, optimizer)
    outcome = run(columns, task)
    sizes = [jax.tree.leaves(outcome.state(row).params)[0].shape for row in range(5)]
    assert sizes == [(4,), (9,), (4,), (9,), (9,)]
    assert set(outcome.status) == {"done"}
    assert len(np.unique(outcome.history.curves["validation_loss"][:, -1])) == 5


def test_static_values_that_compare_equal_have_programs_of_their_own():
    def init(key, h):
        del key
        return {"w": jnp.full(2, 10.0 if h["flag"] is True else 20.0)}

    def step(state, batch, key, h):
        del batch, key, h
        return state, {"loss": jnp.sum(state["w"])}

    task = Task(init, step, lambda state, data, h: {"validation_loss": state["w"][0]})
    outcome = run({"flag": [1, True, 1.0], "learning_rate": [0.1] * 3}, task)
    np.testing.assert_array_equal(outcome.history.curves["validation_loss"][:, -1], [20, 10, 20])


def test_a_setting_trained_again_alone_is_the_only_one_with_a_state():
    outcome = run({"learning_rate": [0.01, 0.02, 0.03, 0.04], "kind": ["a", "b", "a", "b"]})
    alone = outcome.refit(3)
    assert alone.status.tolist() == ["unfinished"] * 3 + ["done"]
    same_bits(outcome, alone, [3])
    for row in range(3):
        with pytest.raises(ValueError, match=f"the state of setting {row} is not kept"):
            alone.state(row)


def test_one_trace_serves_all_values_and_all_segments():
    traces = []

    def counted():
        def step(state, batch, key, h):
            traces.append(1)
            return TASK.step(state, batch, key, h)

        return TASK._replace(step=step)

    outcome = run(task=counted())
    first = len(traces)
    outcome.refit(3)
    assert len(traces) == first
    many = {name: np.resize(values, 50) for name, values in NUMBERS.items()}
    traces.clear()
    run(many, counted(), steps=24)
    assert len(traces) == first


def test_seeds_decide_the_initial_state_and_the_order_of_the_data():
    columns = {"learning_rate": [0.02] * 4, "seed": [5, 6, 5, 7]}
    outcome = run(columns)
    final = outcome.history.curves["validation_loss"][:, -1]
    np.testing.assert_allclose(final[0], final[2], rtol=1e-6)  # another slot, so equal to rounding only
    assert len(np.unique(final[[0, 1, 3]])) == 3
    for row, seed in ((1, 6), (3, 7)):
        _, _, measured = trained_alone(outcome.history.settings.row(row), seed=seed)
        np.testing.assert_allclose(final[row], measured["validation_loss"], rtol=2e-5)


def test_without_seeds_all_settings_share_start_and_data():
    outcome = run({"learning_rate": [0.02] * 5})
    final = outcome.history.curves["validation_loss"][:, -1]
    np.testing.assert_allclose(final, final[0], rtol=1e-6)


@pytest.mark.parametrize(("noise", "distinct"), [("shared", 1), ("per lane", 4)])
def test_noise_is_shared_by_default_and_a_lanes_own_on_request(noise, distinct):
    columns = {"learning_rate": [0.02] * 4, "rate": [0.5] * 4}
    final = run(columns, noise=noise).history.curves["train_loss"][:, -1]
    assert len(np.unique(np.round(final, 5))) == distinct


def test_the_dropout_rate_is_a_number_of_the_setting():
    outcome = run({"learning_rate": [0.02] * 4, "rate": [0.0, 0.3, 0.9, 1.0]})
    losses = outcome.history.curves["train_loss"][:, 0]
    plain = run({"learning_rate": [0.02]}).history.curves["train_loss"][0, 0]
    np.testing.assert_allclose(losses[0], plain, rtol=1e-5)
    assert len(np.unique(losses)) == 4
    assert np.isfinite(losses).all()


@pytest.mark.usefixtures("one_segment_a_call")
def test_ctrl_c_ends_the_sweep_with_the_table_so_far(monkeypatch, result):
    reports = []
    add = History.add

    def add_and_interrupt(self, *report):
        add(self, *report)
        reports.append(report)
        if len(reports) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(History, "add", add_and_interrupt)
    before = signal.getsignal(signal.SIGINT)
    outcome = run()
    assert outcome.interrupted
    assert len(reports) == 4  # the third, and the chunk that was in flight
    assert set(outcome.status) == {"unfinished"}
    trained = ~np.isnan(outcome.history.curves["validation_loss"])
    counts = [int(outcome.state(row).opt_state[0].count) for row in range(11)]
    np.testing.assert_array_equal(counts, outcome.history.last_step)  # no state is ahead of its record
    np.testing.assert_array_equal(
        outcome.history.curves["validation_loss"][trained], result.history.curves["validation_loss"][trained]
    )
    assert len(outcome.to_pandas()) == 11
    assert np.isfinite(outcome.best().metrics["validation_loss"])
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_is_not_held_back(monkeypatch):
    def interrupt_twice(self, *report):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(History, "add", interrupt_twice)
    with pytest.raises(KeyboardInterrupt):
        run()


def test_temporary_memory_grows_with_the_chunk_and_not_with_the_settings():
    def temporary(settings, chunk):
        columns = {"learning_rate": np.geomspace(1e-3, 0.1, settings)}
        return run(columns, chunk=chunk, steps=4).temporary_bytes

    assert temporary(64, 4) == pytest.approx(temporary(16, 4), rel=0.02)
    assert temporary(64, 8) == pytest.approx(2 * temporary(64, 4), rel=0.2)


def test_the_program_has_no_transposes(monkeypatch):
    """On a CPU XLA would transpose the activations of a row-major network at every step."""
    programs = []
    compile_group = _compile.compile_programs

    def spy(form, executables):
        made = compile_group(form, executables)
        programs.append(made.segment.as_text())
        return made

    def loop_transposes(task):
        programs.clear()
        run({"learning_rate": np.geomspace(0.01, 0.1, 8)}, task, chunk=4)
        lines = [line for line in programs[0].splitlines() if " transpose(" in line]
        return [line for line in lines if line.count("while/body") > 1 and "f32" in line]  # segments, then steps

    monkeypatch.setattr(_compile, "compile_programs", spy)
    assert loop_transposes(TASK) == []

    class RowMajor(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            return self.last(jax.nn.relu(self.first(x)))

    row_major = sweep.supervised(lambda h, rngs: RowMajor(rngs), cross_entropy, optimizer)
    assert loop_transposes(row_major) != []  # so the test sees transposes where there are some


def test_every_step_may_see_all_examples():
    outcome = run({"learning_rate": [0.02, 0.05]}, batch_size=None)
    h = {"learning_rate": 0.02}
    state = TASK.init(jax.random.fold_in(jax.random.key(0), 0), h)
    step = jax.jit(TASK.step)
    for _ in range(12):
        state, _ = step(state, DATA.train, jax.random.key(1), h)
    expected = TASK.evaluate(state, DATA, h)["validation_loss"]
    np.testing.assert_allclose(outcome.history.curves["validation_loss"][0, -1], expected, rtol=2e-5)


def test_an_optimizer_of_optax_with_extra_arguments_works():
    task = sweep.supervised(
        network, cross_entropy, lambda h: optax.chain(optax.clip(1.0), optax.sgd(h["learning_rate"], momentum=0.9))
    )
    with jax.numpy_dtype_promotion("standard"):
        outcome = run({"learning_rate": [0.01, 0.1, 0.2]}, task)
    assert set(outcome.status) == {"done"}
    curve = outcome.history.curves["train_loss"]
    assert np.all(curve[:, -1] < curve[:, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 13}, r"steps must be a multiple of eval_every = 4, got 13; 16 would do"),
        ({"steps": 0}, r"steps must be a whole number in \[1, inf\), got 0"),
        ({"steps": 4.0}, r"steps must be a whole number in \[1, inf\), got 4.0"),
        ({"eval_every": -1}, r"eval_every must be a whole number in \[1, inf\), got -1"),
        ({"batch_size": 41}, r"batch_size must lie in \[1, 40\], the number of examples, got 41"),
        ({"chunk": 0}, r"chunk must be a whole number in \[1, inf\), got 0"),
        ({"noise": "none"}, 'noise must be "shared" or "per lane", got \'none\''),
        ({"mode": "best"}, 'mode must be "min" or "max", got \'best\''),
        ({"monitor": "loss"}, r"monitor must be one of \[.*'validation_loss'.*\], got 'loss'"),
        ({"patience": -1}, r"patience must lie in \[0, inf\), got -1"),
        ({"key": 0}, r"key must be a typed key, as jax.random.key\(0\) is, got 0"),
        ({"devices": []}, r"devices must be a list of at least one device, got \[\]"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        run({"learning_rate": [0.1]}, **options)


@pytest.mark.parametrize("name", ["learning_rate", "train_loss", "status", "step"])
def test_metrics_and_columns_have_names_of_their_own(name):
    column = {"learning_rate": [0.1], "train_loss": [0.2]}
    reports = TASK if name == "train_loss" else extended_by(name)
    with pytest.raises(ValueError, match=f"a metric must not be named '{name}'"):
        run(column if name == "train_loss" else {"learning_rate": [0.1]}, reports)


def test_an_evaluation_does_not_replace_a_mean_of_training():
    with pytest.raises(ValueError, match="an evaluation must not report train_loss"):
        run({"learning_rate": [0.1]}, extended_by("train_loss"))


def extended_by(name):
    return TASK._replace(evaluate=lambda *given: TASK.evaluate(*given) | {name: jnp.float32(1)})


@pytest.mark.parametrize("where", ["step", "evaluate"])
def test_metrics_are_real(where):
    def with_phase(*given):
        result = getattr(TASK, where)(*given)
        phase = {"phase": jnp.complex64(0.5 + 0.5j)}
        return (result[0], result[1] | phase) if where == "step" else result | phase

    with pytest.raises(ValueError, match="the metric phase must be real, got complex64: take its absolute value or"):
        run({"learning_rate": [0.1]}, TASK._replace(**{where: with_phase}))


def test_metrics_and_patience_are_scalars():
    def step(*given):
        state, metrics = TASK.step(*given)
        return state, metrics | {"norms": jnp.ones(SCHEDULE["eval_every"])}

    with pytest.raises(ValueError, match=r"the metric norms must be a scalar of one setting, got shape \(4,\)"):
        run({"learning_rate": [0.1]}, TASK._replace(step=step))
    with pytest.raises(ValueError, match=r"patience must be one number for each setting, got shape \(2,\)"):
        run({"learning_rate": [0.1]}, patience=lambda h: jnp.ones(2))


def test_a_leaf_without_elements_is_named_where_it_cannot_be_spread():
    def init(key, h):
        return {"task": TASK.init(key, h), "none": jnp.zeros((0, 3))}

    def step(state, batch, key, h):
        after, metrics = TASK.step(state["task"], batch, key, h)
        return {**state, "task": after}, metrics

    task = Task(init, step, lambda state, data, h: TASK.evaluate(state["task"], data, h))
    with pytest.raises(ValueError, match=r"elements in every leaf, got none of shape \(0, 3\)"):
        run({"learning_rate": [0.1]}, task)
    assert run({"learning_rate": [0.1]}, task, devices=jax.devices()[:1]).status == "done"


def test_a_seed_must_be_whole():
    with pytest.raises(ValueError, match="the column seed must hold whole numbers"):
        run({"learning_rate": [0.1, 0.2], "seed": [0.5, 1.0]})


def test_settings_are_checked():
    with pytest.raises(ValueError, match="settings must come from grid, random, sobol or from_columns"):
        sweep.run(TASK, {"learning_rate": [0.1]}, DATA, **SCHEDULE)  # pyright: ignore
    with pytest.raises(ValueError, match=r"whole numbers must lie in .*, got 1099511627776 in the column seed"):
        run({"learning_rate": [0.1], "seed": [2**40]})


def test_the_monitor_may_be_an_accuracy():
    """The larger the better, for early stopping and for the best, without being told."""
    outcome = run(steps=24, patience=2, monitor="validation_accuracy")
    accuracy_curves = outcome.history.curves["validation_accuracy"]
    best_step = outcome.history.steps[np.nanargmax(accuracy_curves, axis=1)]
    np.testing.assert_array_equal(outcome.kept_step, best_step)
    assert outcome.best().metrics["validation_accuracy"] == np.nanmax(accuracy_curves)


def extended(task, extra):
    """The task with more in its state, which no step touches."""

    def step(state, batch, key, h):
        after, metrics = task.step(state, batch, key, h)
        return {**state, **after}, metrics

    return task._replace(init=lambda key, h: task.init(key, h) | extra(key), step=step)


def test_a_constant_infinity_in_the_state_is_no_divergence():
    task = extended(counting(), lambda _: {"mask": jnp.array([0.0, -jnp.inf])})
    assert list(run({"bad_step": [0, 3], "optimum": [5.0, 5.0]}, task).status) == ["done", "diverged"]


def test_a_state_may_hold_a_key():
    task = extended(counting(), lambda key: {"key": key})
    with jax.debug_key_reuse(False):  # the state and the best state hold the same key
        outcome = run({"bad_step": [0, 0], "optimum": [5.0, 6.0]}, task, patience=3)
    assert jnp.issubdtype(outcome.state(1)["key"].dtype, jax.dtypes.prng_key)


def test_groups_may_measure_different_things():
    task = counting()

    def evaluate(state, data, h):
        extra = {"extra": jnp.float32(7.0)} if h["name"] == "b" else {}
        return task.evaluate(state, data, h) | extra

    columns = {"bad_step": [0, 0], "optimum": [5.0, 6.0], "name": ["a", "b"]}
    curve = run(columns, task._replace(evaluate=evaluate)).history.curves["extra"]
    assert np.isnan(curve[0]).all()
    assert (curve[1] == 7).all()


def test_bad_data_is_named():
    settings = sweep.from_columns({"learning_rate": [0.1]})
    with pytest.raises(ValueError, match="data must have a validation part"):
        sweep.run(TASK, settings, Splits((X, Y), None), **SCHEDULE)
    with pytest.raises(ValueError, match=r"the arrays of data.train must have the same length, got \[30, 40\]"):
        sweep.run(TASK, settings, Splits((X[:40], Y[:30]), (X, Y)), **SCHEDULE)
