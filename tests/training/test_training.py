"""Training one setting: Algorithms 7.1, 7.2 and 7.3 against loops in NumPy, and inside jit, vmap and grad."""

from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import regopt
from regopt import sweep
from regopt._core.types import Task
from regopt.data import Splits, batch_indices
from regopt.layers import MLP
from regopt.losses import cross_entropy, squared_error
from regopt.training import continue_training, fit, retrain

H = {"learning_rate": 0.1, "momentum": 0.8}
EVERY, BATCH = 5, 4


class Moving(NamedTuple):
    """Weights and their velocity: an optimizer's state that a resumed training must not lose."""

    w: Any
    velocity: Any


def _init(key, h):
    w = jax.random.normal(key, (8,))
    return Moving(w, jnp.zeros_like(w))


def _step(state, batch, key, h):
    x, y = batch
    residual = x @ state.w - y
    g = x.T @ residual / len(y)
    velocity = h["momentum"] * state.velocity - h["learning_rate"] * g
    return Moving(state.w + velocity, velocity), {"loss": jnp.mean(residual**2) / 2}


def _evaluate(state, data, h):
    x, y = data.validation
    return {"validation_loss": jnp.mean((x @ state.w - y) ** 2) / 2}


LEAST_SQUARES = Task(_init, _step, _evaluate)


def noisy(seed=0, train=14, validation=9):
    """Few noisy examples, so that the validation loss turns up again."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=8)
    x = rng.normal(size=(train + validation + 50, 8))
    y = x @ w + 2 * rng.normal(size=len(x))
    cuts = np.split(x, [train, train + validation]), np.split(y, [train, train + validation])
    return Splits(*zip(*cuts, strict=True))


def keys(seed):
    """The keys of initial state and order, as documented: the key folded with its purpose."""
    return [jax.random.fold_in(jax.random.key(seed), purpose) for purpose in (0, 1)]


class NumPy:
    """The same training in NumPy, one step at a time."""

    def __init__(self, seed, h=H):
        self.h, self.order = h, keys(seed)[1]
        self.w = np.asarray(jax.random.normal(keys(seed)[0], (8,)))
        self.velocity, self.i = np.zeros(8), 0

    def train(self, examples, steps, batch_size: int | None = BATCH):
        x, y = examples
        for _ in range(steps):
            rows = np.arange(len(y))
            if batch_size is not None:
                rows = np.asarray(batch_indices(self.order, self.i, 1, examples=len(y), batch_size=batch_size))[0]
            g = x[rows].T @ (x[rows] @ self.w - y[rows]) / len(rows)
            self.velocity = self.h["momentum"] * self.velocity - self.h["learning_rate"] * g
            self.w, self.i = self.w + self.velocity, self.i + 1

    def loss(self, examples):
        x, y = examples
        return np.mean((x @ self.w - y) ** 2) / 2


def algorithm_7_1(seed, data, patience, steps):
    """Goodfellow et al. (2016), Algorithm 7.1, ended at ``steps``: the best, its step and error, and all errors."""
    run = NumPy(seed)
    i, j, v, best, i_best, errors = 0, 0, np.inf, (run.w, run.velocity), 0, []
    while j < patience and i < steps:
        run.train(data.train, EVERY)
        i += EVERY
        errors.append(run.loss(data.validation))
        if errors[-1] < v:
            j, best, i_best, v = 0, (run.w, run.velocity), i, errors[-1]
        else:
            j += 1
    return best, i_best, v, errors, j >= patience


def joined(data):
    return tuple(np.concatenate(both) for both in zip(data.train, data.validation, strict=True))


def close(a, b, rtol=1e-10):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("patience", [1, 2, 5, 50])
def test_fit_is_algorithm_7_1_in_numpy(patience, seed):
    with jax.enable_x64(True):
        data = noisy(seed)
        found = fit(
            LEAST_SQUARES,
            H,
            data,
            steps=100,
            eval_every=EVERY,
            batch_size=BATCH,
            patience=patience,
            key=jax.random.key(seed),
        )
        (w, velocity), i_best, v, errors, stopped = algorithm_7_1(seed, data, patience, 100)
        close(found.state.w, w)
        close(found.state.velocity, velocity)
        assert (int(found.best_step), int(found.last_step)) == (i_best, EVERY * len(errors))
        assert bool(found.stopped) == stopped
        close(found.best_metric, v)
        close(found.metrics["validation_loss"], np.pad(errors, (0, 20 - len(errors)), constant_values=np.nan))
        assert not found.diverged


def counting(evaluations):
    """A task whose state counts its steps and whose k-th validation loss is the k-th validation example."""

    def evaluate(count, data, h):
        return {"validation_loss": data.validation[count // EVERY - 1]}

    return Task(lambda key, h: jnp.int32(0), lambda count, *_: (count + 1, {}), evaluate), EVERY * evaluations


@jax.jit
def counted(errors, patience):
    task, steps = counting(9)
    return fit(task, {}, Splits(jnp.zeros(1), errors), steps=steps, eval_every=EVERY, patience=patience)


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(st.lists(st.integers(0, 4), min_size=9, max_size=9), st.integers(0, 4))
def test_fit_stops_where_algorithm_7_1_does(errors, patience):
    found, steps = counted(jnp.asarray(errors, jnp.float32), patience), EVERY * 9
    i, j, v, i_best = 0, 0, np.inf, 0
    while j < patience and i < steps:
        i += EVERY
        error = errors[i // EVERY - 1]
        j, v, i_best = (0, error, i) if error < v else (j + 1, v, i_best)
    assert (int(found.state), int(found.best_step), int(found.last_step)) == (i_best, i_best, i)
    assert bool(found.stopped) == (j >= patience)
    assert float(found.best_metric) == v or i_best == 0
    assert np.isnan(found.best_metric) == (i_best == 0)
    np.testing.assert_array_equal(np.isnan(found.metrics["validation_loss"]), np.arange(9) >= i // EVERY)


def test_a_stopped_run_costs_nothing_more():
    done = []
    task, steps = counting(9)

    def step(*arguments):
        jax.debug.callback(lambda: done.append(1))
        return task.step(*arguments)

    data = Splits(jnp.zeros(1), jnp.asarray([3.0, 2.0, 2.0, 5.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    found = fit(task._replace(step=step), {}, data, steps=steps, eval_every=EVERY, patience=2)
    jax.block_until_ready(found)
    jax.effects_barrier()
    assert len(done) == int(found.last_step) == 20


def test_lanes_cost_nothing_more_after_the_last_has_ended():
    done = []
    task, steps = counting(9)

    def step(*arguments):
        jax.debug.callback(lambda _: done.append(1), arguments[0])
        return task.step(*arguments)

    data = Splits(jnp.zeros(1), jnp.asarray([3.0, 2.0, 2.0, 5.0, 1.0, 0.0, 0.0, 0.0, 0.0]))

    def train(patience):
        return fit(task._replace(step=step), {}, data, steps=steps, eval_every=EVERY, patience=patience)

    found = jax.vmap(jax.vmap(train))(jnp.array([[1, 2], [0, 1]]))
    jax.block_until_ready(found)
    jax.effects_barrier()
    np.testing.assert_array_equal(found.last_step, [[15, 20], [0, 15]])
    assert len(done) == 4 * 20


def network():
    return sweep.supervised(
        lambda h, rngs: nnx.Linear(8, 1, rngs=rngs),
        lambda outputs, y: squared_error(outputs[:, 0], y),
        lambda h: regopt.heavy_ball(h["learning_rate"], 0.8),
    )


def single(data):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), data)


@pytest.mark.parametrize("patience", [None, 2])
def test_fit_gives_what_the_sweep_gives(patience):
    columns = {"learning_rate": np.array([0.05, 0.1, 1e6]), "seed": np.array([4, 7, 4])}
    data = single(noisy())
    common = {"steps": 60, "eval_every": EVERY, "batch_size": BATCH, "patience": patience}
    result = sweep.run(network(), sweep.from_columns(columns), data, key=jax.random.key(1), **common)
    program = jax.jit(lambda h: fit(network(), h, data, key=jax.random.key(1), **common))
    for row in range(3):
        found = program({name: column[row] for name, column in columns.items()})
        record = result.history
        assert int(found.first_bad_step) == record.first_bad_step[row]
        assert (int(found.best_step), int(found.last_step)) == (result.kept_step[row], record.last_step[row])
        status = "diverged" if found.diverged else "stopped" if found.stopped else "done"
        assert status == result.status[row]
        for name, curve in record.curves.items():
            np.testing.assert_allclose(found.metrics[name], curve[row], rtol=2e-4)  # float32, chaotic at rate 1e6
        if not found.diverged:
            kept = jax.tree.leaves(result.state(row).params)
            for a, b in zip(jax.tree.leaves(found.state.params), kept, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert result.status[2] == "diverged"


def test_lanes_are_single_runs():
    with jax.enable_x64(True):
        data = noisy(1)

        def train(rate, patience, key):
            h = {**H, "learning_rate": rate}
            common = {"eval_every": EVERY, "batch_size": BATCH, "key": key}
            found = fit(LEAST_SQUARES, h, data, steps=60, patience=patience, **common)
            anew = retrain(LEAST_SQUARES, h, data, found.best_step, steps=60, by="epochs", batch_size=BATCH, key=key)
            return (
                found,
                anew,
                continue_training(LEAST_SQUARES, h, data, found.state, found.best_step, steps=40, **common),
            )

        lanes = jnp.array([0.02, 0.1, 0.1, 0.2, 1e8]), jnp.array([2, 1, 4, 3, 30])
        seeds = jax.random.split(jax.random.key(3), 5)
        together = jax.jit(jax.vmap(train))(*lanes, seeds)
        alone = [jax.jit(train)(lanes[0][i], lanes[1][i], seeds[i]) for i in range(5)]
        for i in range(5):
            lane = jax.tree.map(lambda x, i=i: x[i], together)
            for a, b in zip(jax.tree.leaves(lane), jax.tree.leaves(alone[i]), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9)
        assert together[0].diverged.tolist() == [False] * 4 + [True]
        assert len(set(together[0].last_step.tolist())) > 2  # the lanes stop at different steps
        assert len(set(together[2].last_step.tolist())) > 2


def test_lanes_that_share_all_but_patience_are_single_runs():
    """In float32 with a network, where a compiler may go wrong on copies of the data for each lane."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 64)).astype(np.float32), rng.integers(0, 10, 400).astype(np.int32)
    data = Splits((x[:300], y[:300]), (x[300:], y[300:]))
    task = sweep.supervised(
        lambda _, rngs: MLP((64, 64, 10), rngs=rngs), cross_entropy, lambda _: regopt.heavy_ball(0.05, 0.9)
    )

    def train(patience):
        return fit(task, {}, data, steps=60, eval_every=10, batch_size=50, patience=patience)

    lanes = jax.jit(jax.vmap(train))(jnp.arange(1, 9, dtype=jnp.int32))
    for lane in (0, 2, 7):
        alone = jax.jit(train)(lane + 1)
        assert int(lanes.last_step[lane]) == int(alone.last_step)
        np.testing.assert_allclose(lanes.metrics["validation_loss"][lane], alone.metrics["validation_loss"], rtol=1e-4)


def test_the_slope_in_the_learning_rate():
    with jax.enable_x64(True):
        data = noisy(2)

        def error(rate):
            h = {**H, "learning_rate": rate}
            return fit(LEAST_SQUARES, h, data, steps=40, eval_every=EVERY, batch_size=BATCH, patience=3).best_metric

        slope = jax.jit(jax.grad(error))(0.05)
        close(slope, (error(0.05 + 1e-6) - error(0.05 - 1e-6)) / 2e-6, rtol=1e-6)  # central differences
        assert abs(slope) > 0.01


def test_a_divergence_ends_the_run_at_its_step():
    def step(count, batch, key, h):
        return count + 1, {"loss": jnp.where(count + 1 == h["bad"], jnp.nan, 1.0)}

    task, steps = counting(6)
    data = Splits(jnp.zeros(1), jnp.arange(6.0, 0.0, -1.0))
    found = fit(task._replace(step=step), {"bad": 13}, data, steps=steps, eval_every=EVERY)
    assert (int(found.first_bad_step), int(found.last_step), bool(found.diverged)) == (13, 15, True)
    good = fit(task._replace(step=step), {"bad": 99}, data, steps=steps, eval_every=EVERY)
    assert (int(good.first_bad_step), int(good.last_step), int(good.state)) == (0, 30, 30)


def test_a_divergence_ends_a_retraining():
    def step(count, batch, key, h):
        return count + 1, {"loss": jnp.where(count + 1 == h["bad"], jnp.nan, 1.0)}

    data = Splits(jnp.zeros(1), jnp.zeros(1))
    task = counting(1)[0]._replace(step=step)
    early, beyond = (retrain(task, {"bad": bad}, data, 130, steps=200) for bad in (13, 131))
    assert int(early.first_bad_step) == 13
    assert int(early.last_step) < 130
    assert (int(beyond.first_bad_step), int(beyond.last_step)) == (0, 130)  # a step that is not taken does not count


@pytest.mark.parametrize("what", ["weights", "monitor"])
def test_a_segment_whose_outcome_is_not_finite_is_bad_at_its_last_step(what):
    task = Task(
        lambda key, h: {"mask": jnp.array([-jnp.inf, 0.0]), "w": jnp.float32(1.0)},  # what starts infinite may stay so
        lambda state, *_: ({**state, "w": state["w"] * (1e15 if what == "weights" else 1.0)}, {"loss": jnp.float32(1)}),
        lambda state, data, h: {"validation_loss": data.validation[0]},
    )
    value = jnp.array([1.0 if what == "weights" else jnp.nan])
    found = fit(task, {}, Splits(jnp.zeros(1), value), steps=40, eval_every=4, patience=1)
    assert (int(found.first_bad_step), int(found.last_step)) == (4, 4)
    assert not found.stopped  # by patience


@pytest.mark.parametrize("batch_size", [None, BATCH])
@pytest.mark.parametrize("best_step", [0, 5, 64, 65, 130])
@pytest.mark.parametrize("by", ["updates", "epochs"])
def test_retrain_is_algorithm_7_2_in_numpy(by, best_step, batch_size):
    with jax.enable_x64(True):
        data = noisy()  # 14 and 9 examples: 23/14 times the updates for as many epochs
        key = jax.random.key(0)
        found = retrain(LEAST_SQUARES, H, data, best_step, steps=130, by=by, batch_size=batch_size, key=key)
        epochs = {0: 0, 5: 8, 64: 105, 65: 107, 130: 214}[best_step]
        steps = epochs if by == "epochs" and batch_size is not None else best_step
        run = NumPy(0)
        run.train(joined(data), steps, batch_size)
        assert int(found.last_step) == steps
        close(found.state.w, run.w)
        close(found.state.velocity, run.velocity)


def test_epochs_are_counted_exactly_where_a_float_or_a_32_bit_product_is_not():
    task, _ = counting(1)
    data = Splits(jnp.zeros(3), jnp.zeros(1))
    big = 3_000_001
    found = jax.jit(
        lambda best: retrain(
            task._replace(step=lambda count, *_: (count + 1, {})), {}, data, best, steps=big, by="epochs", batch_size=1
        )
    )(jnp.int32(big))
    assert int(found.last_step) == 4_000_001  # 3000001 * 4 / 3 = 4000001.33


@pytest.mark.parametrize("seed", range(4))
def test_continue_training_is_algorithm_7_3_in_numpy(seed):
    with jax.enable_x64(True):
        data, key = noisy(seed), jax.random.key(seed)
        run = NumPy(seed)
        run.train(data.train, 10)
        state = Moving(run.w, run.velocity)  # with its velocity, and the order of the data goes on at step 10
        found = continue_training(
            LEAST_SQUARES, H, data, state, 10, steps=80, eval_every=EVERY, batch_size=BATCH, key=key
        )
        threshold, errors = run.loss(data.train), []
        while run.loss(data.validation) > threshold and run.i < 90:
            run.train(joined(data), EVERY)
            errors.append(run.loss(data.validation))
        close(found.threshold, threshold)
        close(found.state.w, run.w)
        close(found.state.velocity, run.velocity)
        close(found.metrics["validation_loss"], np.pad(errors, (0, 16 - len(errors)), constant_values=np.nan))
        assert int(found.last_step) == run.i
        assert bool(found.converged) == (run.loss(data.validation) <= threshold)


def test_continue_training_may_end_before_its_first_step():
    data = noisy()
    data = data._replace(validation=(data.validation[0], np.zeros(9)))  # fitted perfectly by the state
    state = Moving(jnp.zeros(8), jnp.ones(8))
    found = continue_training(LEAST_SQUARES, H, data, state, 35, steps=40, eval_every=EVERY)
    assert bool(found.converged)
    assert int(found.last_step) == 35
    assert np.isnan(found.metrics["validation_loss"]).all()
    np.testing.assert_array_equal(found.state.velocity, 1)


def test_continue_training_need_not_converge():
    """One input with two targets: 0 in training, fitted at the stop, and 2 in validation."""
    example = (jnp.ones((1, 8)), jnp.zeros(1))
    data = Splits(example, (example[0], jnp.full(1, 2.0)))
    state = Moving(jnp.zeros(8), jnp.zeros(8))
    found = continue_training(
        LEAST_SQUARES, {"learning_rate": 0.02, "momentum": 0.0}, data, state, 0, steps=400, eval_every=100
    )
    assert (bool(found.converged), int(found.last_step), float(found.threshold)) == (False, 400, 0)
    np.testing.assert_allclose(found.metrics["validation_loss"][-1], 0.5, rtol=1e-5)  # (2 - 1)^2 / 2, for ever


def test_a_validation_loss_that_is_no_number_has_not_converged():
    data = noisy()
    state = Moving(jnp.full(8, jnp.nan), jnp.zeros(8))
    assert not continue_training(LEAST_SQUARES, H, data, state, 0, steps=EVERY, eval_every=EVERY).converged
    wild = {"learning_rate": float(jnp.finfo(jnp.result_type(float)).max) / 4, "momentum": 0.8}
    fitted = Moving(np.linalg.lstsq(*data.train)[0], np.zeros(8))
    found = continue_training(LEAST_SQUARES, wild, data, fitted, 7, steps=20, eval_every=5)
    assert (bool(found.converged), int(found.first_bad_step) > 7, int(found.last_step)) == (False, True, 12)


def test_all_three_follow_a_sweep_and_take_its_states():
    data = single(noisy())
    settings = sweep.from_columns({"learning_rate": np.array([0.05, 0.1]), "seed": np.array([0, 1])})
    result = sweep.run(network(), settings, data, steps=60, eval_every=EVERY, patience=2, batch_size=BATCH)
    best = result.best()
    found = continue_training(
        network(),
        best.setting,
        data,
        result.state(best),
        best.step,
        steps=20,
        eval_every=EVERY,
        batch_size=BATCH,
    )
    on_train = network().evaluate(result.state(best), data._replace(validation=data.train), best.setting)
    np.testing.assert_allclose(found.threshold, on_train["validation_loss"], rtol=1e-6)
    assert best.step <= int(found.last_step) <= best.step + 20


def bad_input(function=fit, *arguments, **changes):
    common = {"steps": 10, "eval_every": EVERY, "batch_size": BATCH}
    common = {name: common[name] for name in common if function is not retrain or name != "eval_every"}
    return function(LEAST_SQUARES, H, changes.pop("data", noisy()), *arguments, **{**common, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 12}, "steps must be a multiple of eval_every = 5, got 12; 15 would do"),
        ({"steps": 0}, r"steps must be a whole number in \[1, inf\), got 0"),
        ({"batch_size": 2.0}, r"batch_size must be a whole number in \[1, inf\), got 2.0"),
        ({"batch_size": 15}, r"batch_size must lie in \[1, 14\], the number of examples, got 15"),
        ({"patience": -1}, r"patience must lie in \[0, inf\), got -1"),
        ({"patience": lambda h: 3}, r"patience must be a number in \[0, inf\), got <function"),
        ({"mode": "best"}, 'mode must be "min" or "max", got \'best\''),
        ({"key": 3}, "key must be a typed key"),
        (
            {"monitor": "accuracy"},
            r"monitor must be one of \['train_loss', 'validation_loss'\], got 'accuracy'",
        ),
        ({"data": Splits(noisy().train, None)}, "data must have a validation part"),
        (
            {"data": Splits((np.ones((3, 8)), np.ones(2)), noisy().test)},
            r"data.train must have the same length, got \[2, 3\]",
        ),
    ],
)
def test_bad_input_to_fit_is_one_line(changes, message):
    with pytest.raises(ValueError, match=message):
        bad_input(**changes)


def test_bad_input_to_the_others_is_one_line():
    state = Moving(jnp.zeros(8), jnp.zeros(8))
    with pytest.raises(ValueError, match=r"best_step must lie in \[0, 10\], got 11"):
        bad_input(retrain, 11)
    with pytest.raises(ValueError, match='by must be "updates" or "epochs", got \'steps\''):
        bad_input(retrain, 5, by="steps")
    with pytest.raises(ValueError, match=r"best_step must lie in \[0, inf\), got -1"):
        bad_input(continue_training, state, -1)
    with pytest.raises(ValueError, match=r"monitor must be one of \['validation_loss'\], got 'loss'"):
        bad_input(continue_training, state, 5, monitor="loss")
    data = noisy()
    narrow = data._replace(validation=(data.validation[0][:, :3], data.validation[1]))
    with pytest.raises(ValueError, match=r"data.validation must have the structure, shapes and dtypes of data.train"):
        bad_input(retrain, 5, data=narrow)


def test_a_weakly_typed_state_and_any_optimizer_state_are_carried():
    """A state of Python-like scalars changes its type in a step; a hand-written task need not know."""
    task = Task(
        lambda key, h: {"w": 1.0, "adam": optax.adam(0.1).init(jnp.ones(2))},
        lambda state, batch, key, h: (
            {"w": state["w"] * 0.5, "adam": state["adam"]},
            {"seen": jnp.asarray(jnp.sum(batch) > 0)},
        ),
        lambda state, data, h: {"validation_loss": state["w"], "right": jnp.int32(3)},
    )
    data = Splits(jnp.ones(2), jnp.ones(2))
    found = fit(task, {}, data, steps=4, eval_every=2, patience=1)
    assert float(found.state["w"]) == 1 / 16
    assert found.metrics["right"].tolist() == [3, 3]
