"""Initializers: moments and ranges, orthogonality, the minimum of a loss by SciPy, and variances layer by layer."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import optimize

from regopt import initializers, layers, losses

SEED = 0
SHAPE, FAN_IN, FAN_OUT = (3, 2, 40, 600), 240, 3600  # a convolution's: the window counts into both fans
DTYPES = [jnp.float32, jnp.bfloat16]
GAIN = 0.7

# by name: the initializer and its variance at gain 1
VARIANCES = {
    "glorot uniform": (initializers.glorot(GAIN), 2 / (FAN_IN + FAN_OUT)),
    "glorot normal": (initializers.glorot(GAIN, distribution="normal"), 2 / (FAN_IN + FAN_OUT)),
    "he normal": (initializers.he(GAIN), 2 / FAN_IN),
    "he uniform": (initializers.he(GAIN, distribution="uniform"), 2 / FAN_IN),
    "he truncated": (initializers.he(GAIN, distribution="truncated_normal"), 2 / FAN_IN),
    "he backward": (initializers.he(GAIN, mode="fan_out"), 2 / FAN_OUT),
    "he leaky": (initializers.he(GAIN, negative_slope=0.5), 1.6 / FAN_IN),
    "torch kernel": (initializers.torch_kernel(GAIN), 1 / (3 * FAN_IN)),
    "torch bias": (initializers.torch_bias(FAN_IN, GAIN), 1 / (3 * FAN_IN)),
}


@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_mean_variance_and_range(name, dtype):
    """Within four standard errors of 144,000 numbers: sd / sqrt(n) for the mean, sd^2 sqrt((kurtosis - 1) / n)."""
    initializer, variance = VARIANCES[name]
    variance *= GAIN**2
    draw = initializer(jax.random.key(SEED), SHAPE, dtype)
    assert draw.dtype == dtype
    draw = np.asarray(draw, np.float64)
    uniform = "uniform" in name or "torch" in name
    kurtosis = 1.8 if uniform else 3.0
    assert abs(draw.mean()) < 4 * np.sqrt(variance / draw.size)
    rounding = 2**-8 if dtype == jnp.bfloat16 else 1e-6
    assert abs(draw.var() / variance - 1) < 4 * np.sqrt((kurtosis - 1) / draw.size) + rounding
    if uniform:
        assert 0.999 - rounding < np.abs(draw).max() / np.sqrt(3 * variance) <= 1 + rounding


def test_they_are_those_of_jax_where_jax_has_them():
    for ours, theirs in (
        (initializers.glorot(), jax.nn.initializers.glorot_uniform()),
        (initializers.glorot(distribution="truncated_normal"), jax.nn.initializers.glorot_normal()),
        (initializers.he(distribution="uniform"), jax.nn.initializers.he_uniform()),
        (initializers.he(distribution="truncated_normal"), jax.nn.initializers.he_normal()),
        (initializers.orthogonal(0.5), jax.nn.initializers.orthogonal(0.5)),
    ):
        key = jax.random.key(3)
        np.testing.assert_allclose(
            ours(key, (6, 4), jnp.float32), theirs(jax.random.clone(key), (6, 4), jnp.float32), rtol=1e-6
        )
    assert initializers.glorot()(jax.random.key(SEED), (6, 4)).dtype == jnp.result_type(float)


def test_the_axes_may_be_swapped():
    """A kernel [out, in], as PyTorch and ``layers.Dense`` store it."""
    kernel = initializers.torch_kernel(in_axis=-1, out_axis=-2)(jax.random.key(4), (100, 25), jnp.float32)
    assert 0.199 < jnp.max(jnp.abs(kernel)) <= 0.2


@pytest.mark.parametrize("shape", [(8, 5), (5, 8), (6, 6), (3, 4, 5)])
def test_columns_or_rows_are_orthonormal_times_the_gain(shape):
    with jax.enable_x64(True):
        kernel = np.asarray(initializers.orthogonal(1.5)(jax.random.key(SEED), shape, jnp.float64)).reshape(
            -1, shape[-1]
        )
    gram = kernel.T @ kernel if kernel.shape[0] >= kernel.shape[1] else kernel @ kernel.T
    np.testing.assert_allclose(gram, 2.25 * np.eye(len(gram)), atol=1e-14)
    assert initializers.orthogonal(1.5)(jax.random.key(SEED), shape, jnp.bfloat16).dtype == jnp.bfloat16


def test_orthogonal_matrices_are_uniform():
    """E Q = 0 and E Q_ij^2 = 1 / n, within four standard errors; a QR without its signs fixed has a mean."""
    keys = jax.random.split(jax.random.key(1), 4000)
    kernels = np.asarray(jax.vmap(lambda key: initializers.orthogonal()(key, (3, 3), jnp.float32))(keys))
    assert np.all(np.abs(kernels.mean(axis=0)) < 4 * kernels.std(axis=0) / np.sqrt(4000))
    squares = kernels**2
    assert np.all(np.abs(squares.mean(axis=0) - 1 / 3) < 4 * squares.std(axis=0) / np.sqrt(4000))


def minimum(loss, start):
    """The bias that SciPy finds, from a start off the minimum; tolerance from its gradient."""
    with jax.enable_x64(True):
        found = optimize.minimize(jax.jit(loss), start, jac=jax.jit(jax.grad(loss)), method="BFGS", tol=1e-10)
    return found.x


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 3.0])
def test_the_bias_of_a_classifier_minimises_its_cross_entropy(smoothing):
    """Smoothing is further examples of each class: weights in the loss."""
    labels = np.repeat([0, 1, 2, 3], [7, 1, 12, 4])
    counts = np.bincount(labels) + smoothing
    with jax.enable_x64(True):
        ours = initializers.output_bias(jnp.asarray(labels), "cross_entropy", classes=4, smoothing=smoothing)
        binary = initializers.output_bias(jnp.asarray(labels == 2), "binary_cross_entropy", smoothing=smoothing)
    weights = jnp.asarray(counts / counts.sum())
    theirs = minimum(lambda b: -jnp.sum(weights.astype(b.dtype) * jax.nn.log_softmax(b)), np.ones(4))
    np.testing.assert_allclose(ours, theirs - np.log(np.sum(np.exp(theirs))), atol=1e-7)
    np.testing.assert_allclose(np.sum(np.exp(ours)), 1.0, rtol=1e-12)
    ones, zeros = 12 + smoothing, 12 + smoothing
    assert abs(float(binary) - np.log(ones / zeros)) < 1e-12


def test_the_other_biases_minimise_their_losses():
    generator = np.random.default_rng(2)
    y, rates = generator.exponential(size=(21, 2)), generator.uniform(size=(20, 2)) ** 2
    with jax.enable_x64(True):
        mean = initializers.output_bias(jnp.asarray(y), "squared_error")
        median = initializers.output_bias(jnp.asarray(y), "absolute_error")
        log_odds = initializers.output_bias(jnp.asarray(rates), "binary_cross_entropy", smoothing=0.0)

        def squared(b):
            return losses.squared_error(jnp.broadcast_to(b[None], y.shape), jnp.asarray(y))

        def logistic(b):
            logits = jnp.broadcast_to(b[None], rates.shape)
            return jnp.mean(optax.losses.sigmoid_binary_cross_entropy(logits, jnp.asarray(rates)))

        np.testing.assert_allclose(mean, minimum(squared, np.zeros(2)), atol=1e-7)
        np.testing.assert_allclose(log_odds, minimum(logistic, np.zeros(2)), atol=1e-7)
    for column, b in zip(y.T, median, strict=True):
        found = optimize.minimize_scalar(
            lambda b, c=column: np.abs(c - b).mean(), bounds=(0, 5), options={"xatol": 1e-9}
        )
        assert np.abs(column - float(b)).mean() <= found.fun + 1e-12


def test_a_class_without_examples_has_a_finite_bias_and_other_axes_are_kept():
    bias = initializers.output_bias(jnp.array([0, 0, 2]), "cross_entropy", classes=4)
    np.testing.assert_allclose(bias, np.log(np.array([3, 1, 2, 1]) / 7), rtol=1e-6)
    traced = jax.jit(lambda y: initializers.output_bias(y, "cross_entropy", classes=4))(jnp.array([0, 0, 2]))
    np.testing.assert_allclose(traced, bias, rtol=1e-6)
    y = jnp.arange(6.0).reshape(2, 3).astype(jnp.bfloat16)
    for loss in ("squared_error", "absolute_error"):
        found = initializers.output_bias(y, loss, axis=1)
        assert found.dtype == jnp.float32
        np.testing.assert_array_equal(found, [1.0, 4.0])


def test_a_relu_bias_is_positive():
    assert (initializers.relu_bias(0.25)(jax.random.key(SEED), (4,), jnp.bfloat16) == 0.25).all()


def stack(dtype):
    """A net with badly scaled kernels of several widths."""
    widths = [20, 30, 5]
    generator = np.random.default_rng(4)
    functions, params = [], []
    for a, b in pairwise(widths):
        kernel = jnp.asarray(generator.normal(size=(a, b)) * generator.uniform(0.1, 5), dtype)
        functions += [lambda p, h: h @ p["kernel"] + p["bias"][None], lambda _, h: jnp.tanh(h)]
        params += [{"kernel": kernel, "bias": jnp.zeros(b, dtype)}, None]
    return functions[:-1], params[:-1], jnp.asarray(generator.normal(1.0, 3.0, (64, 20)), dtype)


def outputs(functions, params, x):
    """The outputs of the layers that have weights."""
    found = []
    for function, weights in zip(functions, params, strict=True):
        x = function(weights, x)
        if weights is not None:
            found.append(np.asarray(x, np.float64))
    return found


def test_lsuv_gives_each_layer_its_variance_in_one_pass_and_keeps_directions():
    functions, params, x = stack(jnp.float32)
    fit = jax.jit(lambda params, v: initializers.lsuv(functions, params, x, variance=v, max_iterations=1))
    fitted, variances = fit(params, 2.5)
    np.testing.assert_allclose([z.var() for z in outputs(functions, fitted, x)], 2.5, rtol=1e-4)
    np.testing.assert_allclose(variances, 2.5, rtol=1e-4)
    for before, after in zip(params[::2], fitted[::2], strict=True):
        ratio = np.asarray(after["kernel"]) / np.asarray(before["kernel"])
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-4)
        np.testing.assert_array_equal(after["bias"], before["bias"])


def mishkin(params, x, tolerance, most):
    """Algorithm 1 in NumPy, layer by layer: W <- W / sqrt(Var) while |Var - 1| >= tolerance."""
    fitted, x = [], np.asarray(x, np.float64)
    for weights in params:
        if weights is None:
            x = np.tanh(x)
            continue
        kernel, bias = (np.asarray(weights[name], np.float64) for name in ("kernel", "bias"))
        count = 0
        while abs((x @ kernel + bias).var() - 1) >= tolerance and count < most:
            kernel, count = kernel / np.sqrt((x @ kernel + bias).var()), count + 1
        x = x @ kernel + bias
        fitted.append(kernel)
    return fitted


def test_lsuv_is_the_published_algorithm():
    """With biases that differ from unit to unit, so that one rescaling is not enough; the cap binds at the last."""
    with jax.enable_x64(True):
        functions, params, x = stack(jnp.float64)
        for weights in params[::2]:
            weights["bias"] = jnp.linspace(-0.5, 0.5, len(weights["bias"]))
        fit = jax.jit(lambda tolerance: initializers.lsuv(functions, params, x, tolerance=tolerance, max_iterations=5))
        for tolerance in (0.3, 0.02, 1e-9):
            fitted, variances = fit(tolerance)
            for ours, theirs in zip(fitted[::2], mishkin(params, x, tolerance, 5), strict=True):
                np.testing.assert_allclose(ours["kernel"], theirs, rtol=1e-11)
            assert np.all(np.abs(np.asarray(variances) - 1) < max(tolerance, 0.02))


def test_lsuv_fits_flax_modules_and_leaves_a_dead_layer_alone():
    modules = [layers.Dense(8, 16, rngs=nnx.Rngs(0)), nnx.Linear(16, 4, rngs=nnx.Rngs(1))]
    graphs, states = zip(*(nnx.split(module) for module in modules), strict=True)
    functions = [lambda state, h, graph=graph: nnx.merge(graph, state)(h) for graph in graphs]
    x = 5 * jax.random.normal(jax.random.key(6), (50, 8), jnp.float32)
    fitted, variances = initializers.lsuv(functions, states, x)
    np.testing.assert_allclose(variances, 1, rtol=1e-4)
    for module, state in zip(modules, fitted, strict=True):
        nnx.update(module, state)
    np.testing.assert_allclose(jnp.var(modules[1](modules[0](x))), 1, rtol=1e-4)
    dead, variances = initializers.lsuv([lambda w, h: h @ w], [jnp.zeros((8, 3), jnp.float32)], x)
    np.testing.assert_array_equal(dead[0], 0)
    np.testing.assert_array_equal(variances, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: initializers.glorot(-1.0), r"gain must lie in \[0, inf\), got -1.0"),
        (lambda: initializers.he(negative_slope=np.inf), r"negative_slope must lie in \(-inf, inf\), got inf"),
        (lambda: initializers.torch_bias(0), "fan_in must be at least 1, got 0"),
        (lambda: initializers.relu_bias(0.0), r"value must lie in \(0, inf\), got 0.0"),
        (lambda: initializers.output_bias(jnp.ones(3), "hinge"), "loss must be one of cross_entropy, .*, got 'hinge'"),
        (lambda: initializers.output_bias(jnp.ones(3), "cross_entropy"), "classes must be given .*, got None"),
        (lambda: initializers.output_bias(jnp.ones(3), "squared_error", classes=3), "classes must be given"),
        (lambda: initializers.output_bias(jnp.ones(3), "cross_entropy", classes=3), "targets must be integers"),
        (
            lambda: initializers.output_bias(jnp.array([0, 3]), "cross_entropy", classes=3),
            r"targets must lie in \[0, 2\]",
        ),
        (
            lambda: initializers.output_bias(jnp.array([0.5, 1.5]), "binary_cross_entropy"),
            r"in \[0, 1\], got 0.5 to 1.5",
        ),
        (lambda: initializers.lsuv([], [None], jnp.ones(2)), "one tree for each of 0 layers, got 1"),
        (lambda: initializers.lsuv([], [], jnp.ones(2), max_iterations=0), "max_iterations must be at least 1, got 0"),
        (lambda: initializers.lsuv([], [], jnp.ones(2), variance=0.0), r"variance must lie in \(0, inf\), got 0.0"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
