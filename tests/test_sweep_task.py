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
    task = sweep.supervised(
        model, cross_entropy, lambda h: regopt.sgd(h["learning_rate"]), metrics={"accuracy": accuracy}, **options
    )
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
        leaves = [path for path, leaf in nnx.to_flat_state(nnx.state(net, nnx.RngState)) if "key" in path]
        assert len(leaves) == 1
        # the task folds in the place of the key among the module's random state, and counts calls from 0
        is_key = [
            jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(nnx.state(net, nnx.RngState))
        ]
        net.dropout.rngs.key[...] = jax.random.fold_in(key, is_key.index(True))
        net.dropout.rngs.count[...] = jnp.zeros((), jnp.uint32)
        grads = nnx.grad(lambda net, rows=rows: cross_entropy(net(X[rows]), Y[rows]))(net)
        optimizer.update(net, grads)
    net.eval()
    loss = cross_entropy(net(X[40:]), Y[40:])
    np.testing.assert_allclose(outcome.record.curves["validation_loss"][1, -1], loss, rtol=5e-5)
    mean = outcome.state(1).rest["norm"]["mean"]
    np.testing.assert_allclose(mean, net.norm.mean[...], rtol=1e-4, atol=1e-6)


def test_a_linen_module_with_batch_norm_and_dropout_trains_as_by_hand():
    _, outcome = run(LinenNet(), {"learning_rate": RATES}, inputs=X[:1])
    init_key, data_key, noise_key = (jax.random.fold_in(jax.random.key(0), purpose) for purpose in range(3))
    variables = LinenNet().init(init_key, X[:1], train=False)
    params, stats = variables["params"], {"batch_stats": variables["batch_stats"]}
    for number, rows in enumerate(batch_indices(data_key, 0, 8, examples=40, batch_size=10)):
        key = jax.random.fold_in(noise_key, number)

        def loss(params, rows=rows, key=key, stats=stats):
            outputs, after = LinenNet().apply(
                {"params": params, **stats}, X[rows], train=True, rngs={"dropout": key}, mutable=["batch_stats"]
            )
            return cross_entropy(outputs, Y[rows]), after

        grads, stats = jax.grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - 0.2 * g, params, grads)
    outputs = LinenNet().apply({"params": params, **stats}, X[40:], train=False)
    expected = cross_entropy(jnp.asarray(outputs), Y[40:])
    np.testing.assert_allclose(outcome.record.curves["validation_loss"][1, -1], expected, rtol=5e-5)


def test_a_plain_linen_module_needs_no_flag():
    _, outcome = run(Plain(), {"learning_rate": RATES}, inputs=X[:1])
    curve = outcome.record.curves["validation_loss"]
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


def test_flax_dropout_shares_its_field_between_lanes():
    _, outcome = run(lambda h, rngs: NnxNet(rngs), {"learning_rate": [0.1] * 3})
    final = outcome.record.curves["train_loss"][:, -1]
    np.testing.assert_allclose(final, final[0], rtol=1e-5)


def test_losses_are_those_of_optax():
    logits = jnp.asarray(RNG.normal(size=(7, 4)), jnp.float32)
    labels = jnp.array([0, 3, 1, 2, 2, 0, 1])
    expected = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    np.testing.assert_allclose(cross_entropy(logits, labels), expected, rtol=1e-6)
    assert accuracy(logits, jnp.argmax(logits, axis=1)) == 1.0
    targets = logits + 0.5
    np.testing.assert_allclose(squared_error(logits, targets), optax.l2_loss(logits, targets).sum(axis=1).mean())
