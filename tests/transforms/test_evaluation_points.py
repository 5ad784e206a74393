"""The evaluation point and the final model are found at any depth of a state, and used where training asks for them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import regopt
from regopt import layers, penalties, sweep
from regopt.data import Splits
from regopt.losses import squared_error
from regopt.training import fit

PARAMS = {
    "first": {"kernel": jnp.array([[1.0, -2.0], [0.5, 0.25]]), "bias": jnp.array([0.5, -1.0])},
    "last": {"kernel": jnp.array([[3.0], [-0.125]]), "bias": jnp.array([2.0])},
}
WEIGHTS = {layer: {"kernel": True, "bias": False} for layer in PARAMS}
METHODS = {"evaluation_params": regopt.evaluation_params, "final_params": regopt.final_params}


class ShiftedState(NamedTuple):
    """A state that wants both points shifted by a tree of its own."""

    count: Any
    shift: Any

    def evaluation_params(self, params):
        return jax.tree.map(jnp.add, params, self.shift)

    def final_params(self, params):
        return jax.tree.map(jnp.add, params, self.shift)


def shifted(by, final=True):
    """Gradients go through; the points are ``params + by``."""

    class EvaluationOnly(NamedTuple):
        shift: Any
        evaluation_params = ShiftedState.evaluation_params

    def init(params):
        shift = jax.tree.map(lambda w: jnp.full_like(w, by), params)
        return ShiftedState(jnp.zeros((), jnp.int32), shift) if final else EvaluationOnly(shift)

    def update(updates, state, params=None, **extra_args):
        return updates, state

    return optax.GradientTransformationExtraArgs(init, update)


def labels(params):
    return jax.tree.map_with_path(lambda path, _: path[-1].key, params)


def inside(transform):
    """The transform within everything that may stand around it."""
    return {
        "chain": optax.chain(optax.clip(1.0), optax.chain(transform)),
        "guard": regopt.guard(transform, 1.0),
        "regularize": regopt.regularize(transform, penalties.l2(0.1)),
        "decoupled": regopt.regularize(transform, penalties.l2(0.1), "decoupled"),
        "MultiSteps": optax.MultiSteps(transform, 3),
        "all": optax.masked(transform, True),
    }


def expected(by_weight, by_bias):
    return jax.tree.map(lambda w, is_weight: w + (by_weight if is_weight else by_bias), PARAMS, WEIGHTS)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("wrapper", inside(optax.identity()))
@pytest.mark.parametrize("method", METHODS)
def test_the_point_is_found_behind_wrappers(wrapper, method):
    state = inside(shifted(10.0))[wrapper].init(PARAMS)
    assert_equal(METHODS[method](PARAMS, state), expected(10, 10))
    assert_equal(jax.jit(METHODS[method])(PARAMS, state), expected(10, 10))


@pytest.mark.parametrize("method", METHODS)
def test_a_masked_part_decides_for_its_own_leaves(method):
    point = METHODS[method]
    masked = optax.masked(shifted(10.0), WEIGHTS)
    assert_equal(point(PARAMS, masked.init(PARAMS)), expected(10, 0))
    within = optax.masked(optax.masked(shifted(10.0), {"first": True, "last": False}), WEIGHTS)
    only_first = {"first": expected(10, 0)["first"], "last": PARAMS["last"]}
    assert_equal(point(PARAMS, within.init(PARAMS)), only_first)
    nothing = optax.masked(shifted(10.0), False)
    assert_equal(point(PARAMS, nothing.init(PARAMS)), PARAMS)
    one_array = optax.masked(shifted(10.0), False)
    assert_equal(point(jnp.ones(2), one_array.init(jnp.ones(2))), jnp.ones(2))


@pytest.mark.parametrize("method", METHODS)
def test_parts_of_a_partition_each_decide_for_their_own(method):
    point = METHODS[method]
    parts = {"kernel": shifted(10.0), "bias": regopt.guard(shifted(3.0))}
    assert_equal(point(PARAMS, optax.partition(parts, labels).init(PARAMS)), expected(10, 3))
    parts["bias"] = regopt.adam(0.1)
    assert_equal(point(PARAMS, optax.partition(parts, labels).init(PARAMS)), expected(10, 0))


def test_a_masked_wrapper_is_not_confused_by_the_masked_trees_of_what_it_wraps():
    averaged = regopt.average_params(regopt.adam(0.1))
    optimizer = optax.partition({"kernel": averaged, "bias": regopt.adam(0.1)}, labels)
    updates, state = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    shifted_params = jax.tree.map(lambda w: w + 7, PARAMS)
    model = regopt.final_params(shifted_params, state)
    for name, layer in model.items():
        np.testing.assert_allclose(layer["kernel"], PARAMS[name]["kernel"] + updates[name]["kernel"], rtol=1e-6)
        np.testing.assert_array_equal(layer["bias"], shifted_params[name]["bias"])


def test_two_parts_that_decide_for_the_same_parameters_are_an_error():
    both = {"side by side": optax.chain(shifted(1.0), shifted(2.0)), "one masked": None, "one in the other": None}
    both["one masked"] = optax.chain(shifted(1.0), optax.masked(shifted(2.0), WEIGHTS))
    state = shifted(1.0).init(PARAMS)._replace(count=shifted(2.0).init(PARAMS))
    for name, opt_state in (*((n, t.init(PARAMS)) for n, t in both.items() if t), ("one in the other", state)):
        for method, purpose in (("evaluation_params", "choose the evaluation point"), ("final_params", "give the fin")):
            with pytest.raises(ValueError, match=f"only one part of an optimizer may {purpose}"):
                METHODS[method](PARAMS, opt_state)
            assert name


def test_the_two_points_are_independent():
    optimizer = optax.chain(shifted(10.0, final=False), regopt.adam(0.1))
    state = optimizer.init(PARAMS)
    assert_equal(regopt.evaluation_params(PARAMS, state), expected(10, 10))
    assert regopt.final_params(PARAMS, state) is PARAMS


def test_nesterov_works_on_part_of_the_tree():
    """Masked to the kernels, beside descent on the biases, it gives the kernels what it gives them alone."""

    def slopes(params):
        return jax.grad(lambda p: sum(jnp.sum((w - 0.5) ** 2) for w in jax.tree.leaves(p)))(params)

    def train(optimizer, params):
        state = optimizer.init(params)
        for _ in range(4):
            updates, state = optimizer.update(slopes(regopt.evaluation_params(params, state)), state, params)
            params = optax.apply_updates(params, updates)
        return params

    kernels = {name: {"kernel": layer["kernel"]} for name, layer in PARAMS.items()}
    biases = {name: {"bias": layer["bias"]} for name, layer in PARAMS.items()}
    nesterov, descent = regopt.nesterov(0.1, 0.9), regopt.sgd(0.1)
    together = train(optax.partition({"kernel": nesterov, "bias": descent}, labels), PARAMS)
    alone, others = train(nesterov, kernels), train(descent, biases)
    for name, layer in together.items():
        np.testing.assert_allclose(layer["kernel"], alone[name]["kernel"], rtol=1e-6)
        np.testing.assert_allclose(layer["bias"], others[name]["bias"], rtol=1e-6)


def test_a_penalty_in_the_gradient_is_taken_where_the_gradient_is():
    """As if it stood in the loss: Nesterov with l2 is Nesterov on the penalised loss, Algorithm 8.3."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        scales = jnp.array([0.5, 2.0])
        plain = regopt.nesterov(0.1, 0.9, explicit_point=True)
        penalised = regopt.regularize(plain, penalties.l2(0.3))
        ends = []
        for optimizer, strength in ((plain, 0.3), (penalised, 0.0)):
            w = jnp.array([1.0, -2.0])
            state = optimizer.init(w)
            for _ in range(10):
                point = regopt.evaluation_params(w, state)
                updates, state = optimizer.update(scales * point + strength * point, state, w)
                w = w + updates
            ends.append(np.asarray(w))
        np.testing.assert_allclose(ends[1], ends[0], rtol=1e-12)


RNG = np.random.default_rng(2)
X = RNG.normal(size=(30, 3)).astype(np.float32)
DATA = Splits((X[:20], X[:20, :2] + 0.5), (X[20:], X[20:, :2] + 0.5))
OPTIMIZERS = {
    "nesterov": lambda rate: regopt.nesterov(rate, 0.8),
    "nesterov, explicit": lambda rate: regopt.nesterov(rate, 0.8, explicit_point=True),
    "sam": lambda rate: regopt.sam(regopt.sgd(rate), 0.2),
    "sam, explicit": lambda rate: regopt.sam(regopt.sgd(rate), 0.2, explicit_point=True),
    "schedule-free": lambda rate: regopt.schedule_free_sgd(rate, 0.7),
    "average": lambda rate: regopt.average_params(regopt.nesterov(rate, 0.8), 0.7),
    "lookahead": lambda rate: regopt.guard(regopt.lookahead(regopt.sgd(rate), 3, 0.4), 10.0),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_sweeps_and_single_runs_ask_the_gradient_there_and_evaluate_the_final_model(name):
    """Against a loop by hand on a linear model; four steps, so that no method is at a synchronisation."""

    def outputs(params, x):
        return x @ params["kernel"].T + params["bias"][None, :]

    def loss(params, part):
        return squared_error(outputs(params, part[0]), part[1])

    task = sweep.supervised(
        lambda h, rngs: layers.Dense(3, 2, rngs=rngs), squared_error, lambda h: OPTIMIZERS[name](h["learning_rate"])
    )
    rates = [0.05, 0.1]
    outcome = sweep.run(task, sweep.from_columns({"learning_rate": rates}), DATA, steps=4, eval_every=2)
    predictions = outcome.predict(DATA.validation[0])
    start = task.init(jax.random.fold_in(jax.random.key(0), 0), {"learning_rate": rates[0]}).params

    @jax.jit
    def by_hand(rate):
        optimizer = OPTIMIZERS[name](rate)
        params, state = start, optimizer.init(start)
        for _ in range(4):
            grads = jax.grad(loss)(regopt.evaluation_params(params, state), DATA.train)
            extra = {"value_fn": lambda params: loss(params, DATA.train)} if name == "sam" else {}
            updates, state = optimizer.update(grads, state, params, **extra)
            params = optax.apply_updates(params, updates)
        return params, regopt.final_params(params, state)

    single_run = jax.jit(lambda rate: fit(task, {"learning_rate": rate}, DATA, steps=4, eval_every=2))
    for lane, rate in enumerate(rates):
        params, model = by_hand(rate)
        np.testing.assert_allclose(predictions[lane], outputs(model, DATA.validation[0]), rtol=1e-4, atol=1e-6)
        curve = outcome.history.curves["validation_loss"][lane]
        np.testing.assert_allclose(curve[-1], loss(model, DATA.validation), rtol=1e-5)
        single = single_run(rate)
        np.testing.assert_allclose(single.metrics["validation_loss"], curve, rtol=1e-5)
        if name in ("schedule-free", "average", "lookahead"):
            assert abs(float(loss(params, DATA.validation)) / curve[-1] - 1) > 1e-3  # the parameters themselves differ


def test_the_points_of_an_nnx_optimizer():
    model = nnx.Linear(4, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, regopt.nesterov(0.1, momentum=0.9, explicit_point=True), wrt=nnx.Param)
    for _ in range(2):
        optimizer.update(model, nnx.grad(lambda model: jnp.mean(model(jnp.ones((3, 4))) ** 2))(model))
    params, state = nnx.as_pure(nnx.state(model, nnx.Param)), nnx.as_pure(optimizer.opt_state)
    point = regopt.evaluation_params(params, state)
    parts = jax.tree.leaves(state, is_leaf=lambda node: hasattr(node, "velocity"))
    (velocity,) = (part.velocity for part in parts if hasattr(part, "velocity"))
    for at, w, v in zip(*map(jax.tree.leaves, (point, params, velocity)), strict=True):
        np.testing.assert_allclose(at, w + 0.9 * v, rtol=1e-6)
    for held, pure in (
        (nnx.state(model, nnx.Param), state),
        (params, optimizer.opt_state),
        (nnx.state(model, nnx.Param), optimizer.opt_state),
    ):
        answer = regopt.evaluation_params(held, pure)
        assert jax.tree.structure(answer) == jax.tree.structure(held)
        for at, expected in zip(*map(jax.tree.leaves, (answer, point)), strict=True):
            np.testing.assert_array_equal(at, expected)
    for wrong in ((model, optimizer.opt_state), (params, optimizer)):
        with pytest.raises(ValueError, match=r"evaluation_params takes nnx.state\(model, nnx.Param\) and opt"):
            regopt.evaluation_params(*wrong)


def test_the_average_of_an_nnx_optimizer_goes_back_into_the_model():
    model = nnx.Linear(4, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, regopt.average_params(regopt.sgd(0.03), decay=0.5), wrt=nnx.Param)
    for _ in range(3):
        optimizer.update(model, nnx.grad(lambda model: jnp.mean(model(jnp.ones((3, 4))) ** 2))(model))
    averaged = regopt.final_params(nnx.state(model, nnx.Param), optimizer.opt_state)
    pure = regopt.final_params(nnx.as_pure(nnx.state(model, nnx.Param)), nnx.as_pure(optimizer.opt_state))
    assert float(jnp.abs(averaged["kernel"][...] - model.kernel[...]).max()) > 1e-3
    nnx.update(model, averaged)
    np.testing.assert_array_equal(model.kernel[...], pure["kernel"])


@pytest.mark.parametrize("ask", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(
    "params", [PARAMS, jnp.ones(3), {"w": jnp.ones(2), "empty": ()}], ids=["dict", "array", "empty"]
)
@pytest.mark.parametrize(
    "optimizer",
    [
        regopt.sgd(0.1),
        optax.sgd(0.1),
        optax.adam(optax.constant_schedule(0.1)),
        regopt.nesterov(0.1, 0.9),
        regopt.lookahead(regopt.sgd(0.1), 2),
        regopt.guard(optax.adam(0.1), 1.0),
        optax.inject_hyperparams(optax.sgd)(0.1),
    ],
    ids=["sgd", "optax sgd", "optax adam", "nesterov", "lookahead", "guard", "inject"],
)
def test_the_order_of_optaxs_arguments_is_refused(optimizer, params, ask):
    state = optimizer.init(params)
    with pytest.raises(ValueError, match=r"takes \(params, opt_state\), .* exchange the two") as error:
        ask(state, params)
    assert "\n" not in str(error.value)
    assert jax.tree.structure(ask(params, state)) == jax.tree.structure(params)


def test_named_tuples_as_parameters_pass_with_the_states_of_optax():
    class Layer(NamedTuple):
        w: Any
        b: Any

    params = Layer(jnp.ones(2), jnp.zeros(3))
    for optimizer in (optax.sgd(0.1), optax.adam(0.1), regopt.sgd(0.1)):
        assert regopt.final_params(params, optimizer.init(params)) is params


@pytest.mark.parametrize("ask", METHODS.values(), ids=METHODS)
def test_one_tree_as_both_arguments_is_refused(ask):
    optimizer = regopt.average_params(regopt.adam(0.1))
    state = optimizer.init(PARAMS)
    for twice in (state, PARAMS, optax.adam(0.1).init(PARAMS), jnp.ones(2)):
        with pytest.raises(ValueError, match=r"takes \(params, opt_state\), got one tree as both: give") as error:
            ask(twice, twice)
        assert "\n" not in str(error.value)
    _, after = optimizer.update(PARAMS, state, PARAMS)
    with pytest.raises(
        ValueError, match=r"takes \(params, opt_state\), got an optimizer's state .*: give the parameters"
    ):
        ask(state, after)
    assert ask({}, {}) == {}
