"""Hypergradients against central differences and closed forms in float64, and the descent by hand."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.optimize import minimize_scalar

import regopt
from regopt import penalties, sweep
from regopt._core.types import Task
from regopt.data import Splits
from regopt.layers import MLP
from regopt.losses import cross_entropy
from regopt.training import fit

STEPS = 12


def classes(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 4)), rng.integers(0, 3, count).astype(np.int32)


DATA = Splits(classes(12), classes(8, 1))
NETWORK = sweep.supervised(
    lambda h, rngs: MLP(
        (4, 5, 3), rate=h["dropout"], activation=jnp.tanh, param_dtype=jnp.result_type(float), rngs=rngs
    ),
    cross_entropy,
    lambda h: regopt.regularize(regopt.heavy_ball(h["rate"], h["momentum"]), penalties.l2(h["strength"])),
)
SETTING = {
    "rate": 0.2,
    "momentum": 0.7,
    "dropout": 0.3,
    # one for each weight of the first layer, one for the second
    "strength": {"layers": {0: {"kernel": np.linspace(0.01, 0.3, 20).reshape(5, 4), "bias": 0.0}, 1: 0.05}},
}
RUN: Any = {"steps": STEPS, "batch_size": 5}


def close(a, b, rtol=1e-10, atol=0.0):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), a, b)


def with_numbers(tree, numbers):
    leaves, structure = jax.tree.flatten(tree)
    ends = np.cumsum([np.size(leaf) for leaf in leaves])
    parts = zip(leaves, jnp.split(numbers, ends[:-1]), strict=True)
    return jax.tree.unflatten(structure, [part.reshape(np.shape(leaf)) for leaf, part in parts])


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_both_modes_against_central_differences():
    with jax.enable_x64(True):
        numbers, step = jnp.asarray(flat(SETTING)), 1e-6
        moved = numbers[None] + step * jnp.concatenate([jnp.eye(numbers.size), -jnp.eye(numbers.size)])

        def value(numbers):
            return fit(NETWORK, with_numbers(SETTING, numbers), DATA, eval_every=STEPS, **RUN).best_metric

        @jax.jit
        def everything(numbers):
            h = with_numbers(SETTING, numbers)
            found = [
                sweep.hypergradient(NETWORK, h, DATA, **how, **RUN)
                for how in ({"mode": "reverse", "segment": 3}, {"mode": "forward"})
            ]
            return value(numbers), jax.lax.map(value, moved), found

        at, values, (reverse, forward) = everything(numbers)
        differences = (values[: numbers.size] - values[numbers.size :]) / (2 * step)
        close(reverse.value, at)
        close(flat(reverse.gradient), differences, rtol=1e-3, atol=1e-8)
        assert sorted(np.abs(differences))[1] > 1e-5  # or the last line says nothing; the bias alone has no penalty
        close(reverse.gradient, forward.gradient, atol=1e-14)
        close((reverse.value, reverse.metrics), (forward.value, forward.metrics))


class Ridge:
    """Ridge regression with one strength for each weight, and what its validation loss does with them."""

    def __init__(self, examples=30, features=4):
        rng = np.random.default_rng(2)
        self.x, self.x_new = rng.normal(size=(2, examples, features))
        w = rng.normal(size=features)
        self.y, self.y_new = self.x @ w + rng.normal(size=examples), self.x_new @ w + rng.normal(size=examples)
        self.strengths = np.array([0.1, 0.5, 1.0, 0.02])[:features]
        self.data = Splits((self.x, self.y), (self.x_new, self.y_new))

    def solve(self, strengths):
        hessian = self.x.T @ self.x / len(self.y) + np.diag(strengths)
        return hessian, np.linalg.solve(hessian, self.x.T @ self.y / len(self.y))

    def exact(self, strengths):
        """Validation loss, and its derivative with respect to each strength: ``-w_i (H^-1 V')_i``."""
        hessian, w = self.solve(strengths)
        residual = self.x_new @ w - self.y_new
        slope = self.x_new.T @ residual / len(residual)
        return np.mean(residual**2) / 2, -w * np.linalg.solve(hessian, slope)

    def objective(self, w, strengths):
        x, y = jnp.asarray(self.x), jnp.asarray(self.y)
        return jnp.mean((x @ w - y) ** 2) / 2 + jnp.sum(strengths * w**2) / 2

    def validation(self, w, strengths):
        x, y = jnp.asarray(self.x_new), jnp.asarray(self.y_new)
        return jnp.mean((x @ w - y) ** 2) / 2

    def task(self):
        def step(w, batch, key, h):
            grad = jax.grad(self.objective)(w, h["strengths"])
            return w - h["rate"] * grad, {}

        def evaluate(w, data, h):
            return {"validation_loss": self.validation(w, h)}

        return Task(lambda key, h: jnp.zeros(self.x.shape[1]), step, evaluate)


RIDGE = Ridge()


@pytest.mark.parametrize("options", [{}, {"solver": "neumann", "step": 0.7, "iterations": 2000}], ids=["cg", "neumann"])
def test_implicit_is_exact_on_ridge(options):
    with jax.enable_x64(True):
        w = jnp.asarray(RIDGE.solve(RIDGE.strengths)[1])
        value, exact = RIDGE.exact(RIDGE.strengths)
        implicit = jax.jit(
            partial(sweep.implicit_hypergradient, RIDGE.objective, RIDGE.validation, tolerance=1e-12, **options)
        )
        found = implicit(w, RIDGE.strengths)
        close(found.value, value)
        close(found.gradient, exact, rtol=1e-8)
        assert found.residual < 1e-10
        assert found.stationarity < 1e-12
        assert implicit(w + 0.1, RIDGE.strengths).stationarity > 0.01  # no minimum, and it says so


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_a_long_run_is_exact_on_ridge(mode):
    with jax.enable_x64(True):
        value, exact = RIDGE.exact(RIDGE.strengths)
        h = {"strengths": RIDGE.strengths, "rate": 0.7}
        found = jax.jit(lambda h: sweep.hypergradient(RIDGE.task(), h, RIDGE.data, steps=1500, mode=mode))(h)
        close(found.value, value)
        close(found.gradient["strengths"], exact, rtol=1e-8)
        close(found.gradient["rate"], 0, atol=1e-12)  # the minimum does not depend on the way there


def test_implicit_has_the_direct_term_and_the_right_side_of_the_mixed_derivative():
    # F = |w|^2 / 2 - w'Bh is least at w = Bh, and V(w, h) = c'w + |h|^2 has the slope B'c + 2h; B is not symmetric
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        b, c, h = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=3)
        found = sweep.implicit_hypergradient(
            lambda w, h: jnp.sum(w["w"] ** 2) / 2 - w["w"] @ (b @ h),
            lambda w, h: c @ w["w"] + jnp.sum(h**2),
            {"w": b @ h},
            jnp.asarray(h),
        )
        close(found.gradient, b.T @ c + 2 * h)
        close(found.adjoint["w"], c)


def test_a_bad_solve_shows_in_the_residual():
    with jax.enable_x64(True):
        w = jnp.asarray(RIDGE.solve(RIDGE.strengths)[1])
        exact = RIDGE.exact(RIDGE.strengths)[1]
        hessian = RIDGE.solve(RIDGE.strengths)[0]
        slope = RIDGE.x_new.T @ (RIDGE.x_new @ w - RIDGE.y_new) / len(RIDGE.y_new)
        bad = {
            "early": {"iterations": 1},
            "damped": {"damping": 1.0},
            "few terms": {"solver": "neumann", "step": 0.1, "iterations": 3},
            "diverging": {"solver": "neumann", "step": 2.0, "iterations": 20},
        }
        for name, options in bad.items():
            implicit = partial(sweep.implicit_hypergradient, RIDGE.objective, RIDGE.validation, **options)
            found = jax.jit(implicit)(w, RIDGE.strengths)
            left = np.linalg.norm(hessian @ found.adjoint - slope) / np.linalg.norm(slope)
            close(found.residual, left)
            assert found.residual > 0.05, name
            assert np.max(np.abs(found.gradient / exact - 1)) > 0.05, name
            if name == "damped":
                close(found.adjoint, np.linalg.solve(hessian + np.eye(4), slope), rtol=1e-5)
        found = sweep.implicit_hypergradient(
            lambda w, h: (w[0] ** 2 - w[1] ** 2) * h, lambda w, h: jnp.sum(w), jnp.zeros(2), 1.0
        )
        assert not found.residual < 0.05  # a saddle: conjugate gradients break down


def noisy_init(key, h):
    return h["start"] * jax.random.normal(key, (4,))


def noisy_step(w, batch, key, h):
    x, y = batch
    noisy = x + h["noise"] * jax.random.normal(key, x.shape)
    slope = noisy.T @ (noisy @ w - y) / len(y) + h["strength"] * w
    return w - h["rate"] * slope, {"loss": jnp.mean((x @ w - y) ** 2) / 2}


def noisy_evaluate(w, data, h):
    x, y = data.validation
    return {"validation_loss": jnp.mean((x @ w - y) ** 2) / 2}


NOISY = Task(noisy_init, noisy_step, noisy_evaluate)  # every key in use, and an initial state that is no constant
NOISY_RUN: Any = {"steps": 12, "batch_size": 7, "metric": "validation_loss"}


def test_jit_and_vmap_over_settings_and_keys():
    def one(start, noise, key):
        h = {"start": start, "noise": noise, "strength": 0.1}
        return sweep.hypergradient(
            NOISY, h, RIDGE.data, fixed={"rate": 0.1, "seed": 2}, key=key, mode="reverse", **NOISY_RUN
        )

    def again(x):
        return jax.random.clone(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    starts, noises, keys = jnp.array([0.1, 0.3]), jnp.array([0.01, 0.1]), jax.random.split(jax.random.key(0), 2)
    together, alone = jax.jit(lambda *each: (jax.vmap(one)(*each), one(*(x[1] for x in jax.tree.map(again, each)))))(
        starts, noises, keys
    )
    close(jax.tree.map(lambda x: x[1], together), alone, rtol=1e-4, atol=1e-6)
    assert together.gradient["start"].dtype == starts.dtype
    assert np.min(np.abs(together.gradient["noise"])) > 1e-4


def test_implicit_vmaps_over_points_and_damping():
    with jax.enable_x64(True):
        implicit = jax.jit(partial(sweep.implicit_hypergradient, RIDGE.objective, RIDGE.validation, tolerance=1e-12))
        points = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4)))
        damping = jnp.array([0.0, 0.1])
        many = jax.vmap(lambda w, damping: implicit(w, RIDGE.strengths, damping=damping))(points, damping)
        one = implicit(points[1], RIDGE.strengths, damping=damping[1])
        close(jax.tree.map(lambda x: x[1], (many.gradient, many.residual)), (one.gradient, one.residual), rtol=1e-8)


def test_a_run_is_the_sweep_s_own():
    rest = {"noise": 0.1, "start": 0.5, "strength": 0.1}
    settings = sweep.from_columns({"rate": [0.1, 0.3], "seed": [3, 4]} | {k: [v, v] for k, v in rest.items()})
    result = sweep.run(NOISY, settings, RIDGE.data, steps=12, eval_every=12, batch_size=7, key=jax.random.key(5))
    fixed = {"seed": 4, "name": "static", **rest}
    found = jax.jit(
        lambda h: sweep.hypergradient(NOISY, h, RIDGE.data, fixed=fixed, key=jax.random.key(5), **NOISY_RUN)
    )({"rate": 0.3})
    np.testing.assert_allclose(found.value, result.history.curves["validation_loss"][1, -1], rtol=1e-5)
    close(found.state, result.state(1), rtol=1e-4)


def memory(steps, segment=None):
    """Bytes that the compiled program needs besides its arguments, for a state of 8 kB."""
    weights = np.ones(1000, np.float32)

    def step(w, batch, key, h):
        return w - h["rate"] * jnp.sin(w * h["strength"]), {}

    task = Task(
        lambda key, h: jnp.asarray(weights), step, lambda w, data, h: {"validation_loss": jnp.sum(jnp.square(w))}
    )
    data = Splits(np.ones(2, np.float32), np.ones(2, np.float32))
    h = {"rate": jnp.float32(0.1), "strength": jnp.full(1000, 0.5, jnp.float32)}
    run = jax.jit(lambda h: sweep.hypergradient(task, h, data, steps=steps, segment=segment).gradient)
    analysis: Any = run.lower(h).compile().memory_analysis()
    return analysis.temp_size_in_bytes


def test_memory_grows_with_the_root_of_the_steps():
    few, many, whole = memory(64), memory(1024), memory(1024, segment=1024)
    assert many < 4.5 * few  # 16 times the steps
    assert whole > 8 * many


def test_few_numbers_go_forward():
    def step(w, batch, key, h):  # a loop of unknown length has no reverse mode
        return jax.lax.while_loop(lambda w: jnp.all(w > 0.1), lambda w: w - jnp.sum(h), w), {}

    task = Task(lambda key, h: jnp.ones(()), step, lambda w, data, h: {"validation_loss": w})
    found = sweep.hypergradient(task, jnp.full(4, 0.1), DATA, steps=2)
    close(found.gradient, np.full(4, -3.0), rtol=1e-5)
    with pytest.raises(ValueError, match="Reverse-mode"):
        sweep.hypergradient(task, jnp.full(5, 0.1), DATA, steps=2)


def quadratic(h):
    return sweep.Hypergradient(jnp.sum((h - 0.3) ** 2), 2 * (h - 0.3), {}, ())


def test_tune_finds_the_best_strength_of_ridge():
    with jax.enable_x64(True):
        one = partial(np.full, 4)
        best: Any = minimize_scalar(
            lambda z: RIDGE.exact(one(np.exp(z)))[0], bounds=(-8, 3), method="bounded", options={"xatol": 1e-10}
        )
        assert -7 < best.x < 2

        def by_run(h):
            task = RIDGE.task()
            full = task._replace(step=lambda w, b, k, h: task.step(w, b, k, {"strengths": h["s"] * jnp.ones(4), **h}))
            return sweep.hypergradient(full, h, RIDGE.data, fixed={"rate": 0.7}, steps=400)

        def by_minimum(h):
            w = jnp.linalg.solve(RIDGE.x.T @ RIDGE.x / 30 + h["s"] * jnp.eye(4), jnp.asarray(RIDGE.x.T @ RIDGE.y / 30))
            return sweep.implicit_hypergradient(
                lambda w, h: RIDGE.objective(w, h["s"]), RIDGE.validation, w, h, tolerance=1e-12
            )

        for source in (by_run, by_minimum):
            search = jax.jit(lambda s, source=source: sweep.tune(source, {"s": s}, regopt.adam(0.3), rounds=150))
            found, again = search(1.0), search(1.0)
            close(np.log(found.h["s"]), best.x, atol=1e-3)
            close(found.value, best.fun, rtol=1e-7)
            assert jax.tree.all(jax.tree.map(np.array_equal, found, again))
            assert found.values[found.round] == found.value == np.min(found.values)
            close(found.path["s"][found.round], found.h["s"])
            if source is by_run:
                close(found.metrics["validation_loss"], found.values)


def test_tune_moves_each_number_on_its_scale():
    with jax.enable_x64(True):
        h, rate = {"a": 2.0, "b": {"c": np.array([0.5, 0.2]), "d": -1.0}}, 0.1
        scale = {"a": "log", "b": {"c": "logit", "d": "linear"}}

        def source(h):
            value, gradient = jax.value_and_grad(lambda h: h["a"] ** 2 + jnp.sum(h["b"]["c"] ** 2) + 3 * h["b"]["d"])(h)
            return sweep.Hypergradient(value, gradient, {}, ())

        found = sweep.tune(source, h, optax.sgd(rate), rounds=2, scale=scale)
        c = np.array([0.5, 0.2])
        close(found.path["a"], np.array([2, 2 * np.exp(-rate * 2 * 2 * 2)]))
        close(found.path["b"]["d"], np.array([-1, -1 - rate * 3]))
        moved = np.log(c / (1 - c)) - rate * 2 * c * c * (1 - c)
        close(found.path["b"]["c"], np.stack([c, 1 / (1 + np.exp(-moved))]))
        assert found.round == 1


def test_tune_halves_its_way_back_from_where_nothing_is_finite():
    with jax.enable_x64(True):

        def source(h):  # a cliff at 1, left of which the slope is -1
            return sweep.Hypergradient(jnp.where(h < 1, -h, jnp.nan), jnp.where(h < 1, -1.0, jnp.inf), {}, ())

        found = sweep.tune(source, 0.5, optax.sgd(1.0), rounds=6, scale="linear")
        close(found.path, np.array([0.5, 1.5, 1.0, 0.75, 1.75, 1.25]))
        np.testing.assert_array_equal(found.accepted, [True, False, False, True, False, False])
        assert (float(found.h), float(found.value), int(found.round)) == (0.75, -0.75, 3)
        with pytest.raises(ValueError, match=r"^h must start where the metric and its gradient are finite, got 2\.0$"):
            sweep.tune(source, 2.0, optax.sgd(1.0), rounds=3, scale="linear")
        both = jax.vmap(lambda h: sweep.tune(source, h, optax.sgd(1.0), rounds=3, scale="linear"))(jnp.array([0.5, 2]))
        np.testing.assert_array_equal(both.value, [-0.5, np.inf])
        # the optimizer does not see what was not finite: a velocity goes on from the last point accepted
        heavy = sweep.tune(source, 0.0, optax.sgd(0.3, momentum=0.9), rounds=8, scale="linear")
        back = [0.87 + 0.813 / 2**halvings for halvings in range(4)]
        close(heavy.path, np.array([0, 0.3, 0.87, *back, back[-1] + 0.9 * 0.813 + 0.3]))


def test_tune_survives_a_learning_rate_that_makes_training_diverge():
    task = RIDGE.task()

    def source(h):
        return sweep.hypergradient(task, h, RIDGE.data, fixed={"strengths": RIDGE.strengths}, steps=200)

    found = jax.jit(lambda h: sweep.tune(source, h, regopt.adam(12.0), rounds=5))({"rate": 1e-4})
    assert not np.all(found.accepted)
    assert found.accepted[0]
    assert np.isfinite(found.value)
    assert found.value < found.values[0]


def run_with(h=None, **options):
    h = {"rate": 0.1, "momentum": 0.5, "dropout": 0.1, "strength": 0.1} if h is None else h
    return sweep.hypergradient(NETWORK, h, options.pop("data", DATA), **{**RUN, **options})


def tiny_with(**options):
    task = Task(lambda key, h: jnp.ones(()), lambda w, *_: (w, {}), lambda w, data, h: {"validation_loss": w})
    return sweep.hypergradient(task, 0.1, DATA, steps=1, **options)


def implicit_with(**options):
    return sweep.implicit_hypergradient(RIDGE.objective, RIDGE.validation, np.ones(4), RIDGE.strengths, **options)


def tune_with(h=0.5, optimizer=None, source=quadratic, **options):
    return sweep.tune(source, h, optax.sgd(0.1) if optimizer is None else optimizer, **{"rounds": 2, **options})


BAD = [
    (run_with, {"h": {"rate": "0.1"}}, "h must hold real numbers, got '0.1' at h['rate']; put values that do"),
    (run_with, {"h": {"rate": None}}, "h must hold real numbers, got None at h['rate']"),
    (run_with, {"h": {"rate": True}}, "h must hold real numbers, got True at h['rate']"),
    (run_with, {"h": {"rate": 1j}}, "h must hold real numbers, got 1j"),
    (run_with, {"h": {"rate": 0.1, "seed": 3}}, "h must hold real numbers in which the metric is smooth, got a seed"),
    (run_with, {"h": {}}, "h must hold at least one number, got {}"),
    (run_with, {"h": [0.1], "fixed": {"momentum": 0.5}}, "h and fixed must be dicts to make one setting, got list"),
    (run_with, {"h": {"rate": 0.1}, "fixed": {"rate": 0.5}}, "h and fixed must have no name in common, got rate"),
    (run_with, {"segment": 5}, "segment must divide steps = 12, got 5; 3 would do"),
    (run_with, {"segment": 0}, "segment must be a whole number in [1, inf), got 0"),
    (run_with, {"steps": 0}, "steps must be a whole number in [1, inf), got 0"),
    (run_with, {"steps": 1.5}, "steps must be a whole number in [1, inf), got 1.5"),
    (tiny_with, {"batch_size": 13}, "batch_size must lie in [1, 12]"),
    (run_with, {"mode": "backward"}, 'mode must be "reverse" or "forward", got \'backward\''),
    (tiny_with, {"metric": "loss"}, "metric must be one of ['validation_loss'], got 'loss'"),
    (run_with, {"key": 0}, "key must be a typed key"),
    (run_with, {"data": Splits(DATA.train, None)}, "data must have a validation part"),
    (implicit_with, {"solver": "lu"}, 'solver must be "cg" or "neumann", got \'lu\''),
    (implicit_with, {"solver": "neumann"}, 'solver="neumann" needs step, a number below 2'),
    (implicit_with, {"solver": "neumann", "step": 0.0}, "step must lie in (0, inf), got 0.0"),
    (implicit_with, {"iterations": 0}, "iterations must be a whole number in [1, inf), got 0"),
    (implicit_with, {"damping": -1.0}, "damping must lie in [0, inf), got -1.0"),
    (implicit_with, {"tolerance": float("nan")}, "tolerance must lie in [0, inf), got nan"),
    (tune_with, {"h": 0.0}, "h on the log scale must lie in (0, inf), got 0.0"),
    (
        tune_with,
        {"h": {"a": {"b": 1.0}}, "scale": "logit"},
        "h['a']['b'] on the logit scale must lie in (0, 1), got 1.0",
    ),
    (tune_with, {"scale": "cube"}, 'scale must be "log", "logit" or "linear", got \'cube\''),
    (tune_with, {"h": {"a": 1.0}, "scale": {"b": "log"}}, "scale must be a name or a prefix tree of names for h"),
    (tune_with, {"rounds": 0}, "rounds must be a whole number in [1, inf), got 0"),
    (tune_with, {"optimizer": 0.1}, "optimizer must be an optax transformation, got 0.1"),
    (tune_with, {"source": lambda h: h}, "hypergradient_of must return a result with value and gradient, got"),
]


@pytest.mark.parametrize(("function", "arguments", "line"), BAD)
def test_bad_input_gets_one_clear_line(function, arguments, line):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the line is compared below
        function(**arguments)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_metric_that_is_no_float_scalar_is_refused():
    task = Task(lambda key, h: jnp.ones(3), lambda w, *_: (w, {}), lambda w, data, h: {"validation_loss": w})
    with pytest.raises(ValueError, match=r"^the metric validation_loss must be a float scalar, got float\d\d of shape"):
        sweep.hypergradient(task, 0.1, DATA, steps=1)


@pytest.mark.long
def test_a_batch_normalised_network_has_a_hypergradient():
    task = sweep.supervised(
        lambda h, rngs: nnx.Sequential(nnx.Linear(4, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)),
        cross_entropy,
        lambda h: regopt.adam(h["rate"]),
    )
    data = jax.tree.map(lambda x: np.asarray(x, np.float32) if x.dtype == float else x, DATA)
    found = jax.jit(lambda h: sweep.hypergradient(task, h, data, steps=4, mode="reverse"))({"rate": 0.01})
    assert np.isfinite(found.gradient["rate"])
    assert found.gradient["rate"] != 0
