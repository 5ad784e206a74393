"""Noise on gradients by its moments, over steps, leaves and entries; centralisation by hand and against optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from regopt import layers, optimizers, sweep, transforms
from regopt.data import Splits
from regopt.losses import squared_error

SHAPES = {"dense": (4, 3), "conv": (3, 2, 4, 5), "bias": (5,), "gain": ()}


def noise(transform, zeros, steps):
    """What is added in each step."""

    def body(state, _):
        updates, state = transform.update(zeros, state)
        return state, updates

    return jax.jit(lambda state: jax.lax.scan(body, state, length=steps)[1])(transform.init(zeros))


@pytest.mark.parametrize(("eta", "gamma"), [(0.3, 0.55), (0.01, 1.5)])
def test_the_variance_falls_as_the_paper_says(eta, gamma):
    size, steps = 40_000, 5
    added = np.asarray(noise(transforms.add_gradient_noise(jax.random.key(1), eta, gamma), jnp.zeros(size), steps))
    expected = eta / (1 + np.arange(steps)) ** gamma
    np.testing.assert_allclose(added.var(axis=1), expected, rtol=4 * np.sqrt(2 / size))  # four standard errors
    np.testing.assert_allclose(added.mean(axis=1) / np.sqrt(expected), 0, atol=4 / np.sqrt(size))
    fourth = (added**4).mean(axis=1) / expected**2
    np.testing.assert_allclose(fourth, 3, atol=4 * np.sqrt(96 / size))  # normal: E x**8 - 9 = 96


def test_steps_leaves_and_keys_have_noise_of_their_own():
    zeros = {"a": jnp.zeros(5_000), "b": jnp.zeros(5_000)}
    first = noise(transforms.add_gradient_noise(jax.random.key(1), 1.0, 0.0), zeros, 2)
    other = noise(transforms.add_gradient_noise(jax.random.key(2), 1.0, 0.0), zeros, 2)
    vectors = np.array([x[t] for x in (first["a"], first["b"], other["a"], other["b"]) for t in range(2)])
    correlations = np.corrcoef(vectors) - np.eye(8)
    assert np.abs(correlations).max() < 5 / np.sqrt(5_000)  # of 28 pairs
    again = noise(transforms.add_gradient_noise(jax.random.key(1), 1.0, 0.0), zeros, 2)
    jax.tree.map(np.testing.assert_array_equal, first, again)


def test_noise_is_added_to_the_gradient():
    transform = transforms.add_gradient_noise(jax.random.key(1), 0.3)
    state = transform.init(jnp.zeros(4))
    alone, _ = transform.update(jnp.zeros(4), state)
    both, _ = transform.update(jnp.arange(4.0), state)
    np.testing.assert_allclose(both - alone, np.arange(4.0), atol=1e-6)
    none, _ = transforms.add_gradient_noise(jax.random.key(1), 0.0).update(jnp.arange(4.0), state)
    np.testing.assert_array_equal(none, np.arange(4.0))


def test_its_key_passes_through_a_sweep():
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    data = Splits((x, x[:, :2]), (x, x[:, :2]))

    def optimizer(h):
        key = jax.random.fold_in(jax.random.key(4), h["noise"])
        return optax.chain(transforms.add_gradient_noise(key, h["eta"]), optimizers.scale_by_learning_rate(0.1))

    task = sweep.supervised(lambda h, rngs: layers.MLP((3, 2), rngs=rngs), squared_error, optimizer)
    columns = {"eta": [0.0, 0.0, 0.1, 0.1, 0.1], "noise": [0, 1, 0, 1, 1]}
    outcome = sweep.run(task, sweep.from_columns(columns), data, steps=4, eval_every=2)
    losses = outcome.history.curves["validation_loss"][:, -1]
    assert set(outcome.status) == {"done"}
    assert losses[0] == losses[1]
    assert losses[3] == losses[4]
    assert len({float(loss) for loss in losses}) == 3


def test_arguments_are_checked():
    for key in (0, jax.random.PRNGKey(0)):
        with pytest.raises(ValueError, match=r"key must be a typed key, as jax.random.key\(0\) is"):
            transforms.add_gradient_noise(key, 0.3)  # pyright: ignore
    with pytest.raises(ValueError, match=r"eta must lie in \[0, inf\), got -0.3"):
        transforms.add_gradient_noise(jax.random.key(0), -0.3)
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, inf\), got -1.0"):
        transforms.add_gradient_noise(jax.random.key(0), 0.3, -1.0)


def test_centralised_gradients_keep_the_sum_of_each_units_weights():
    rng = np.random.default_rng(3)
    grads = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}
    ours, _ = transforms.centralize().update(grads, optax.EmptyState())
    for name in ("dense", "conv"):
        g = np.asarray(grads[name], np.float64)
        units = g.reshape(-1, g.shape[-1])
        np.testing.assert_allclose(ours[name], (units - units.mean(axis=0)).reshape(g.shape), atol=1e-6)
    for name in ("bias", "gain"):
        np.testing.assert_array_equal(ours[name], grads[name])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda d: d.__name__)
def test_centralisation_is_optax_with_units_on_the_first_axis(dtype):
    rng = np.random.default_rng(3)
    grads = {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in SHAPES.items()}
    ours, _ = transforms.centralize(unit_axis=0).update(grads, optax.EmptyState())
    theirs, _ = optax.centralize().update(grads, optax.EmptyState())
    for name, g in ours.items():
        assert g.dtype == dtype
        tolerance = 1e-6 if dtype == jnp.float32 else 0.02  # optax rounds on the way
        np.testing.assert_allclose(g.astype(jnp.float32), theirs[name].astype(jnp.float32), atol=tolerance)


def test_a_donated_state_leaves_the_key_to_its_owner():
    key = jax.random.key(0)
    optimizer = transforms.add_gradient_noise(key, 0.1)
    state = optimizer.init(jnp.ones(3))
    jax.jit(optimizer.update, donate_argnums=1)(jnp.ones(3), state)
    assert not key.is_deleted()
