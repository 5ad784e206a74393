"""Sizes and activations of layers that are none are refused by name."""

import jax
import numpy as np
import pytest
from flax import nnx

from regopt import augment, layers


@pytest.mark.parametrize("size", ["3", float("nan"), 0, -1, True, 2.5, None, (3,), np.array([3, 4])])
@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("in_features", lambda size: layers.Dense(size, 4, rngs=nnx.Rngs(0))),
        ("out_features", lambda size: layers.Dense(4, size, rngs=nnx.Rngs(0))),
        ("out_features", lambda size: layers.MLP((4, size), rngs=nnx.Rngs(0))),
        ("num_features", layers.BatchNorm),
    ],
)
def test_a_size_is_a_whole_number_above_zero(name, build, size):
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        build(size)


@pytest.mark.parametrize("features", [6, "64", (4,), None])
def test_a_perceptron_has_two_sizes(features):
    with pytest.raises(ValueError, match="features must name the input and the output size at least"):
        layers.MLP(features, rngs=nnx.Rngs(0))


def test_what_is_no_function_is_refused():
    with pytest.raises(ValueError, match="activation must be a function, got 'rellu'"):
        layers.MLP((4, 3), activation="rellu", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="transform 1 must be a function, got 'flip'"):
        augment.compose(augment.flip_horizontal(), "flip")


def test_sizes_of_numpy_are_sizes():
    dense = layers.Dense(np.int64(3), np.int32(2), rngs=nnx.Rngs(0))
    assert dense(jax.numpy.ones((5, 3))).shape == (5, 2)
