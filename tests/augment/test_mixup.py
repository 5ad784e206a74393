"""Mixup: its weights and its slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from regopt import augment
from support.augmented import IMAGES, key, quick

RNG = np.random.default_rng(3)


@quick
def mixed_up(a, inputs, targets):
    return augment.mixup(a)(key(), inputs, targets)


@pytest.mark.parametrize("a", [0.2, 1.0, 4.0])
def test_mixup_weights_have_their_beta_distribution_and_mix_inputs_and_targets_alike(a):
    number = 600
    inputs = jnp.asarray(RNG.normal(size=(number, 2, 2, 1)), jnp.float32)
    mixed, weights = mixed_up(jnp.float32(a), inputs, jnp.eye(number, dtype=jnp.float32))
    weights = np.asarray(weights, np.float64)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed.reshape(number, 4), weights @ np.asarray(inputs).reshape(number, 4), atol=2e-6)
    own = np.diag(weights)
    partner = np.argmax(weights - 2 * np.diag(own), axis=1)
    share = weights[np.arange(number), partner]
    paired = share > 0
    assert len(np.unique(partner[paired])) == paired.sum()  # each example is a partner once
    assert stats.kstest(own[own < 1], stats.beta(a, a).cdf).pvalue > 1e-4


def test_mixup_has_finite_slopes_and_halves_in_the_end():
    inputs, targets = jnp.asarray(IMAGES, jnp.float32), jnp.eye(4, dtype=jnp.float32)

    def outcome(a):
        return augment.mixup(a)(key(), inputs, targets)

    @quick
    def value_and_slope(a):
        return jax.jvp(outcome, (a,), (1.0,))

    for a in (0.0, 1e-6, 1e-3, 0.3, 1e4):
        value, slope = value_and_slope(a)
        assert all(np.isfinite(x).all() for x in (*value, *slope)), a
    np.testing.assert_allclose(
        np.sort(value_and_slope(1e8)[0][1], axis=1)[:, -1] % 0.5, 0, atol=1e-3
    )  # halves, or itself
