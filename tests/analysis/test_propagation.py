"""Signal propagation: closed forms, quadrature against SciPy, Jacobians multiplied out in NumPy, and averages."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from regopt import analysis

WIDTHS = (30, 50, 20, 40)
VARIANCES, BIASES, RATE, START = np.array([0.03, 0.01, 0.07]), np.array([0.2, 0.0, 0.5]), 0.3, 1.7


def linear(z):
    return z


def normal_integral(function, variance):
    """E function(z) by SciPy's adaptive quadrature, split where a ReLU has its kink."""
    if variance == 0:
        return function(0.0)
    density = stats.norm(scale=np.sqrt(variance)).pdf
    sides = [(-12 * np.sqrt(variance), 0), (0, 12 * np.sqrt(variance))]
    return sum(integrate.quad(lambda z: function(z) * density(z), *s, epsabs=1e-13, epsrel=1e-12)[0] for s in sides)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda z: jnp.tanh(z) ** 2, lambda z: np.tanh(z) ** 2),
        (lambda z: jnp.cosh(z) ** -4, lambda z: np.cosh(z) ** -4),
        (lambda z: jax.nn.sigmoid(z) ** 2, lambda z: special.expit(z) ** 2),
        (lambda z: jax.nn.relu(z) ** 2, lambda z: max(z, 0) ** 2),
        (lambda z: (z > 0).astype(z.dtype) * z**4, lambda z: (z > 0) * z**4),
    ],
)
def test_the_normal_mean_is_the_integral(ours, theirs):
    with jax.enable_x64(True):
        for variance in (0.0, 0.3, 1.0, 5.0):
            found = analysis.normal_mean(ours, variance)
            np.testing.assert_allclose(found, normal_integral(theirs, variance), rtol=1e-11, atol=1e-12)


def recursion(second, slope):
    """The recursion in NumPy, with means from SciPy; ``second`` and ``slope`` are squares."""
    square, forward = START, []
    for layer, (fan_in, v, b) in enumerate(zip(WIDTHS, VARIANCES, BIASES, strict=False)):
        forward.append(fan_in * v * square / (1 - RATE if layer else 1.0) + b)
        square = normal_integral(second, forward[-1])
    backward = [1.0]
    for layer in (1, 0):
        factor = WIDTHS[layer + 2] * VARIANCES[layer + 1] / (1 - RATE)
        backward.insert(0, backward[0] * factor * normal_integral(slope, forward[layer]))
    return forward, backward


@pytest.mark.parametrize(
    ("activation", "second", "slope"),
    [
        (linear, lambda z: z**2, lambda z: 1.0),
        (jax.nn.relu, lambda z: max(z, 0.0) ** 2, lambda z: float(z > 0)),
        (jnp.tanh, lambda z: np.tanh(z) ** 2, lambda z: np.cosh(z) ** -4),
    ],
    ids=["linear", "relu", "tanh"],
)
def test_the_prediction_is_the_recursion_with_biases_dropout_and_a_variance_for_each_layer(activation, second, slope):
    numbers = {"bias_variance": BIASES, "rate": RATE, "input_square": START}
    with jax.enable_x64(True):
        found = analysis.predict_propagation(WIDTHS, VARIANCES, activation, **numbers)
    for ours, theirs in zip(found, recursion(second, slope), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@pytest.mark.parametrize(
    ("activation", "kernel", "ratio"),
    [
        (linear, 1.0, 1.0),  # Xavier, of square layers: 2 / (n + n) = 1 / n
        (jax.nn.relu, 2.0, 1.0),  # He
        (jax.nn.relu, 1.0, 1 / 2),
        (linear, 1 / 3, 1 / 3),  # PyTorch
        (jax.nn.relu, 1 / 3, 1 / 6),
    ],
)
def test_the_ratios_from_layer_to_layer_are_the_published_ones(activation, kernel, ratio):
    with jax.enable_x64(True):
        forward, backward = analysis.predict_propagation((100,) * 6, kernel / 100, activation)
    np.testing.assert_allclose(forward[1:] / forward[:-1], ratio, rtol=1e-12)
    np.testing.assert_allclose(backward[:-1] / backward[1:], ratio, rtol=1e-12)


def test_a_xavier_kernel_that_is_not_square_keeps_neither():
    """Forward 2 n_in / (n_in + n_out), backward 2 n_out / (n_in + n_out)."""
    widths = np.array([300, 500, 200])
    with jax.enable_x64(True):
        forward, backward = analysis.predict_propagation(widths, 2 / (widths[:-1] + widths[1:]), linear)
    np.testing.assert_allclose(forward, np.cumprod([600 / 800, 1000 / 700]), rtol=1e-12)
    np.testing.assert_allclose(backward, [400 / 700, 1.0], rtol=1e-12)


def test_what_is_measured_are_the_jacobians_multiplied_out():
    """The slope at layer t is that at the last layer times L - t Jacobians dz^{s+1}/dz^s, s = t to L - 1."""
    generator = np.random.default_rng(1)
    kernels = [generator.normal(size=(a, b)) / 3 for a, b in pairwise(WIDTHS)]
    x, slopes = generator.normal(size=(7, WIDTHS[0])), generator.normal(size=(7, WIDTHS[-1]))
    with jax.enable_x64(True):
        layers = [lambda h, w=w: h @ w + 0.25 for w in map(jnp.asarray, kernels)]
        forward, backward = analysis.measure_propagation(layers, jnp.tanh, jnp.asarray(x), jnp.asarray(slopes))
    z = [x @ kernels[0] + 0.25]
    for kernel in kernels[1:]:
        z.append(np.tanh(z[-1]) @ kernel + 0.25)
    np.testing.assert_allclose(forward, [np.mean(each**2) for each in z], rtol=1e-13)
    by_layer = []
    for t in range(len(kernels)):
        jacobians = [np.cosh(z[s])[:, :, None] ** -2 * kernels[s + 1][None] for s in range(t, len(kernels) - 1)]
        signal = slopes[:, :, None]
        for jacobian in reversed(jacobians):
            signal = jacobian @ signal
        by_layer.append(np.mean(signal**2))
    np.testing.assert_allclose(backward, np.array(by_layer) / by_layer[-1], rtol=1e-13)


def test_the_mean_over_networks_is_the_prediction():
    """ReLU units with He's variance, with and without dropout: the mean is exact at any width; four standard errors."""
    widths, networks, batch = (12, 24, 16, 24), 2000, 4
    sizes = [a * b for a, b in pairwise(widths)]

    @jax.jit
    def measured(key, rate):
        key, mask_key = jax.random.split(key)
        draws = jax.random.normal(key, (networks, sum(sizes) + batch * 36), jnp.float32)
        kept = jax.random.uniform(mask_key, (networks, batch, 24), jnp.float32) > rate
        return jax.vmap(one, in_axes=(0, 0, None))(draws, kept, rate)

    def one(draws, kept, rate):
        *kernels, x, slopes = jnp.split(draws, np.cumsum([*sizes, batch * 12]))
        shaped = [w.reshape(a, b) * (2 / a) ** 0.5 for w, (a, b) in zip(kernels, pairwise(widths), strict=True)]
        x, slopes = x.reshape(batch, 12), slopes.reshape(batch, 24)

        def activation(z):
            return jnp.where(kept[:, : z.shape[1]], jax.nn.relu(z) / (1 - rate), 0)

        forward, backward = analysis.measure_propagation([lambda h, w=w: h @ w for w in shaped], activation, x, slopes)
        return jnp.concatenate([forward, backward * jnp.mean(slopes**2)])

    for rate in (0.0, 0.4):
        found = np.asarray(measured(jax.random.key(0), jnp.float32(rate)))
        expected = np.concatenate(
            analysis.predict_propagation(widths, 2 / np.array(widths[:-1]), jax.nn.relu, rate=rate)
        )
        assert np.all(np.abs(found.mean(axis=0) - expected) < 4 * found.std(axis=0) / np.sqrt(networks))


def test_products_of_gaussian_matrices_grow_as_published():
    with jax.enable_x64(True):
        rates, variance = map(np.asarray, analysis.gaussian_growth(4))
        scaled = np.asarray(analysis.gaussian_growth(3, 0.5)[0])
    np.testing.assert_allclose(rates, [0.55797, 0.36482, 0.05797, -0.63518], atol=5.1e-6)
    np.testing.assert_allclose(rates[0], 0.557966, atol=5.1e-7)
    np.testing.assert_allclose(variance, 0.161234, atol=5.1e-7)
    for n, rate in zip((3, 2, 1), scaled, strict=True):  # half of E ln of a chi-squared, by SciPy's integration
        mean = stats.chi2(n).expect(np.log) / 2
        np.testing.assert_allclose(rate, np.log(0.5) + mean, rtol=1e-7)
    assert abs(stats.chi2(4).expect(lambda s: (np.log(s) / 2 - rates[0]) ** 2) / variance - 1) < 1e-7


def test_slopes_are_finite_and_ranges_are_checked():
    names = ("kernel_variance", "bias_variance", "rate", "input_square")

    def total(*numbers):
        given = dict(zip(names, numbers, strict=True))
        found = analysis.predict_propagation((3, 4, 5), activation=jnp.tanh, **given)
        return jnp.sum(found.forward) + jnp.sum(found.backward)

    grads = jax.jit(jax.vmap(jax.grad(total, argnums=(0, 1, 2, 3))))
    for grad in grads(*jnp.array([[0.2, 0.0], [0.1, 0.0], [0.3, 0.0], [1.0, 0.0]], jnp.float32)):
        assert np.isfinite(grad).all()
    for name, number in (("kernel_variance", -1.0), ("bias_variance", -1.0), ("rate", 1.0), ("input_square", -1.0)):
        with pytest.raises(ValueError, match=rf"{name} must lie in .*, got {number}"):
            analysis.predict_propagation((3, 4), **({"kernel_variance": 1.0, "activation": linear} | {name: number}))
    with pytest.raises(ValueError, match=r"at least, got \(3,\)"):
        analysis.predict_propagation((3,), 1.0, linear)
    with pytest.raises(ValueError, match=r"variance must lie in \[0, inf\), got -1.0"):
        analysis.normal_mean(linear, -1.0)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        analysis.gaussian_growth(0)
    with pytest.raises(ValueError, match=r"deviation must lie in \(0, inf\), got 0.0"):
        analysis.gaussian_growth(2, 0.0)
