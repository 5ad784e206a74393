"""Penalties, projections and transformations on units mean the same units, whatever library the layer is from."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import regopt
from regopt import layers, penalties, projections, sweep, transforms
from regopt._core import paths, units

X = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32) * np.array([1.0, 1e-3, 2.0, 1e-3], np.float32)
IN_OUT, OUT_IN = WEIGHTS, WEIGHTS.T.copy()


def with_kernel(layer, kernel):
    layer.kernel[...] = jnp.asarray(kernel)
    return nnx.state(layer, nnx.Param)


def of_equinox():
    eqx = pytest.importorskip("equinox")
    layer = eqx.nn.Linear(5, 4, key=jax.random.key(0))
    layer = eqx.tree_at(lambda each: each.weight, layer, jnp.asarray(OUT_IN))
    return eqx.filter(layer, eqx.is_inexact_array)


def of_haiku():
    hk = pytest.importorskip("haiku")
    params = hk.transform(lambda x: hk.Linear(4)(x)).init(jax.random.key(0), X)
    return {name: {**inner, "w": jnp.asarray(IN_OUT)} for name, inner in params.items()}


def of_linen():
    params = linen.Dense(4).init(jax.random.key(0), X)["params"]
    return {**params, "kernel": jnp.asarray(IN_OUT)}


LAYERS = {
    "regopt": lambda: with_kernel(layers.Dense(5, 4, rngs=nnx.Rngs(0)), OUT_IN),
    "nnx": lambda: with_kernel(nnx.Linear(5, 4, rngs=nnx.Rngs(0)), IN_OUT),
    "linen": of_linen,
    "equinox": of_equinox,
    "haiku": of_haiku,
}
TO_IN_OUT = {"regopt": np.transpose, "equinox": np.transpose}


def kernel_of(name, tree):
    """The kernel as [in, out]."""
    (matrix,) = [w for w in jax.tree.leaves(tree) if w.ndim == 2]
    return TO_IN_OUT.get(name, np.asarray)(np.asarray(matrix))


@pytest.mark.parametrize("name", LAYERS)
def test_the_group_lasso_prunes_the_same_units_of_every_library(name):
    params = LAYERS[name]()
    after = kernel_of(name, penalties.group_lasso(0.1).prox(params, 1.0))
    norms = np.linalg.norm(WEIGHTS, axis=0)
    np.testing.assert_allclose(after, WEIGHTS * np.maximum(1 - 0.1 / norms, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal((after == 0).all(axis=0), [False, True, False, True])
    sparse = kernel_of(name, penalties.sparse_group_lasso(0.1).prox(params, 1.0))
    np.testing.assert_array_equal((sparse == 0).all(axis=0), [False, True, False, True])


@pytest.mark.parametrize("name", LAYERS)
def test_max_norm_clipping_and_centring_mean_the_same_units(name):
    params, norms = LAYERS[name](), np.linalg.norm(WEIGHTS, axis=0)
    bounded = WEIGHTS * np.minimum(1, 0.5 / norms)
    np.testing.assert_allclose(kernel_of(name, projections.projection_max_norm(params, 0.5)), bounded, rtol=1e-5)
    clipped, _ = transforms.clip_by_unit_norm(0.5).update(params, optax.EmptyState())
    np.testing.assert_allclose(kernel_of(name, clipped), bounded, rtol=1e-5)
    centred, _ = transforms.centralize().update(params, optax.EmptyState())
    np.testing.assert_allclose(kernel_of(name, centred), WEIGHTS - WEIGHTS.mean(axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_and_jit_keep_the_declaration(name):
    params = LAYERS[name]()
    grads = jax.jit(jax.grad(lambda p: sum(jnp.sum(w**2) / 2 for w in jax.tree.leaves(p))))(params)
    clipped, _ = jax.jit(lambda g: transforms.clip_by_unit_norm(0.5).update(g, optax.EmptyState()))(grads)
    bounded = WEIGHTS * np.minimum(1, 0.5 / np.linalg.norm(WEIGHTS, axis=0))
    np.testing.assert_allclose(kernel_of(name, clipped), bounded, rtol=1e-5)


def test_an_axis_may_be_given_by_number_and_by_pattern():
    params = {"torch": {"weight": jnp.asarray(OUT_IN)}, "flax": {"kernel": jnp.asarray(IN_OUT)}}
    for unit_axis in ({"torch/**": 0}, {"**/weight": 0, "**/kernel": 1}):
        after = penalties.group_lasso(0.1, unit_axis=unit_axis).prox(params, 1.0)
        np.testing.assert_array_equal(after["torch"]["weight"].T, after["flax"]["kernel"])
        centred, _ = transforms.centralize(unit_axis=unit_axis).update(params, optax.EmptyState())
        np.testing.assert_allclose(centred["torch"]["weight"].T, centred["flax"]["kernel"], rtol=1e-6)
    by_axis = penalties.group_lasso(0.1, axis={"torch/**": 1, "flax/**": (0,)}).prox(params, 1.0)
    np.testing.assert_array_equal(by_axis["torch"]["weight"], after["torch"]["weight"])
    whole = penalties.group_lasso(0.5, axis={"torch/**": None}).value({"torch": params["torch"]})
    np.testing.assert_allclose(whole, 0.5 * np.linalg.norm(WEIGHTS), rtol=1e-6)
    for bad, message in [
        ({"torch/*": 2, "flax/*": 0}, r"^unit_axis must fit every penalised leaf, got 2 for a leaf of shape \(4, 5\)"),
        ({"touch/*": 0}, r"^unit_axis has a pattern that matches nothing, 'touch/\*'"),
    ]:
        with pytest.raises(ValueError, match=message):
            penalties.group_lasso(0.1, unit_axis=bad).value(params)
        with pytest.raises(ValueError, match=message):
            projections.projection_max_norm(params, unit_axis=bad)


def test_convolutions_of_equinox_and_flax():
    eqx = pytest.importorskip("equinox")
    theirs = eqx.filter(eqx.nn.Conv2d(3, 4, 2, key=jax.random.key(0)), eqx.is_inexact_array)
    assert dict(zip(paths.leaf_paths(theirs), units.incoming_axes(theirs), strict=True))["weight"] == (1, 2, 3)
    ours = nnx.state(nnx.Conv(3, 4, (2, 2), rngs=nnx.Rngs(0)))
    assert dict(zip(paths.leaf_paths(ours), units.incoming_axes(ours), strict=True))["kernel"] == (0, 1, 2)


def test_a_penalised_perceptron_loses_units_in_a_loop_and_in_a_sweep():
    y = (X[:, 0] > 0).astype(np.int32)

    def model(_, rngs):
        return layers.MLP((5, 8, 2), rngs=rngs)

    def loss(logits, labels):
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(labels, 2), axis=1))

    def optimizer(h):
        return regopt.regularize(regopt.sgd(0.3), penalties.group_lasso(h["strength"]), "proximal")

    task = sweep.supervised(model, loss, optimizer)
    h = {"strength": jnp.float32(0.08)}
    state = task.init(jax.random.key(0), h)

    def step(state, _):
        return task.step(state, (jnp.asarray(X), jnp.asarray(y)), jax.random.key(1), h)[0], None

    state = jax.jit(lambda s: jax.lax.scan(step, s, length=100)[0])(state)
    kernel = np.asarray(state.params["layers"][0]["kernel"])
    assert kernel.shape == (8, 5)
    dead = (kernel == 0).all(axis=1)
    assert 2 <= dead.sum() < 8
    np.testing.assert_array_equal((kernel == 0).any(axis=1), dead)  # groups are units, not inputs
    loop = layers.MLP((5, 8, 2), rngs=nnx.Rngs(0))
    params = nnx.state(loop, nnx.Param)
    penalised = optimizer({"strength": 20.0})
    updates, _ = penalised.update(jax.tree.map(jnp.zeros_like, params), penalised.init(params), params)
    nnx.update(loop, jax.tree.map(jnp.add, params, updates))
    assert layers.prune(loop).features == (5, 0, 2)


def test_a_pruned_and_a_folded_network_still_declare_their_units():
    model = layers.MLP((3, 4, 2), rngs=nnx.Rngs(0))
    expected = {"layers/0/kernel": 0, "layers/1/kernel": 0}
    assert units.declared_axes(nnx.state(model)) == units.declared_axes(nnx.state(layers.prune(model))) == expected
    folded = layers.fold_batch_norm(layers.Dense(3, 2, rngs=nnx.Rngs(0)), layers.BatchNorm(2))
    assert units.declared_axes(nnx.state(folded)) == {"kernel": 0}
