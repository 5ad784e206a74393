"""Dropout against flax, and the feature-major layers against flax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from regopt import layers, noise

X = jnp.linspace(-2, 3, 60, dtype=jnp.float32).reshape(12, 5)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_dropout_draws_and_scales_as_flax_does(rate):
    key = jax.random.key(5)
    theirs = nnx.Dropout(rate)(X, deterministic=False, rngs=jax.random.clone(key))
    np.testing.assert_allclose(noise.dropout(key, X, rate), theirs, rtol=1e-6)


def test_the_mean_over_many_draws_is_the_input():
    rate, draws = 0.3, 4000
    keys = jax.random.split(jax.random.key(0), draws)
    means = jax.vmap(lambda key: noise.dropout(key, X, rate))(keys).mean(axis=0)
    standard_error = np.abs(X) * np.sqrt(rate / (1 - rate) / draws)
    assert np.all(np.abs(means - X) <= 4.5 * standard_error + 1e-6)


def test_dropout_at_both_ends_of_the_range():
    np.testing.assert_array_equal(noise.dropout(jax.random.key(1), X, 0.0), X)
    np.testing.assert_array_equal(noise.dropout(jax.random.key(1), X, 1.0), jnp.zeros_like(X))


def test_lanes_with_one_key_share_one_field():
    """A lane with a smaller rate keeps every entry that one with a larger rate keeps."""
    rates = jnp.array([0.2, 0.5, 0.8])
    kept = jax.vmap(lambda rate: noise.dropout(jax.random.key(2), jnp.ones(1000), rate))(rates) > 0
    assert np.all(kept[0] >= kept[1])
    assert np.all(kept[1] >= kept[2])
    np.testing.assert_allclose(kept.mean(axis=1), 1 - rates, atol=4.5 * 0.016)


def test_the_slope_in_the_rate_is_that_of_the_scale():
    slope = jax.jacfwd(lambda rate: noise.dropout(jax.random.key(3), jnp.ones(200), rate))(0.4)
    kept = noise.dropout(jax.random.key(3), jnp.ones(200), 0.4) > 0
    np.testing.assert_allclose(slope, jnp.where(kept, 1 / 0.36, 0.0), rtol=1e-5)


def test_a_rate_outside_its_range_is_named():
    for make in (lambda: noise.dropout(jax.random.key(0), X, 1.5), lambda: layers.Dropout(1.5)):
        with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\], got 1.5"):
            make()


def test_dense_is_flax_linear():
    ours = layers.Dense(5, 3, rngs=nnx.Rngs(0))
    theirs = nnx.Linear(5, 3, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(ours(X), theirs(X), rtol=1e-5, atol=1e-6)
    assert ours(X.reshape(3, 4, 5)).shape == (3, 4, 3)
    assert ours(X[0]).shape == (3,)
    without = layers.Dense(5, 3, use_bias=False, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(without(X), X @ without.kernel[...].T, rtol=1e-5, atol=1e-6)


def test_the_mlp_is_the_row_major_one():
    mlp = layers.MLP((5, 7, 6, 3), rngs=nnx.Rngs(1))
    h = X
    for layer in mlp.layers[:-1]:
        h = jax.nn.relu(linen.Dense(layer.out_features).apply({"params": kernel_and_bias(layer)}, h))
    expected = linen.Dense(3).apply({"params": kernel_and_bias(mlp.layers[-1])}, h)
    np.testing.assert_allclose(mlp(X), expected, rtol=1e-5, atol=1e-6)
    assert mlp(X.reshape(3, 4, 5)).shape == (3, 4, 3)


def kernel_and_bias(layer):
    """A feature-major layer's parameters as flax's Dense has them."""
    return {"kernel": layer.kernel[...].T, "bias": layer.bias[...]}


def test_the_gradients_of_the_mlp_are_those_of_the_row_major_one():
    mlp = layers.MLP((5, 7, 3), rngs=nnx.Rngs(1))
    graph, params = nnx.split(mlp)
    ours = jax.grad(lambda p: jnp.sum(jnp.sin(nnx.merge(graph, p)(X))))(params)
    first, last = mlp.layers

    def row_major(kernels):
        h = jax.nn.relu(X @ kernels[0] + first.bias[...][None])
        return jnp.sum(jnp.sin(h @ kernels[1] + last.bias[...][None]))

    expected = jax.grad(row_major)([first.kernel[...].T, last.kernel[...].T])
    np.testing.assert_allclose(ours["layers"][0]["kernel"][...].T, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours["layers"][1]["kernel"][...].T, expected[1], rtol=1e-4, atol=1e-5)


def test_train_and_eval_switch_the_dropout_of_an_mlp():
    mlp = layers.MLP((5, 50, 3), rate=0.5, rngs=nnx.Rngs(1))
    plain = layers.MLP((5, 50, 3), rngs=nnx.Rngs(1))
    mlp.eval()
    np.testing.assert_array_equal(mlp(X), plain(X))
    mlp.train()
    assert not np.allclose(mlp(X), plain(X))
    assert not np.allclose(mlp(X), mlp(X))  # fresh noise in every call


def test_dropout_says_what_it_needs():
    with pytest.raises(ValueError, match="Dropout needs a key: give rngs to Dropout"):
        layers.Dropout(0.5)(X)
    np.testing.assert_array_equal(layers.Dropout(0.5)(X, deterministic=True), X)


def test_an_mlp_needs_two_sizes():
    with pytest.raises(ValueError, match=r"features must name the input and the output size at least, got \(5,\)"):
        layers.MLP((5,), rngs=nnx.Rngs(0))
