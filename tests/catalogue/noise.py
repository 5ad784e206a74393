"""Noise and layers."""

from flax import nnx

from catalogue.row import Row
from regopt import layers, noise

ROWS = [
    Row(
        noise.dropout,
        "noise",
        {"rate": (0.4, 0.15)},
        {"rate": (0.0, 1.0)},
        build=lambda rate: lambda key, x: noise.dropout(key, x, rate),
    ),
    Row(
        layers.Dropout,
        "noise",
        {"rate": (0.4, 0.15)},
        {"rate": (0.0, 1.0)},
        build=lambda rate: lambda key, x: layers.Dropout(rate)(x, rngs=key),
    ),
    Row(
        layers.MLP,
        "noise",
        {"rate": (0.4, 0.15)},
        {"rate": (0.0, 1.0)},
        build=lambda rate: lambda key, x: layers.MLP((3, 5, 2), rate=rate, param_dtype=x.dtype, rngs=nnx.Rngs(key))(x),
    ),
    Row(
        layers.Dense,
        "noise",
        {},
        build=lambda: lambda key, x: layers.Dense(3, 2, param_dtype=x.dtype, rngs=nnx.Rngs(key))(x),
    ),
]
