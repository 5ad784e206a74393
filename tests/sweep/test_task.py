"""Any flax module trains in a sweep: nnx and linen, with batch statistics and noise, against flax's own training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import regopt
from regopt import sweep
from regopt.data import Splits, batch_indices
from regopt.losses import accuracy, cross_entropy, squared_error

RNG = np.random.default_rng(1)
X = RNG.normal(size=(60, 6)).astype(np.float32)
Y = (X @ RNG.normal(size=(6, 3))).argmax(axis=1).astype(np.int32)
DATA = Splits((X[:40], Y[:40]), (X[40:], Y[40:]))
RATES = [0.05, 0.2, 0.5]


class NnxNet(nnx.Module):
    """Batch norm and flax's own dropout, as a user would write it."""

    def __init__(self, rngs, width=8):
        self.first = nnx.Linear(6, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, momentum=0.8, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.last = nnx.Linear(width, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(jax.nn.relu(self.norm(self.first(x)))))


class LinenNet(linen.Module):
    """The same in linen."""

    width: int = 8

    @linen.compact
    def __call__(self, x, train: bool):
        x = linen.Dense(self.width)(x)
        x = linen.BatchNorm(use_running_average=not train, momentum=0.8)(x)
        x = linen.Dropout(0.25, deterministic=not train)(jax.nn.relu(x))
        return linen.Dense(3)(x)


class Plain(linen.Module):
    """No state, no noise, no flag."""

    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(x)


def run(model, columns, **options):
    options = {"metrics": {"accuracy": accuracy}} | options
    task = sweep.supervised(model, cross_entropy, lambda h: regopt.sgd(h["learning_rate"]), **options)
    settings = sweep.from_columns(columns)
    return task, sweep.run(task, settings, DATA, steps=8, eval_every=4, batch_size=10)


@pytest.fixture(autouse=True)
def flax_promotes():
    """flax's own layers mix dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_an_nnx_module_with_batch_norm_and_dropout_trains_as_by_hand():
    _, outcome = run(lambda h, rngs: NnxNet(rngs), {"learning_rate": RATES})
    assert set(outcome.status) == {"done"}
    init_key, data_key, noise_key = (jax.random.fold_in(jax.random.key(0), purpose) for purpose in range(3))
    net = NnxNet(nnx.Rngs(init_key))
    net.train()
    order = batch_indices(data_key, 0, 8, examples=40, batch_size=10)
    optimizer = nnx.Optimizer(net, optax.sgd(0.2), wrt=nnx.Param)
    for number, rows in enumerate(order):
        key = jax.random.fold_in(noise_key, number)
        nnx.update(net, nnx.state(NnxNet(nnx.Rngs(key)), nnx.RngState))  # the streams start from the step's key
        grads = nnx.grad(lambda net, rows=rows: cross_entropy(net(X[rows]), Y[rows]))(net)
        optimizer.update(net, grads)
    net.eval()
    loss = cross_entropy(net(X[40:]), Y[40:])
    np.testing.assert_allclose(outcome.history.curves["validation_loss"][1, -1], loss, rtol=5e-5)
    mean = outcome.state(1).rest["norm"]["mean"]
    np.testing.assert_allclose(mean, net.norm.mean[...], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "flips"), [("train", False), ("deterministic", True)])
def test_an_nnx_module_may_take_a_flag_as_linen_modules_do(name, flips):
    class Told(nnx.Module):
        def __init__(self, rngs):
            self.net = NnxNet(rngs)

        def __call__(self, x, train=False, deterministic=True):
            (self.net.eval if (deterministic if flips else not train) else self.net.train)()
            return self.net(x)

    asks = {"train": lambda self, x, train: Told.__call__(self, x, train)}
    asks["deterministic"] = lambda self, x, deterministic: Told.__call__(self, x, deterministic=deterministic)
    told = type("Told", (Told,), {"__call__": asks[name]})
    curves = [
        run(model, {"learning_rate": RATES})[1].history.curves
        for model in (lambda h, rngs: NnxNet(rngs), lambda h, rngs: told(rngs))
    ]
    for metric in curves[0]:
        np.testing.assert_array_equal(curves[0][metric], curves[1][metric])


def test_a_linen_module_with_batch_norm_and_dropout_trains_as_by_hand():
    _, outcome = run(LinenNet(), {"learning_rate": RATES}, inputs=X[:1])
    init_key, data_key, noise_key = (jax.random.fold_in(jax.random.key(0), purpose) for purpose in range(3))
    variables = LinenNet().init(init_key, X[:1], train=False)
    params, stats = variables["params"], {"batch_stats": variables["batch_stats"]}
    for number, rows in enumerate(batch_indices(data_key, 0, 8, examples=40, batch_size=10)):
        key = jax.random.fold_in(noise_key, number)

        def loss(params, rows=rows, key=key, stats=stats):
            rngs = {"dropout": jax.random.fold_in(key, 1)}
            outputs, after = LinenNet().apply(
                {"params": params, **stats}, X[rows], train=True, rngs=rngs, mutable=["batch_stats"]
            )
            return cross_entropy(outputs, Y[rows]), after

        grads, stats = jax.grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - 0.2 * g, params, grads)
    outputs = LinenNet().apply({"params": params, **stats}, X[40:], train=False)
    expected = cross_entropy(jnp.asarray(outputs), Y[40:])
    np.testing.assert_allclose(outcome.history.curves["validation_loss"][1, -1], expected, rtol=5e-5)


def test_a_plain_linen_module_needs_no_flag():
    _, outcome = run(Plain(), {"learning_rate": RATES}, inputs=X[:1])
    curve = outcome.history.curves["validation_loss"]
    assert np.all(curve[:, 1] < curve[:, 0])


def test_a_linen_module_may_depend_on_static_values():
    columns = {"learning_rate": [0.1, 0.1, 0.1], "size": ["small", "large", "small"]}
    sizes = {"small": 4, "large": 9}
    _, outcome = run(lambda h: LinenNet(sizes[h["size"]]), columns, inputs=X[:1])
    widths = [outcome.state(row).params["Dense_0"]["kernel"].shape[1] for row in range(3)]
    assert widths == [4, 9, 4]


def test_a_linen_module_without_inputs_says_so():
    with pytest.raises(ValueError, match=r"give supervised\(..., inputs=x\[:1\]\)"):
        sweep.supervised(Plain(), cross_entropy, lambda h: regopt.sgd(0.1))


class OwnStreams(nnx.Module):
    """Its dropout draws from a source that the class makes, or that comes from outside."""

    def __init__(self, rngs, dropout=None):
        self.first = nnx.Linear(6, 8, rngs=rngs)
        self.dropouts = nnx.List([dropout or nnx.Dropout(0.5, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=rngs)])
        self.last = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropouts[0](jax.nn.relu(self.first(x))))


OUTSIDE = OwnStreams(nnx.Rngs(3))


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (lambda h, rngs: OwnStreams(rngs), {}),
        (lambda h, rngs: OwnStreams(rngs, nnx.Dropout(0.5, rngs=rngs)), {}),
        (lambda h, rngs: OUTSIDE, {"trainable": "last/**"}),
    ],
)
def test_dropout_draws_a_mask_for_each_step_wherever_its_source_is_made(model, options):
    task = sweep.supervised(model, cross_entropy, lambda h: regopt.sgd(0.0), **options)
    state = task.init(jax.random.key(0), {})

    def loss(step):
        return float(task.step(state, DATA.train, jax.random.key(step), {})[1]["loss"])

    assert loss(1) == loss(1)
    assert len({loss(step) for step in range(1, 5)}) == 4


def test_flax_dropout_shares_its_field_between_lanes():
    _, outcome = run(lambda h, rngs: NnxNet(rngs), {"learning_rate": [0.1] * 3})
    final = outcome.history.curves["train_loss"][:, -1]
    np.testing.assert_allclose(final, final[0], rtol=1e-5)


def test_losses_are_those_of_optax():
    logits = jnp.asarray(RNG.normal(size=(7, 4)), jnp.float32)
    labels = jnp.array([0, 3, 1, 2, 2, 0, 1])
    expected = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    np.testing.assert_allclose(cross_entropy(logits, labels), expected, rtol=1e-6)
    assert accuracy(logits, jnp.argmax(logits, axis=1)) == 1.0
    targets = logits + 0.5
    np.testing.assert_allclose(squared_error(logits, targets), optax.l2_loss(logits, targets).sum(axis=1).mean())


class Awkward(nnx.Module):
    """A function and a traced number as plain attributes, a list of layers, a constant, and sown intermediates."""

    def __init__(self, h, rngs):
        self.activation = lambda x: jnp.tanh(x) * h["gain"]
        self.gain = h["gain"]
        self.layers = nnx.List([nnx.Linear(6, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)])
        self.mask = nnx.Variable(jnp.array([0.0, -jnp.inf, 0.0]))
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        hidden = self.activation(self.layers[0](x))
        self.sow(nnx.Intermediate, "hidden", hidden)
        return self.layers[1](self.dropout(hidden)) + self.gain


@pytest.mark.filterwarnings("ignore:Using 'Module.sow:DeprecationWarning")
def test_an_nnx_module_may_hold_functions_traced_numbers_and_sown_values():
    _, outcome = run(Awkward, {"learning_rate": RATES, "gain": [0.5, 1.0, 1.5]})
    assert set(outcome.status) == {"done"}
    assert len(np.unique(outcome.history.curves["validation_loss"][:, -1])) == 3
    assert set(outcome.state(0).rest) >= {"mask"}
    assert "hidden" not in outcome.state(0).rest


class OtherStreams(linen.Module):
    """A stream that is not called dropout, a collection that grows in training, and dict inputs."""

    @linen.compact
    def __call__(self, x):
        hidden = linen.Dense(3)(x["features"])
        self.sow("intermediates", "hidden", hidden)
        if self.has_rng("noise"):
            hidden = hidden + 0.1 * jax.random.normal(self.make_rng("noise"), hidden.shape)
        return hidden


def test_a_linen_module_may_use_other_streams_and_sow():
    task = sweep.supervised(
        OtherStreams(), cross_entropy, lambda h: regopt.sgd(h["learning_rate"]), inputs={"features": X[:1]}
    )
    data = Splits(({"features": X[:40]}, Y[:40]), ({"features": X[40:]}, Y[40:]))
    settings = sweep.from_columns({"learning_rate": RATES})
    outcome = sweep.run(task, settings, data, steps=8, eval_every=4, batch_size=10)
    assert set(outcome.status) == {"done"}


def test_bad_shapes_and_names_are_said():
    with pytest.raises(ValueError, match=r"one shape, got \(4, 1\) and \(4,\)"):
        squared_error(jnp.ones((4, 1)), jnp.ones(4))
    with pytest.raises(ValueError, match=r"need labels \[batch, ...\], got \(4, 3\) and \(4, 1\)"):
        accuracy(jnp.ones((4, 3)), jnp.ones((4, 1), jnp.int32))
    with pytest.raises(ValueError, match="metrics must not be named loss"):
        run(Plain(), {"learning_rate": RATES}, inputs=X[:1], metrics={"loss": accuracy})
    with pytest.raises(ValueError, match=r"model must return a flax.nnx module for \(h, rngs\)"):
        run(lambda h, rngs: Plain(), {"learning_rate": RATES})
    task = sweep.supervised(Plain(), cross_entropy, lambda h: regopt.sgd(0.1), inputs=X[:1])
    with pytest.raises(ValueError, match=r"data.train must be a pair of inputs and targets"):
        sweep.run(task, sweep.from_columns({"a": [1.0]}), Splits(X, X), steps=4, eval_every=4)


def test_methods_of_second_order_train_in_lanes():
    """Newton's method on all examples finds each strength's minimum, where the gradient vanishes."""
    strengths = [0.01, 0.1, 1.0]
    task = sweep.supervised(
        Plain(),
        cross_entropy,
        lambda h: regopt.regularize(regopt.newton(), regopt.penalties.l2(h["strength"], mask=None)),
        inputs=X,
    )
    result = sweep.run(task, sweep.from_columns({"strength": strengths}), DATA, steps=10, eval_every=10)
    for row, strength in enumerate(strengths):
        params = result.state(row).params

        def objective(params, strength=strength):
            outputs = Plain().apply({"params": params}, DATA.train[0])
            return cross_entropy(outputs, DATA.train[1]) + strength / 2 * optax.tree.norm(params, squared=True)

        assert optax.tree.norm(jax.grad(objective)(params)) < 1e-5
