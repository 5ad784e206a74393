"""Noise and layers."""

import jax
import jax.numpy as jnp
from flax import nnx

from regopt import layers, noise
from regopt.testing._row import Row


def normalised(momentum, eps):
    """Two training batches, then inference, where alone the momentum has an effect."""

    def apply(_key, x):
        layer = layers.BatchNorm(3, momentum=momentum, eps=eps)
        return layer(x), layer(2 * x), layer(x, use_running_average=True)

    return apply


def folded():
    """A layer and its normalisation as one, after a pass over the input."""

    def apply(_key, x):
        dense = layers.Dense(3, 2, param_dtype=x.dtype, rngs=nnx.Rngs(0))
        norm = layers.BatchNorm(2)
        layers.estimate_statistics(nnx.Sequential(dense, norm), [x])
        return layers.fold_batch_norm(dense, norm)(x)

    return apply


def convolved():
    """A window of two over the examples, in flax's layer."""

    def apply(_key, x):
        product = layers.convolution_by_product
        return nnx.Conv(3, 2, 2, conv_general_dilated=product, param_dtype=x.dtype, rngs=nnx.Rngs(0))(x[None])

    return apply


def two_heads(dtype):
    """Two tasks on one trunk."""
    rngs = nnx.Rngs(0)
    trunk, *heads = (layers.Dense(a, b, param_dtype=dtype, rngs=rngs) for a, b in ((3, 4), (4, 2), (4, 1)))
    return layers.MultiTask(trunk, {"first": heads[0], "second": heads[1]})


LABELS = jnp.array([0, 2, 1, 1])


def rate_row(factory, build, name="rate", ends=(0.0, 1.0)):
    """A row of noise that has one number."""
    return Row(factory, "noise", {name: (0.4, 0.15)}, {name: ends}, build=build)


def drawn(factory, name="rate", ends=(0.0, 1.0)):
    """The row of a function of a key, an input and one number."""
    return rate_row(factory, lambda **number: lambda key, x: factory(key, x, **number), name, ends)


def layer(factory, name="rate", ends=(0.0, 1.0)):
    """The row of a layer of one number, which takes its key when it is called."""
    return rate_row(factory, lambda **number: lambda key, x: factory(**number)(x, rngs=key), name, ends)


ROWS = [
    rate_row(noise.weight_scaling, lambda rate: lambda _key, x: noise.weight_scaling(x, rate)),
    drawn(noise.spatial_dropout),
    drawn(noise.stochastic_depth),
    rate_row(noise.drop_connect, lambda rate: lambda key, x: noise.drop_connect(key, {"w": x, "bias": x}, rate)),
    drawn(noise.gaussian_dropout),
    drawn(noise.gaussian_noise, "deviation", (0.0,)),
    rate_row(
        noise.label_noise,
        lambda rate: lambda key, x: x * jax.nn.one_hot(noise.label_noise(key, LABELS, rate, 3), 3, dtype=x.dtype),
    ),
    Row(
        noise.monte_carlo,
        "noise",
        {},
        build=lambda: (
            lambda key, x: jax.tree.map(
                lambda y: y.astype(x.dtype), noise.monte_carlo(lambda each: noise.dropout(each, x, 0.3), key, 3)
            )
        ),
    ),
    Row(
        layers.BatchNorm,
        "noise",
        {"momentum": (0.9, 0.3), "eps": (1e-3, 0.1)},
        {"momentum": (0.0, 1.0), "eps": (0.0,)},
        build=normalised,
    ),
    Row(layers.convolution_by_product, "noise", {}, build=convolved),
    Row(layers.estimate_statistics, "noise", {}, build=folded),
    Row(layers.fold_batch_norm, "noise", {}, build=folded),
    rate_row(
        layers.DropConnect,
        lambda rate: lambda key, x: layers.DropConnect(3, 2, rate, param_dtype=x.dtype, rngs=nnx.Rngs(0))(x, rngs=key),
    ),
    layer(layers.SpatialDropout),
    layer(layers.StochasticDepth),
    layer(layers.GaussianDropout),
    layer(layers.GaussianNoise, "deviation", (0.0,)),
    drawn(noise.dropout),
    layer(layers.Dropout),
    rate_row(
        layers.MLP,
        lambda rate: lambda key, x: layers.MLP((3, 5, 2), rate=rate, param_dtype=x.dtype, rngs=nnx.Rngs(key))(x),
    ),
    Row(layers.MultiTask, "noise", {}, build=lambda: lambda _key, x: two_heads(x.dtype)(x)),
    Row(
        layers.Dense,
        "noise",
        {},
        build=lambda: lambda key, x: layers.Dense(3, 2, param_dtype=x.dtype, rngs=nnx.Rngs(key))(x),
    ),
]
