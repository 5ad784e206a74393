"""A random part of an update: what stays, by its moments, over steps and leaves; refused arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import transforms

SIZE = 40_000


def dropped(rate, *, inverted=False, steps=3, seed=1, updates=None):
    """Updates of ``steps`` steps."""
    updates = {"a": jnp.full(SIZE, -2.0), "b": jnp.full(SIZE, 3.0)} if updates is None else updates
    transform = transforms.drop_updates(jax.random.key(seed), rate, inverted=inverted)

    def step(state, _):
        found, state = transform.update(updates, state)
        return state, found

    return jax.jit(lambda state: jax.lax.scan(step, state, length=steps)[1])(transform.init(updates))


@pytest.mark.parametrize(("inverted", "scale"), [(False, 1.0), (True, 1 / 0.7)])
def test_an_entry_keeps_its_update_with_the_probability_asked_for(inverted, scale):
    found = dropped(0.3, inverted=inverted)
    for values, full in ((found["a"], -2.0), (found["b"], 3.0)):
        kept = np.asarray(values) != 0
        np.testing.assert_allclose(np.asarray(values)[kept], full * scale, rtol=1e-6)
        np.testing.assert_allclose(kept.mean(axis=1), 0.7, atol=4 * np.sqrt(0.21 / SIZE))  # four standard errors


def test_steps_leaves_and_keys_have_draws_of_their_own():
    first, other = dropped(0.3, steps=2), dropped(0.3, steps=2, seed=2)
    kept = np.array([x[t] != 0 for x in (first["a"], first["b"], other["a"], other["b"]) for t in range(2)], float)
    assert np.abs(np.corrcoef(kept) - np.eye(8)).max() < 5 / np.sqrt(SIZE)  # of 28 pairs
    jax.tree.map(np.testing.assert_array_equal, first, dropped(0.3, steps=2))


def test_at_rate_0_all_is_updated_and_at_rate_1_nothing():
    updates = jnp.linspace(-1, 1, 7)
    for inverted in (False, True):
        np.testing.assert_array_equal(dropped(0.0, inverted=inverted, updates=updates)[0], updates)
        np.testing.assert_array_equal(dropped(1.0, inverted=inverted, updates=updates)[0], 0)


def test_after_an_optimizer_the_rest_stays_and_before_it_momentum_moves_it():
    key, params = jax.random.key(1), jnp.linspace(-1, 1, 200)
    for place, share in ((1, 0.5), (0, 0.75)):  # with momentum, moved in the second step: 1 - rate, or 1 - rate**2
        links = [regopt.heavy_ball(0.1, 0.9)]
        links.insert(place, transforms.drop_updates(key, 0.5))
        optimizer = optax.chain(*links)
        _, state = optimizer.update(params, optimizer.init(params), params)
        updates, _ = optimizer.update(params, state, params)
        np.testing.assert_allclose(np.mean(np.asarray(updates) != 0), share, atol=4 * np.sqrt(0.25 / 200))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0.1, 0.5), "key must be a typed key"), ((jax.random.key(0), 1.5), r"rate must lie in \[0, 1\], got 1.5")],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        transforms.drop_updates(*arguments)
