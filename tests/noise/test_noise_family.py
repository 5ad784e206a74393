"""Weight scaling, channels, branches, weights, Gaussian noise, labels and Monte Carlo prediction."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from regopt import layers, losses, noise

X = jnp.linspace(-2, 3, 60, dtype=jnp.float32).reshape(4, 5, 3)
KEYS = jax.random.split(jax.random.key(11), 4000)


def moments(draw):
    """Mean and standard deviation over the keys, entry by entry."""
    values = np.asarray(jax.vmap(draw)(jax.random.clone(KEYS)), np.float64)
    return values.mean(axis=0), values.std(axis=0)


def assert_mean(draw, expected):
    """Within four and a half standard errors; of some hundred entries one is beyond four now and then."""
    mean, deviation = moments(draw)
    np.testing.assert_array_less(np.abs(mean - np.asarray(expected)), 4.5 * deviation / np.sqrt(len(KEYS)) + 1e-6)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.7])
def test_weight_scaling_keeps_the_mean_over_all_masks(rate):
    """By enumeration, with the masks' probabilities; scaling by the rate itself is right only at one half."""
    w, x = np.array([0.3, -1.2, 0.8, 2.0]), np.array([1.0, 0.5, -2.0, 1.5])
    masks = np.array(list(itertools.product([0, 1], repeat=4)))
    probabilities = np.prod(np.where(masks, 1 - rate, rate), axis=1)
    expected = np.sum(probabilities * (masks @ (w * x)))
    np.testing.assert_allclose(w @ noise.weight_scaling(jnp.asarray(x), rate), expected, rtol=1e-6)
    np.testing.assert_allclose(noise.weight_scaling(jnp.asarray(w), rate) @ x, expected, rtol=1e-6)


def test_dropout_that_is_not_inverted_only_drops():
    raw = noise.dropout(jax.random.key(3), X, 0.3, inverted=False)
    np.testing.assert_allclose(raw / 0.7, noise.dropout(jax.random.key(3), X, 0.3), rtol=1e-6)
    layer = layers.Dropout(0.3, inverted=False)
    np.testing.assert_array_equal(layer(X, rngs=jax.random.key(3)), raw)
    np.testing.assert_allclose(layer(X, deterministic=True), 0.7 * X, rtol=1e-6)
    np.testing.assert_array_equal(layers.Dropout(0.3)(X, deterministic=True), X)


@pytest.mark.parametrize(("channel_axis", "broadcast"), [(-1, (1,)), (1, (2,))])
def test_spatial_dropout_is_flax_dropout_with_broadcast_positions(channel_axis, broadcast):
    key = jax.random.key(5)
    theirs = nnx.Dropout(0.4, broadcast_dims=broadcast)(X, deterministic=False, rngs=jax.random.clone(key))
    np.testing.assert_allclose(noise.spatial_dropout(key, X, 0.4, channel_axis=channel_axis), theirs, rtol=1e-6)
    with pytest.raises(ValueError, match=r"channel_axis must name an axis of x other than the first, got 0"):
        noise.spatial_dropout(key, X, 0.4, channel_axis=0)


def test_stochastic_depth_is_flax_dropout_with_one_draw_for_each_example():
    key = jax.random.key(5)
    theirs = nnx.Dropout(0.4, broadcast_dims=(1, 2))(X, deterministic=False, rngs=jax.random.clone(key))
    np.testing.assert_allclose(noise.stochastic_depth(key, X, 0.4), theirs, rtol=1e-6)
    whole = jax.vmap(lambda k: noise.stochastic_depth(k, X, 0.4, per_example=False, inverted=False))(KEYS)
    kept = np.asarray(whole != 0).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(whole[kept], np.broadcast_to(X, (kept.sum(), *X.shape)))
    assert abs(kept.mean() - 0.6) < 4.5 * np.sqrt(0.24 / len(KEYS))


def test_drop_connect_drops_weights_and_leaves_biases():
    params = {"kernel": jnp.full((50, 40), 2.0), "head": jnp.full(2000, 2.0), "bias": jnp.ones(7)}
    dropped = noise.drop_connect(jax.random.key(0), params, 0.2)
    np.testing.assert_array_equal(dropped["bias"], params["bias"])
    for name in ("kernel", "head"):
        kept = np.asarray(dropped[name]) != 0
        np.testing.assert_allclose(np.asarray(dropped[name])[kept], 2.5, rtol=1e-6)
        assert abs(kept.mean() - 0.8) < 4.5 * np.sqrt(0.16 / 2000)
    assert not np.array_equal(dropped["kernel"].ravel(), dropped["head"])  # a draw of its own for each leaf
    everything = noise.drop_connect(jax.random.key(0), params, 1.0, mask=None)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(everything))


def test_the_drop_connect_layer_is_dense_with_a_dropped_kernel():
    layer = layers.DropConnect(3, 2, 0.4, inverted=False, rngs=nnx.Rngs(0))
    kernel = np.asarray(layer.dense.kernel[...])
    layer.dense.bias[...] = jnp.array([0.5, -1.0], jnp.float32)
    masked = noise.drop_connect(jax.random.key(7), layer.dense.kernel[...], 0.4, inverted=False)
    inputs = np.asarray(X)
    expected = inputs @ np.asarray(masked).T + np.array([0.5, -1.0], np.float32)
    np.testing.assert_allclose(layer(X, rngs=jax.random.key(7)), expected, rtol=1e-5, atol=1e-6)
    expected = inputs @ (0.6 * kernel).T + np.array([0.5, -1.0], np.float32)
    np.testing.assert_allclose(layer(X, deterministic=True), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layer.dense.kernel[...], kernel)


@pytest.mark.parametrize("rate", [0.2, 0.6])
def test_gaussian_dropout_has_the_mean_and_the_variance_of_dropout(rate):
    assert_mean(lambda key: noise.gaussian_dropout(key, X, rate), X)
    square = np.asarray(X) ** 2 * rate / (1 - rate)
    assert_mean(lambda key: (noise.gaussian_dropout(key, X, rate) - X) ** 2, square)
    assert_mean(lambda key: (noise.dropout(key, X, rate) - X) ** 2, square)


def test_gaussian_dropout_at_both_ends():
    for rate, expected in ((0.0, X), (1.0, jnp.zeros_like(X))):
        value, slope = jax.jvp(lambda r: noise.gaussian_dropout(jax.random.key(1), X, r), (rate,), (1.0,))
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(slope, jnp.zeros_like(X))


def test_gaussian_noise_has_its_deviation():
    assert_mean(lambda key: noise.gaussian_noise(key, X, 0.3), X)
    assert_mean(lambda key: (noise.gaussian_noise(key, X, 0.3) - X) ** 2, jnp.full_like(X, 0.09))
    np.testing.assert_array_equal(noise.gaussian_noise(jax.random.key(0), X, 0.0), X)
    with pytest.raises(ValueError, match=r"deviation must lie in \[0, inf\), got -0.1"):
        noise.gaussian_noise(jax.random.key(0), X, -0.1)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (layers.SpatialDropout, noise.spatial_dropout),
        (layers.StochasticDepth, noise.stochastic_depth),
        (layers.GaussianDropout, noise.gaussian_dropout),
        (layers.GaussianNoise, noise.gaussian_noise),
    ],
)
def test_the_modules_are_the_functions(module, function):
    layer = module(0.3, rngs=nnx.Rngs(4))
    np.testing.assert_array_equal(layer(X, rngs=jax.random.key(2)), function(jax.random.key(2), X, 0.3))
    assert not np.array_equal(layer(X), layer(X))  # fresh noise in every call
    layer.eval()
    np.testing.assert_array_equal(layer(X), X)
    with pytest.raises(ValueError, match=f"{module.__name__} needs a key"):
        module(0.3)(X)


def test_the_mean_of_noisy_labels_is_the_smoothed_target():
    labels = jnp.array([0, 3, 2, 2])
    target = losses.smooth_labels(labels, 4, 0.3, spread="others")
    assert_mean(lambda key: jax.nn.one_hot(noise.label_noise(key, labels, 0.3, 4), 4), target)
    assert noise.label_noise(jax.random.key(0), labels, 0.3, 4).dtype == labels.dtype
    wrong = noise.label_noise(jax.random.key(0), jnp.zeros(500, jnp.int32), 1.0, 3)
    assert set(np.unique(wrong)) == {1, 2}
    with pytest.raises(ValueError, match="classes must be at least 2, got 1"):
        noise.label_noise(jax.random.key(0), labels, 0.3, 1)


def test_smoothing_over_all_classes_is_that_of_optax():
    labels = jnp.array([0, 3, 2])
    theirs = optax.losses.smooth_labels(jax.nn.one_hot(labels, 4), 0.3)
    np.testing.assert_allclose(losses.smooth_labels(labels, 4, 0.3), theirs, rtol=1e-6)
    np.testing.assert_allclose(losses.smooth_labels(labels, 4, 0.3, axis=0), theirs.T, rtol=1e-6)
    others = losses.smooth_labels(labels, 4, 0.3, spread="others")
    np.testing.assert_allclose(others[1], [0.1, 0.1, 0.1, 0.7], rtol=1e-6)


@pytest.mark.parametrize(("spread", "gap"), [("all", 4.5109), ("others", 4.3944)])
def test_smoothed_cross_entropy_is_least_at_the_known_gap(spread, gap):
    """ln(1 + k (1 - e) / e) and ln((1 - e) (k - 1) / e) for k = 10 and e = 0.1, to the printed digits."""
    labels = jnp.array([4])

    def loss(size):
        return losses.smoothed_cross_entropy(size * jax.nn.one_hot(labels, 10), labels, 0.1, spread=spread)

    sizes = jnp.linspace(3.5, 5.5, 20001)
    best = float(sizes[jnp.argmax(jax.vmap(jax.grad(loss))(sizes) >= 0)])
    assert abs(best - gap) < 3e-4  # the grid, and float32
    target = losses.smooth_labels(labels, 10, 0.1, spread=spread)
    np.testing.assert_allclose(loss(jnp.asarray(gap)), -np.sum(target * np.log(target)), rtol=1e-6)


def test_without_smoothing_it_is_the_cross_entropy_with_finite_slopes():
    logits, labels = X[0], jnp.array([0, 2, 1, 1, 0])
    for spread in ("all", "others"):
        plain = losses.smoothed_cross_entropy(logits, labels, 0.0, spread=spread)
        np.testing.assert_allclose(plain, losses.cross_entropy(logits, labels), rtol=1e-6)
        for end in (0.0, 1.0):
            assert np.isfinite(
                jax.grad(lambda e, s=spread: losses.smoothed_cross_entropy(X[0], labels, e, spread=s))(end)
            )
    with pytest.raises(ValueError, match='spread must be "all" or "others", got "most"'.replace('"most"', "'most'")):
        losses.smooth_labels(labels, 3, 0.1, spread="most")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 1, 3)])
def test_each_position_of_a_sequence_has_a_label(shape):
    logits = jax.random.normal(jax.random.key(3), (*shape, 4), jnp.float32)
    labels = jax.random.randint(jax.random.key(4), shape, 0, 4)
    theirs = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), theirs, rtol=1e-6)
    flat = losses.smoothed_cross_entropy(logits.reshape(-1, 4), labels.reshape(-1), 0.3, spread="others")
    np.testing.assert_allclose(losses.smoothed_cross_entropy(logits, labels, 0.3, spread="others"), flat, rtol=1e-6)
    assert losses.accuracy(logits, labels) == np.float32(np.mean(np.argmax(logits, axis=-1) == labels))
    with pytest.raises(ValueError, match=r"labels \[batch, ...\], got .*; one-hot labels become these by argmax"):
        losses.cross_entropy(logits, jax.nn.one_hot(labels, 4))


def test_monte_carlo_is_numpys_mean_and_unbiased_variance():
    def predict(key):
        return {"y": noise.dropout(key, X, 0.4)}

    mean, variance = noise.monte_carlo(predict, jax.random.key(9), 7)
    draws = np.stack([predict(key)["y"] for key in jax.random.split(jax.random.key(9), 7)])
    np.testing.assert_allclose(mean["y"], draws.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance["y"], draws.var(axis=0, ddof=1), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="samples must be at least 2, got 1"):
        noise.monte_carlo(predict, jax.random.key(9), 1)
