"""Models as people have them, swept out of the box: each lane is the run of a plain loop with ``nnx.Optimizer``."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from regopt import losses, sweep
from regopt.data import Splits, batch_indices

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(30, 4)).astype(np.float32)
SEQUENCES = RANDOM.normal(size=(30, 3, 4)).astype(np.float32)
TOKENS = RANDOM.integers(0, 5, (30, 3))
IMAGES = RANDOM.normal(size=(30, 6, 6, 1)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, 30)
PURPOSES = ("init", "data", "noise")  # of the keys of a lane


class Autoencoder(nnx.Module):
    """Its outputs are a tuple, and it draws noise from a stream of its own."""

    def __init__(self, rngs):
        self.encode, self.decode = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(2, 4, rngs=rngs)
        self.rngs = rngs

    def __call__(self, x):
        mean, log_variance = jnp.split(self.encode(x), 2, axis=1)
        noise = jax.random.normal(self.rngs.noise(), mean.shape)
        return self.decode(mean + jnp.exp(log_variance / 2) * noise), mean, log_variance


def negative_elbo(outputs, x):
    decoded, mean, log_variance = outputs
    divergence = jnp.sum(jnp.exp(log_variance) + mean**2 - 1 - log_variance, axis=1) / 2
    return jnp.mean(jnp.sum((decoded - x) ** 2, axis=1) / 2 + divergence)


class Recurrent(nnx.Module):
    def __init__(self, cell, rngs):
        self.recurrent, self.last = nnx.RNN(cell(4, 5, rngs=rngs)), nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.recurrent(x)[:, -1])


class Tied(nnx.Module):
    """The embedding is the last layer too."""

    def __init__(self, rngs):
        self.embed, self.middle = nnx.Embed(5, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, tokens):
        return self.embed.attend(jnp.tanh(self.middle(self.embed(tokens))))


class Shared(nnx.Module):
    """One kernel in two layers, and one layer under two names."""

    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)
        self.second.kernel = self.first.kernel
        self.last = nnx.Linear(4, 3, rngs=rngs)
        self.again = self.first

    def __call__(self, x):
        return self.last(self.again(jnp.tanh(self.second(jnp.tanh(self.first(x))))))


class TwoInputs(nnx.Module):
    def __init__(self, rngs):
        self.dense, self.embed = nnx.Linear(4, 3, rngs=rngs), nnx.Embed(5, 3, rngs=rngs)

    def __call__(self, inputs):
        return self.dense(inputs["x"]) + self.embed(inputs["tokens"]).mean(axis=1)


class Convolutional(nnx.Module):
    def __init__(self, rngs):
        # Adam would scale the rounding errors that are the gradient of a bias before a batch norm
        self.convolution = nnx.Conv(1, 3, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.last = nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.norm(self.convolution(x))).mean(axis=(1, 2)))


MODELS = {
    "autoencoder": (Autoencoder, negative_elbo, X, X),
    "gru": (lambda rngs: Recurrent(nnx.GRUCell, rngs), losses.cross_entropy, SEQUENCES, LABELS),
    "lstm": (lambda rngs: Recurrent(nnx.LSTMCell, rngs), losses.cross_entropy, SEQUENCES, LABELS),
    "tied": (Tied, losses.cross_entropy, TOKENS, TOKENS),
    "shared": (Shared, losses.cross_entropy, X, LABELS),
    "two inputs": (TwoInputs, losses.cross_entropy, {"x": X, "tokens": TOKENS}, LABELS),
    "batch norm": (Convolutional, losses.cross_entropy, IMAGES, LABELS),
}


@pytest.fixture(autouse=True)
def flax_promotes():
    """flax's own layers mix dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def rows_of(tree, rows):
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def by_hand(build, loss, x, y, rate, key):
    """The training losses and the last validation loss of a loop over six batches of five of the first 20 examples."""
    keys = {name: jax.random.fold_in(key, number) for number, name in enumerate(PURPOSES)}
    model = build(nnx.Rngs(keys["init"]))
    optimizer = nnx.Optimizer(model, optax.adam(rate), wrt=nnx.Param)
    model.train()
    for step, rows in enumerate(batch_indices(keys["data"], 0, 6, examples=20, batch_size=5)):
        streams = nnx.state(build(nnx.Rngs(jax.random.fold_in(keys["noise"], step))), nnx.RngState)
        nnx.update(model, streams)  # they start from the step's key
        batch = rows_of((x, y), rows)
        value, grads = nnx.value_and_grad(lambda model, batch=batch: loss(model(batch[0]), batch[1]))(model)
        optimizer.update(model, grads)
    nnx.update(model, nnx.state(build(nnx.Rngs(jax.random.key(0))), nnx.RngState))
    model.eval()
    held_out = rows_of((x, y), slice(20, None))
    return float(value), float(loss(model(held_out[0]), held_out[1])), nnx.state(model, nnx.Param)


@pytest.mark.parametrize("name", MODELS)
def test_a_lane_is_the_run_of_a_plain_loop(name):
    build, loss, x, y = MODELS[name]
    task = sweep.supervised(lambda h, rngs: build(rngs), loss, lambda h: optax.adam(h["learning_rate"]))
    data = Splits(*(rows_of((x, y), rows) for rows in (slice(20), slice(20, None))))
    settings = sweep.from_columns({"learning_rate": [0.01, 0.03]})
    result = sweep.run(task, settings, data, steps=6, eval_every=1, batch_size=5)
    train, validation, params = by_hand(build, loss, x, y, 0.03, jax.random.key(0))
    curves = result.history.curves
    np.testing.assert_allclose(curves["train_loss"][1, -1], train, rtol=1e-6)
    np.testing.assert_allclose(curves["validation_loss"][1, -1], validation, rtol=1e-6)
    trained = result.params(1)
    assert jax.tree.structure(trained) == jax.tree.structure(nnx.to_pure_dict(params))


def test_a_model_with_several_outputs_predicts_the_one_that_is_chosen():
    task = sweep.supervised(lambda h, rngs: Autoencoder(rngs), negative_elbo, lambda h: optax.adam(h["learning_rate"]))
    data, settings = Splits((X, X), (X, X)), sweep.from_columns({"learning_rate": [0.01, 0.03]})
    options = {"steps": 1, "eval_every": 1}
    fix = r"choose one by task\._replace\(predict=lambda state, x, h: task\.predict\(state, x, h\)\[0\]\)"
    with pytest.raises(ValueError, match=fix):
        sweep.run(task, settings, data, **options).predict(X[:3])
    predict = task.predict
    assert predict is not None
    chosen = task._replace(predict=lambda state, x, h: predict(state, x, h)[1])
    assert sweep.run(chosen, settings, data, **options).predict(X[:3]).shape == (2, 3, 2)
