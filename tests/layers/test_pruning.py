"""Pruned networks: the same outputs in double precision from fewer units, whatever the activation and the layer."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from regopt import layers

X = np.random.default_rng(1).normal(size=(7, 5))


def network(dead, activation=jax.nn.softplus, dtype=jnp.float64, features=(5, 8, 6, 3), **arguments):
    """Random weights and biases; ``dead`` lists the units of each hidden layer that no input reaches."""
    model = layers.MLP(features, activation=activation, param_dtype=dtype, rngs=nnx.Rngs(0), **arguments)
    generator = np.random.default_rng(2)
    for layer in model.layers:
        layer.bias[...] = jnp.asarray(generator.normal(size=layer.out_features), dtype)
    for layer, units in zip(model.layers, dead, strict=False):
        layer.kernel[...] = layer.kernel[...].at[jnp.array(units, int)].set(jnp.zeros((), dtype))
    return model


@pytest.mark.parametrize(
    ("activation", "dead", "features"),
    [
        (jax.nn.softplus, ([], []), (5, 8, 6, 3)),
        (jax.nn.softplus, ([0, 3, 7], []), (5, 5, 6, 3)),  # softplus is not 0 at 0
        (jnp.tanh, ([], [5]), (5, 8, 5, 3)),
        (jax.nn.relu, ([1], [0, 2, 4]), (5, 7, 3, 3)),
        (jax.nn.softplus, ([1, 2], range(6)), (5, 6, 0, 3)),
    ],
)
def test_outputs_stay_and_units_go(activation, dead, features):
    with jax.enable_x64(True):
        model, x = network(dead, activation), jnp.asarray(X)
        pruned = layers.prune(model)
        np.testing.assert_allclose(pruned(x), model(x), rtol=1e-13, atol=1e-14)  # sums in another order
        assert pruned.features == features
        sizes = list(pairwise(features))
        assert [layer.kernel[...].shape for layer in pruned.layers] == [(b, a) for a, b in sizes]
        assert [layer.bias[...].shape for layer in pruned.layers] == [(b,) for _, b in sizes]
        assert [(layer.in_features, layer.out_features) for layer in pruned.layers] == sizes


def test_a_unit_that_only_constant_units_lead_to_goes_too():
    with jax.enable_x64(True):
        model, x = network(([0, 1], [])), jnp.asarray(X)
        second = model.layers[1]
        second.kernel[...] = second.kernel[...].at[4, 2:].set(0.0)  # unit 4 hears only units 0 and 1
        pruned = layers.prune(model)
        assert pruned.features == (5, 6, 5, 3)
        np.testing.assert_allclose(pruned(x), model(x), rtol=1e-13, atol=1e-14)


def test_without_any_path_the_output_is_constant():
    with jax.enable_x64(True):
        model, x = network((range(8), [])), jnp.asarray(X)
        pruned = layers.prune(model)
        assert pruned.features == (5, 0, 0, 3)
        np.testing.assert_allclose(pruned(x), model(x), rtol=1e-13, atol=1e-14)


def test_the_model_stays_as_it_was_and_pruning_again_changes_no_bit():
    with jax.enable_x64(True):
        model = network(([0, 3], [1]))
        before = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        once = layers.prune(model)
        jax.tree.map(np.testing.assert_array_equal, before, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
        assert model.features == (5, 8, 6, 3)
        twice = layers.prune(once)
        states = [nnx.to_pure_dict(nnx.state(net, nnx.Param)) for net in (once, twice)]
        jax.tree.map(np.testing.assert_array_equal, *states)


def test_small_weights_and_large_biases_are_no_reason_to_go():
    with jax.enable_x64(True):
        model = network(([], []))
        first = model.layers[0]
        first.kernel[...] = first.kernel[...].at[0].set(0.0).at[0, 4].set(1e-300)
        first.kernel[...] = first.kernel[...].at[1].set(-0.0)  # a zero, whatever its sign
        assert layers.prune(model).features == (5, 7, 6, 3)


def test_dtypes_stay_and_noise_does_not_matter_in_inference():
    dtype = jnp.bfloat16
    model = network(([2, 5], [0]), jax.nn.relu, dtype, rate=0.4)
    model.eval()
    pruned, x = layers.prune(model), jnp.asarray(X, dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(pruned, nnx.Param))} == {jnp.dtype(dtype)}
    expected = np.asarray(model(x), np.float32)
    rounding = 8 * float(jnp.finfo(dtype).eps) * np.abs(expected).max()  # of each of the sums
    np.testing.assert_allclose(np.asarray(pruned(x), np.float32), expected, atol=rounding)


def test_traced_parameters_are_refused():
    def outputs(x):
        model = layers.MLP((5, 8, 3), rngs=nnx.Rngs(0))
        model.layers[0].kernel[...] = model.layers[0].kernel[...] * x[0, 0]
        return layers.prune(model)(x)

    with pytest.raises(ValueError, match="model must hold concrete parameters, got traced ones"):
        jax.jit(outputs)(jnp.asarray(X, jnp.float32))


def test_another_network_is_refused_with_the_way_to_prune_it():
    model = nnx.Sequential(nnx.Linear(5, 8, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(8, 3, rngs=nnx.Rngs(1)))
    with pytest.raises(ValueError, match=r"model must be a layers.MLP, got Sequential: .*group_lasso\(groups="):
        layers.prune(model)
