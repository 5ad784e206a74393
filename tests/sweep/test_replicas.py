"""Replicas: a lane reads its own training set through an index, and predictions of all settings come out."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import regopt
from regopt import sweep
from regopt._core.types import Task
from regopt.data import Splits, batch_indices, bootstrap
from regopt.layers import MLP
from regopt.losses import accuracy, cross_entropy
from regopt.sweep.engine._group import Group
from regopt.sweep.results._history import History

pytestmark = pytest.mark.usefixtures("one_segment_a_call")

RNG = np.random.default_rng(2)
X = RNG.normal(size=(60, 6)).astype(np.float32)
Y = (X @ RNG.normal(size=(6, 3))).argmax(axis=1).astype(np.int32)
DATA = Splits((X[:40], Y[:40]), (X[40:], Y[40:]))
POINTS = X[40:47]
SCHEDULE = {"steps": 12, "eval_every": 4, "batch_size": 10, "chunk": 3}
RESAMPLES = RNG.integers(0, 40, size=(3, 25))  # a bootstrap of another size than the training set
RATES = np.geomspace(1e-3, 0.3, 11)
REPLICA = np.arange(11) % 3
SEED = np.array([4, 4, 4, 9, 9, 9, 7, 7, 7, 5, 5])


def network(h, rngs):
    return MLP((6, {"narrow": 4, "wide": 9}[h.get("width", "wide")], 3), rate=h.get("rate"), rngs=rngs)


TASK = sweep.supervised(
    network, cross_entropy, lambda h: regopt.adam(h["learning_rate"]), metrics={"accuracy": accuracy}
)


def run(columns, task=TASK, data=DATA, **options):
    return sweep.run(task, sweep.from_columns(columns), data, **(SCHEDULE | options))


def replicated(columns=None, **options):
    return run({"learning_rate": RATES, "replica": REPLICA, **(columns or {})}, **({"resamples": RESAMPLES} | options))


def interrupt_after(monkeypatch, count):
    """Ctrl-C when so many chunks have been written down."""
    reports, add = [], History.add

    def add_and_interrupt(self, *report):
        add(self, *report)
        reports.append(report)
        if len(reports) == count:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(History, "add", add_and_interrupt)


@pytest.mark.parametrize(
    ("extra", "batch_size"),
    [pytest.param({}, 10, marks=pytest.mark.long), ({"seed": SEED}, 10), ({"rate": [0.3] * 11}, 25), ({}, None)],
)
def test_a_replica_is_a_run_on_a_copy_of_its_training_set(extra, batch_size):
    """To a few roundings: XLA lays a batch that all lanes share out in another way."""
    columns = {"learning_rate": RATES, **extra}
    outcome = replicated(extra, batch_size=batch_size)
    for replica in (0, 2):
        places = RESAMPLES[replica]
        copied = DATA._replace(train=(X[:40][places], Y[:40][places]))
        alone = run(columns, data=copied, batch_size=batch_size)
        rows = replica == REPLICA
        for name, curve in alone.history.curves.items():
            np.testing.assert_allclose(outcome.history.curves[name][rows], curve[rows], rtol=2e-6, err_msg=name)
    full = run(columns, batch_size=batch_size).history.curves["train_loss"][:, -1]
    assert np.abs(full - outcome.history.curves["train_loss"][:, -1]).min() > 1e-4  # no resample is the whole


def reading():
    """A task whose state is the last batch it saw."""

    def init(key, h):
        return jnp.zeros(10, jnp.int32)

    def step(state, batch, key, h):
        return batch, {"loss": jnp.float32(0.0)}

    def evaluate(state, data, h):
        return {"validation_loss": jnp.float32(0.0)}

    return Task(init, step, evaluate, lambda state, inputs, h: state)


def test_a_batch_is_exactly_its_places_in_the_order_of_the_seed():
    """The examples are their own numbers, so every batch shows what it read."""
    data = Splits(np.arange(100, 140, dtype=np.int32), X)
    seen = replicated({"seed": SEED}, task=reading(), data=data).predict(X)
    key = jax.random.fold_in(jax.random.key(0), 1)
    for row in range(11):
        order = batch_indices(jax.random.fold_in(key, SEED[row]), 0, 12, examples=25, batch_size=10)
        np.testing.assert_array_equal(seen[row], 100 + RESAMPLES[REPLICA[row]][order[11]])


def test_replicas_with_one_seed_share_start_and_order():
    data = Splits(np.arange(40, dtype=np.int32), X)
    seen = replicated(task=reading(), data=data, resamples=np.arange(75).reshape(3, 25) % 25 + [[0], [5], [15]])
    np.testing.assert_array_equal(
        np.unique(seen.predict(X) - np.array([0, 5, 15])[REPLICA][:, None], axis=0).shape[0], 1
    )
    untouched = run({"learning_rate": [0.0, 0.0], "replica": [0, 2]}, resamples=RESAMPLES).predict(POINTS)
    np.testing.assert_array_equal(untouched[0], untouched[1])


def test_a_replica_is_blind_to_the_company():
    outcome = replicated()
    for row in (0, 4, 10):
        alone = outcome.refit(row)
        for name, curve in outcome.history.curves.items():
            np.testing.assert_array_equal(alone.history.curves[name][row], curve[row])
        np.testing.assert_array_equal(alone.predict(POINTS)[row], outcome.predict(POINTS)[row])
        assert np.isnan(np.delete(alone.predict(POINTS), row, axis=0)).all()
    poisoned = replicated({"learning_rate": np.where(np.arange(11) == 3, 1e30, RATES)})
    assert poisoned.status[3] == "diverged"
    others = np.arange(11) != 3
    np.testing.assert_array_equal(poisoned.predict(POINTS)[others], outcome.predict(POINTS)[others])
    elsewhere = RESAMPLES.copy()
    elsewhere[2] = 39 - elsewhere[2]
    changed = replicated(resamples=elsewhere).history.curves["validation_loss"]
    same = REPLICA != 2
    np.testing.assert_array_equal(changed[same], outcome.history.curves["validation_loss"][same])
    assert (changed[~same] != outcome.history.curves["validation_loss"][~same]).all()


def test_the_resamples_are_no_part_of_a_lane(monkeypatch):
    """Neither the buffer nor the temporaries grow with the number of replicas, and groups share the arrays."""
    groups = []
    clear = Group.clear

    def spy(self):
        clear(self)
        if self not in groups:
            groups.append(self)

    monkeypatch.setattr(Group, "clear", spy)
    few = replicated()
    many = replicated(resamples=np.tile(RESAMPLES, (50, 1)))
    assert many.temporary_bytes == few.temporary_bytes
    assert jax.tree.map(jnp.shape, groups[0].held.buffer) == jax.tree.map(jnp.shape, groups[1].held.buffer)
    groups.clear()
    replicated({"width": ["narrow", "wide"] * 5 + ["wide"]})
    first, second = ({id(x) for x in jax.tree.leaves(group._shared)} for group in groups)
    assert first == second


@pytest.mark.parametrize("options", [{}, {"patience": 1, "steps": 32}])
def test_predictions_are_those_of_the_kept_states(options):
    columns = {"learning_rate": np.geomspace(0.1, 2.0, 11), "rate": [0.4] * 11}
    outcome = replicated(columns, **options)
    predictions = outcome.predict(POINTS)
    assert predictions.shape == (11, 7, 3)
    assert predictions.dtype == np.float32
    for row in range(11):
        expected = TASK.predict(outcome.state(row), POINTS, outcome.history.settings.row(row))
        np.testing.assert_allclose(predictions[row], expected, rtol=2e-5, atol=2e-5)
    if options:
        assert (outcome.kept_step < outcome.history.last_step).any()


def test_predictions_are_what_the_evaluation_measures():
    outcome = replicated({"rate": [0.4] * 11})
    losses = [cross_entropy(outputs, Y[40:]) for outputs in outcome.predict(X[40:])]
    np.testing.assert_allclose(losses, outcome.kept_metrics()["validation_loss"], rtol=1e-5)


def test_static_values_predict_in_their_own_program_compiled_once():
    traces = []

    def predict(state, inputs, h):
        traces.append(h["width"])
        return TASK.predict(state, inputs, h)

    columns = {"width": ["narrow", "wide", "wide"] * 3 + ["narrow"] * 2, "learning_rate": RATES.copy()}
    columns["learning_rate"][1] = np.inf
    outcome = replicated(columns, task=TASK._replace(predict=predict))
    predictions = outcome.predict(POINTS)
    assert np.isnan(predictions[1]).all()
    for row in np.delete(np.arange(11), 1):
        expected = TASK.predict(outcome.state(row), POINTS, outcome.history.settings.row(row))
        np.testing.assert_allclose(predictions[row], expected, rtol=1e-5, atol=1e-6)
    outcome.predict(POINTS + 1)
    outcome.refit(3).predict(POINTS)
    assert sorted(traces) == ["narrow", "wide"]


def test_diverged_settings_predict_nan():
    outcome = replicated({"learning_rate": np.where(REPLICA == 1, np.inf, RATES)})
    bad = np.isnan(outcome.predict(POINTS))
    np.testing.assert_array_equal(bad, np.broadcast_to((REPLICA == 1)[:, None, None], bad.shape))
    nothing = replicated({"learning_rate": [np.nan] * 11})
    assert nothing.predict(POINTS).shape == (11, 7, 3)
    assert np.isnan(nothing.predict(POINTS)).all()


def test_an_interrupted_result_predicts_what_was_trained(monkeypatch):
    interrupt_after(monkeypatch, 1)
    outcome = replicated({"learning_rate": [0.01] * 11}, chunk=1)
    assert outcome.interrupted
    trained = outcome.history.last_step > 0
    assert 0 < trained.sum() < 11
    np.testing.assert_array_equal(np.isfinite(outcome.predict(POINTS)).all(axis=(1, 2)), trained)


def test_integer_outputs_leave_room_for_nan():
    def labels(state, inputs, h):
        return jnp.argmax(TASK.predict(state, inputs, h), axis=-1)

    predictions = replicated(
        {"learning_rate": np.where(REPLICA == 1, np.inf, RATES)}, task=TASK._replace(predict=labels)
    )
    outputs = predictions.predict(POINTS)
    assert np.isnan(outputs[REPLICA == 1]).all()
    assert set(np.unique(outputs[REPLICA != 1])) <= {0.0, 1.0, 2.0}


def test_a_task_that_cannot_predict_says_so():
    outcome = replicated(task=TASK._replace(predict=None))
    with pytest.raises(ValueError, match="the task has no predict: give it a function"):
        outcome.predict(POINTS)
    two = TASK._replace(predict=lambda state, inputs, h: {"mean": inputs, "spread": inputs})
    with pytest.raises(ValueError, match=r"task\.predict must return one array, got PyTreeDef"):
        replicated(task=two).predict(POINTS)
    wide = TASK._replace(predict=lambda state, inputs, h: inputs[:, : 2 if h["width"] == "wide" else 3])
    with pytest.raises(ValueError, match=r"one shape for all settings, got \[\(7, 3\), \(7, 2\)\]"):
        replicated({"width": ["narrow", "wide"] * 5 + ["wide"]}, task=wide).predict(POINTS)


def test_the_axes_of_replicate_are_settings_replicas_seeds_and_points():
    space = {"learning_rate": sweep.choice([0.01, 0.1]), "width": sweep.static(["narrow", "wide"])}
    predictions, result = sweep.replicate(
        TASK, space, DATA, RESAMPLES, seeds=2, inputs=POINTS, key=jax.random.key(3), **SCHEDULE
    )
    assert predictions.shape == (4, 3, 2, 7, 3)
    assert len(result.history.settings) == 24
    listed = sweep.grid(space)
    for s, r, k in ((0, 0, 1), (1, 2, 0), (2, 1, 1), (3, 2, 1)):
        columns = {name: [value] for name, value in listed.row(s).items()}
        copied = DATA._replace(train=(X[:40][RESAMPLES[r]], Y[:40][RESAMPLES[r]]))
        alone = run({**columns, "seed": [k]}, data=copied, key=jax.random.key(3))
        np.testing.assert_allclose(predictions[s, r, k], alone.predict(POINTS)[0], rtol=1e-4, atol=1e-5)


def test_one_seed_varies_nothing_but_the_training_set():
    settings = sweep.from_columns({"learning_rate": [0.01, 0.05]})
    rows = np.stack([RESAMPLES[0], RESAMPLES[0], RESAMPLES[1]])
    predictions, _ = sweep.replicate(TASK, settings, DATA, rows, inputs=POINTS, **SCHEDULE)
    assert predictions.shape == (2, 3, 1, 7, 3)
    np.testing.assert_allclose(predictions[:, 0], predictions[:, 1], rtol=1e-5, atol=1e-6)
    assert np.abs(predictions[:, 0] - predictions[:, 2]).max() > 1e-3


def test_an_interrupted_replication_keeps_its_shape(monkeypatch):
    interrupt_after(monkeypatch, 2)
    settings = sweep.from_columns({"learning_rate": [0.01, 0.05]})
    options = {**SCHEDULE, "chunk": 1, "devices": jax.local_devices()[:1]}
    predictions, result = sweep.replicate(TASK, settings, DATA, RESAMPLES, inputs=POINTS, **options)
    assert result.interrupted
    assert predictions.shape == (2, 3, 1, 7, 3)
    finite = np.isfinite(predictions).all(axis=(2, 3, 4))
    np.testing.assert_array_equal(finite, [[True, True, True], [False, False, False]])


def test_replicas_are_a_crossed_dimension():
    space = {"learning_rate": sweep.log_uniform(0.01, 0.1), "replica": sweep.replicas(3), "seed": sweep.seeds(2)}
    settings = sweep.random(space, 4)
    assert len(settings) == 24
    assert settings.numbers["replica"].tolist() == [0, 0, 1, 1, 2, 2] * 4
    assert settings.numbers["seed"].tolist() == [0, 1] * 12
    assert len(np.unique(settings.numbers["learning_rate"])) == 4
    assert len(sweep.grid(space, points=5)) == 30
    with pytest.raises(ValueError, match=r"count must be a whole number in \[1, inf\), got 0"):
        sweep.replicas(0)


def test_a_resample_maker_feeds_a_sweep_and_any_whole_dtype_will_do():
    rows = bootstrap(jax.random.key(5), 3, 40)
    first = replicated(resamples=rows).history.curves["validation_loss"]
    for other in (np.asarray(rows, np.uint8), np.asarray(rows).tolist()):
        np.testing.assert_array_equal(replicated(resamples=other).history.curves["validation_loss"], first)


WHOLE = r"resamples must be whole numbers \[replicas, examples\], got "


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"resamples": None}, r"the column replica needs resamples, \[replicas, examples\]"),
        ({}, {"resamples": RESAMPLES[0]}, WHOLE + r"int64 of shape \(25,\)"),
        ({}, {"resamples": RESAMPLES * 1.0}, WHOLE + r"float64 of shape \(3, 25\)"),
        ({}, {"resamples": RESAMPLES > 3}, WHOLE + r"bool of shape \(3, 25\)"),
        ({}, {"resamples": np.zeros((3, 0), int)}, WHOLE + r"int64 of shape \(3, 0\)"),
        ({}, {"resamples": [[0, 1], [2]]}, WHOLE + "rows of several lengths"),
        ({}, {"resamples": RESAMPLES - 30}, r"resamples must lie in \[0, 39\], the places of data.train, got -\d+"),
        ({}, {"resamples": RESAMPLES * 0 + 40}, r"resamples must lie in \[0, 39\], the places of data.train, got 40"),
        ({"replica": [0.5] * 11}, {}, "the column replica must hold whole numbers, got 0.5"),
        ({"replica": ["a"] * 11}, {}, "the column replica must hold whole numbers, got a"),
        ({"replica": [3] * 11}, {}, r"the column replica must lie in \[0, 2\], the rows of resamples, got 3"),
        ({"replica": [-1] * 11}, {}, r"the column replica must lie in \[0, 2\], the rows of resamples, got -1"),
        ({}, {"batch_size": 26}, r"batch_size must lie in \[1, 25\], the number of examples, got 26"),
    ],
)
def test_bad_resamples_are_named(columns, options, message):
    with pytest.raises(ValueError, match=message):
        replicated(columns, **options)


def test_resamples_need_a_column_and_replicate_makes_its_own():
    with pytest.raises(ValueError, match="resamples need a column replica in the settings"):
        run({"learning_rate": RATES}, resamples=RESAMPLES)
    settings = sweep.from_columns({"learning_rate": [0.1], "seed": [1]})
    with pytest.raises(ValueError, match="settings must have no column seed"):
        sweep.replicate(TASK, settings, DATA, RESAMPLES, inputs=POINTS, **SCHEDULE)
    settings = sweep.from_columns({"learning_rate": [0.1]})
    with pytest.raises(ValueError, match=WHOLE + r"object of shape \(\)"):
        sweep.replicate(TASK, settings, DATA, None, inputs=POINTS, **SCHEDULE)
    with pytest.raises(ValueError, match=r"seeds must be a whole number in \[1, inf\), got 0"):
        sweep.replicate(TASK, settings, DATA, RESAMPLES, seeds=0, inputs=POINTS, **SCHEDULE)
    with pytest.raises(ValueError, match="the task has no predict"):
        sweep.replicate(TASK._replace(predict=None), settings, DATA, RESAMPLES, inputs=POINTS, **SCHEDULE)
