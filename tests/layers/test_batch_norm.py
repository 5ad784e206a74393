"""Batch normalisation against flax, PyTorch's convention in NumPy, its printed gradients, and its running averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import regopt
from regopt import layers, losses, sweep
from regopt.data import Splits

X = np.random.default_rng(0).normal(1.5, 2.0, (8, 3))
DY = np.random.default_rng(1).normal(size=X.shape)
SCALE, BIAS = np.array([0.5, -1.5, 2.0]), np.array([0.3, 0.0, -1.0])


@pytest.fixture
def generator():
    return np.random.default_rng(5)


def norm(dtype=jnp.float32, **arguments):
    """A layer with a scale and a bias that are not the identity."""
    layer = layers.BatchNorm(3, param_dtype=dtype, **arguments)
    layer.scale[...], layer.bias[...] = jnp.asarray(SCALE, dtype), jnp.asarray(BIAS, dtype)
    return layer


def batches(count, size):
    """Normal batches of mean 2 and variance 4."""
    return 2 + 2 * np.random.default_rng(7).normal(size=(count, size, 3))


def test_training_and_inference_outputs_are_those_of_flax():
    ours, theirs = norm(momentum=0.9, eps=1e-3), nnx.BatchNorm(3, momentum=0.9, epsilon=1e-3, rngs=nnx.Rngs(0))
    theirs.scale[...], theirs.bias[...] = ours.scale[...], ours.bias[...]
    x = jnp.asarray(X.reshape(2, 4, 3), jnp.float32)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.mean[...], theirs.mean[...], rtol=1e-5)
    theirs.var[...] = ours.var[...]  # flax averages the biased variance
    ours.eval()
    theirs.eval()
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def pytorch(stream, momentum, eps):
    """torch.nn.BatchNorm1d in NumPy: biased variance for the output, unbiased in the running average."""
    mean, var = np.zeros(3), np.ones(3)
    for x in stream:
        output = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) * SCALE + BIAS
        mean = (1 - momentum) * mean + momentum * x.mean(axis=0)
        var = (1 - momentum) * var + momentum * x.var(axis=0, ddof=1)
    return output, mean, var


@pytest.mark.parametrize(("momentum", "eps"), [(0.9, 1e-5), (0.3, 0.1)])
def test_the_running_statistics_are_those_of_pytorch(momentum, eps):
    with jax.enable_x64(True):
        layer, stream = norm(jnp.float64, momentum=momentum, eps=eps), batches(5, 8)
        output = [layer(jnp.asarray(x)) for x in stream][-1]
        expected = pytorch(stream, 1 - momentum, eps)
        for ours, theirs in zip((output, layer.mean[...], layer.var[...]), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_it_is_torch_where_there_is_torch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.BatchNorm1d(3, momentum=0.1, eps=1e-3, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(SCALE))
        theirs.bias.copy_(torch.tensor(BIAS))
    with jax.enable_x64(True):
        layer = norm(jnp.float64, momentum=0.9, eps=1e-3)
        for x in batches(4, 8):
            np.testing.assert_allclose(layer(jnp.asarray(x)), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(layer.mean[...], theirs.running_mean.numpy(), rtol=1e-13)
        np.testing.assert_allclose(layer.var[...], theirs.running_var.numpy(), rtol=1e-13)
        x = torch.tensor(X, requires_grad=True)
        theirs(x).backward(torch.tensor(DY))
        for ours, gradient in zip(slopes_of(layer), (x.grad, theirs.weight.grad, theirs.bias.grad), strict=True):
            np.testing.assert_allclose(ours, gradient.numpy(), rtol=1e-12, atol=1e-14)


def slopes_of(module):
    """The slopes of the outputs, weighted by DY, in x, scale and bias; under x64."""
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    _, pull = jax.vjp(lambda x, params: nnx.merge(graph, params, rest, copy=True)(x), jnp.asarray(X), params)
    dx, d_params = pull(jnp.asarray(DY))
    return dx, d_params["scale"][...], d_params["bias"][...]


def test_the_slopes_are_those_of_flax():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # flax mixes dtypes
        theirs = nnx.BatchNorm(3, epsilon=0.01, param_dtype=jnp.float64, use_fast_variance=False, rngs=nnx.Rngs(0))
        theirs.mean, theirs.var = nnx.BatchStat(jnp.zeros(3)), nnx.BatchStat(jnp.ones(3))
        ours = norm(jnp.float64, eps=0.01)
        theirs.scale[...], theirs.bias[...] = ours.scale[...], ours.bias[...]
        for ours_slope, theirs_slope in zip(slopes_of(ours), slopes_of(theirs), strict=True):
            np.testing.assert_allclose(ours_slope, theirs_slope, rtol=1e-13, atol=1e-14)


def backward(x, dy, eps):
    """The gradients that Ioffe & Szegedy (2015) print in section 3, line by line; no scale of x beyond theirs."""
    m, mean = len(x), x.mean(axis=0)
    variance = np.mean((x - mean) ** 2, axis=0)
    normalised = (x - mean) / np.sqrt(variance + eps)
    d_normalised = dy * SCALE
    d_variance = np.sum(d_normalised * (x - mean) * -0.5 * (variance + eps) ** -1.5, axis=0)
    d_mean = np.sum(-d_normalised / np.sqrt(variance + eps), axis=0) + d_variance * np.mean(-2 * (x - mean), axis=0)
    dx = d_normalised / np.sqrt(variance + eps) + d_variance * 2 * (x - mean) / m + d_mean / m
    return dx, np.sum(dy * normalised, axis=0), np.sum(dy, axis=0)


def test_the_slopes_are_the_printed_backward_formulas():
    with jax.enable_x64(True):
        slopes = slopes_of(norm(jnp.float64, eps=0.01))
    for ours, printed in zip(slopes, backward(X, DY, 0.01), strict=True):
        np.testing.assert_allclose(ours, printed, rtol=1e-14, atol=1e-14)


def test_the_output_variance_is_slightly_below_the_scale_squared():
    """v / (v + eps), not 1: .9997 for eps = 1e-3 and v near 3.5."""
    with jax.enable_x64(True):
        output = np.asarray(norm(jnp.float64, eps=1e-3)(jnp.asarray(X)))
    v = X.var(axis=0)
    np.testing.assert_allclose(output.var(axis=0) / SCALE**2, v / (v + 1e-3), rtol=1e-12)


def test_the_biased_batch_variance_is_low_by_one_over_m_and_the_running_one_is_not():
    """E s2_B = (m - 1) / m sigma2: 3.5 for m = 8 and sigma2 = 4; within four standard errors."""
    stream = batches(4000, 8)
    biased = stream.var(axis=1)
    error = 4 * biased.std() / np.sqrt(biased.size)
    assert abs(biased.mean() - 3.5) < error
    layer = layers.BatchNorm(3, momentum=1.0, bias_correction=True)
    graph, state = nnx.split(layer)

    def step(state, x):
        module = nnx.merge(graph, state)
        module(x)
        return nnx.state(module), None

    state, _ = jax.lax.scan(step, state, jnp.asarray(stream, jnp.float32))
    tracked = np.asarray(nnx.merge(graph, state).var[...])
    np.testing.assert_allclose(tracked, stream.var(axis=1, ddof=1).mean(axis=0), rtol=1e-4)
    assert abs(tracked.mean() - 4.0) < error * 8 / 7


def test_the_first_batch_counts_at_once_and_its_initial_values_fade_as_the_power():
    """Without correction, from mean 0, twenty batches of mean 1 leave 1 - 0.95**20 = 0.6415."""
    with jax.enable_x64(True):
        ones = jnp.tile(jnp.array([[0.0], [2.0]]), (4, 3))
        plain, corrected = norm(jnp.float64, momentum=0.95), norm(jnp.float64, momentum=0.95, bias_correction=True)
        for step in range(20):
            plain(ones)
            corrected(ones)
            np.testing.assert_allclose(plain.mean[...], 1 - 0.95 ** (step + 1), rtol=1e-12)
            np.testing.assert_allclose(corrected.mean[...], 1.0, rtol=1e-12)
            np.testing.assert_allclose(corrected.var[...], 8 / 7, rtol=1e-12)
        np.testing.assert_allclose(plain.mean[...], 0.6415, atol=5e-5)
        np.testing.assert_allclose(plain.var[...], 0.95**20 + (1 - 0.95**20) * 8 / 7, rtol=1e-12)


def test_the_corrected_average_is_the_normalised_weighted_one():
    stream = batches(6, 8)
    weights = 0.8 ** np.arange(5, -1, -1)
    with jax.enable_x64(True):
        layer = norm(jnp.float64, momentum=0.8, bias_correction=True)
        for x in stream:
            layer(jnp.asarray(x))
        expected = np.average(stream.mean(axis=1), axis=0, weights=weights)
        np.testing.assert_allclose(layer.mean[...], expected, rtol=1e-13)
        expected = np.average(stream.var(axis=1, ddof=1), axis=0, weights=weights)
        np.testing.assert_allclose(layer.var[...], expected, rtol=1e-13)


class Net(nnx.Module):
    """Two normalised layers with dropout, as an estimate of statistics meets them."""

    def __init__(self, rngs, rate=0.5, **arguments):
        self.first, self.second = layers.Dense(3, 4, rngs=rngs), layers.Dense(4, 2, rngs=rngs)
        self.norm, self.last = layers.BatchNorm(4, **arguments), layers.BatchNorm(2, **arguments)
        self.dropout = layers.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        return self.last(self.second(self.dropout(jax.nn.relu(self.norm(self.first(x))))))


def test_a_pass_over_data_averages_the_statistics_of_its_batches():
    net = Net(nnx.Rngs(0), momentum=0.7)
    stream = jnp.asarray(batches(5, 8), jnp.float32)
    net(stream[0])  # statistics that the pass must forget
    layers.estimate_statistics(net, stream)
    hidden = np.stack([net.first(x) for x in stream])
    np.testing.assert_allclose(net.norm.mean[...], hidden.mean(axis=(0, 1)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(net.norm.var[...], hidden.var(axis=1, ddof=1).mean(axis=0), rtol=1e-5)
    normalised = (hidden - hidden.mean(axis=1, keepdims=True)) / np.sqrt(hidden.var(axis=1, keepdims=True) + 1e-5)
    after = np.stack([net.second(jnp.asarray(np.maximum(x, 0))) for x in normalised])
    np.testing.assert_allclose(net.last.var[...], after.var(axis=1, ddof=1).mean(axis=0), rtol=1e-4)
    assert net.norm.use_running_average
    assert not net.norm.bias_correction
    np.testing.assert_allclose(net.norm.momentum[...], 0.7, rtol=1e-6)
    for model, data, message in ((net, [], "at least one batch"), (net.first, stream, "must hold a BatchNorm")):
        with pytest.raises(ValueError, match=message):
            layers.estimate_statistics(model, data)


@pytest.mark.parametrize("use_bias", [True, False])
def test_the_folded_layer_is_the_two_in_inference(generator, use_bias):
    with jax.enable_x64(True):
        dense = layers.Dense(4, 3, use_bias=use_bias, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        if use_bias:
            dense.bias[...] = jnp.array([0.5, -1.0, 2.0])
        layer = norm(jnp.float64, momentum=0.5)
        x = jnp.asarray(generator.normal(size=(6, 4)))
        layer(dense(x))
        kernel = np.asarray(dense.kernel[...])
        folded = layers.fold_batch_norm(dense, layer)
        layer.eval()
        np.testing.assert_allclose(folded(x), layer(dense(x)), rtol=1e-13, atol=1e-14)
        np.testing.assert_array_equal(dense.kernel[...], kernel)
    with pytest.raises(ValueError, match="norm must have 3 features as dense, got 2"):
        layers.fold_batch_norm(dense, layers.BatchNorm(2))


def test_outputs_ignore_the_scale_of_the_kernel_and_gradients_are_orthogonal_to_it(generator):
    """BN(aWx) = BN(Wx), so the gradient at aW is 1/a times that at W, and W . gradient is 0, exactly at eps = 0."""
    with jax.enable_x64(True):
        x, w = jnp.asarray(generator.normal(size=(8, 4))), jnp.asarray(generator.normal(size=(4, 3)))
        graph, state = nnx.split(norm(jnp.float64, eps=0.0))

        def output(w):
            return nnx.merge(graph, state, copy=True)(x @ w)

        slope = jax.grad(lambda w: jnp.sum(jnp.sin(output(w))))
        np.testing.assert_allclose(output(7 * w), output(w), rtol=1e-12)
        np.testing.assert_allclose(slope(7 * w), slope(w) / 7, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(jnp.sum(w * slope(w), axis=0), 0, atol=1e-13)


def test_a_constant_feature_has_finite_values_and_slopes():
    constant = jnp.ones((4, 3))
    for eps in (0.0, 1e-5):
        graph, state = nnx.split(norm(eps=eps))
        value, slope = jax.value_and_grad(lambda x, g=graph, s=state: jnp.sum(nnx.merge(g, s, copy=True)(x) ** 2))(
            constant
        )
        np.testing.assert_allclose(value, 4 * np.sum(BIAS**2), rtol=1e-6)
        assert np.isfinite(slope).all()


def test_training_needs_two_values_and_the_right_size():
    with pytest.raises(ValueError, match=r"at least two values of each feature, got x of shape \(1, 3\)"):
        norm()(jnp.ones((1, 3)))
    with pytest.raises(ValueError, match=r"x must have shape \[..., 3\], got \(4, 2\)"):
        norm()(jnp.ones((4, 2)))
    for name, number in (("momentum", 1.5), ("eps", -1.0)):
        with pytest.raises(ValueError, match=rf"{name} must lie in .*, got {number}"):
            layers.BatchNorm(3, **{name: number})
    assert norm(use_running_average=True)(jnp.ones((1, 3))).shape == (1, 3)


def test_a_sweep_gives_each_lane_its_own_momentum_and_statistics():
    x = jnp.asarray(batches(1, 32)[0], jnp.float32)
    y = (x[:, 0] > 2).astype(jnp.int32)
    data = Splits((x, y), (x, y), (x, y))
    settings = {"momentum": [0.9, 0.5], "eps": [1e-5, 1e-2], "learning_rate": [0.1, 0.1]}
    task = sweep.supervised(
        lambda h, rngs: Net(rngs, rate=0.0, momentum=h["momentum"], eps=h["eps"]),
        losses.cross_entropy,
        lambda h: regopt.sgd(h["learning_rate"]),
    )
    run = {"steps": 6, "eval_every": 3, "batch_size": 8, "key": jax.random.key(0)}
    together = sweep.run(task, sweep.from_columns(settings), data, **run)
    alone = sweep.run(task, sweep.from_columns({name: values[1:] for name, values in settings.items()}), data, **run)
    ours, theirs = together.history.curves["validation_loss"], alone.history.curves["validation_loss"]
    assert np.isfinite(ours).all()
    assert not np.array_equal(ours[0], ours[1])
    np.testing.assert_allclose(ours[1], theirs[0], rtol=1e-5)
