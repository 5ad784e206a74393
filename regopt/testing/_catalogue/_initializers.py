"""Initial kernels and biases, exercised as noise: drawn with a key in the shape and dtype of the input."""

import jax
import jax.numpy as jnp
from flax import nnx

from regopt import initializers
from regopt.testing._row import Row

GAIN, GAIN_ENDS = {"gain": (0.7, 2.0)}, {"gain": (0.0,)}
LABELS = jnp.array([0, 2, 1, 1])


def drawn(factory, **static):
    """The row's initializer, as ``apply(key, x)``."""

    def build(**numbers):
        return lambda key, x: factory(**static, **numbers)(key, x.shape, x.dtype)

    return build


def fitted(variance, tolerance):
    """Two dense layers, one with a bias, and what they become on the input."""

    def apply(key, x):
        first, second = (nnx.initializers.normal(0.5)(k, (3, 3), x.dtype) for k in jax.random.split(key))
        layers = [lambda p, h: h @ p["kernel"] + p["bias"][None], lambda _, h: jax.nn.relu(h), lambda p, h: h @ p]
        params = [{"kernel": first, "bias": jnp.full(3, 0.1, x.dtype)}, None, second]
        return initializers.lsuv(layers, params, x, variance=variance, tolerance=tolerance, max_iterations=3)[0]

    return apply


def biased(smoothing):
    """The input, shifted by the log frequencies of fixed labels."""

    def apply(_key, x):
        bias = initializers.output_bias(LABELS, "cross_entropy", classes=3, smoothing=smoothing)
        return x + bias.astype(x.dtype)[None]

    return apply


ROWS = [
    Row(initializers.glorot, "noise", GAIN, GAIN_ENDS, build=drawn(initializers.glorot)),
    Row(
        initializers.he,
        "noise",
        {**GAIN, "negative_slope": (0.3, -0.5)},
        {**GAIN_ENDS, "negative_slope": (0.0, 1.0)},
        build=drawn(initializers.he),
    ),
    Row(initializers.torch_kernel, "noise", GAIN, GAIN_ENDS, build=drawn(initializers.torch_kernel)),
    Row(initializers.torch_bias, "noise", GAIN, GAIN_ENDS, build=drawn(initializers.torch_bias, fan_in=5)),
    Row(initializers.orthogonal, "noise", GAIN, GAIN_ENDS, build=drawn(initializers.orthogonal)),
    Row(initializers.relu_bias, "noise", {"value": (0.1, 0.3)}, build=drawn(initializers.relu_bias)),
    Row(
        initializers.lsuv,
        "noise",
        {"variance": (2.0, 0.5), "tolerance": (0.01, 5.0)},
        {"tolerance": (0.0,)},
        build=fitted,
    ),
    Row(initializers.output_bias, "noise", {"smoothing": (0.5, 3.0)}, {"smoothing": (0.0,)}, build=biased),
]
