"""The sorted l1 norm against a general solver, the l1 norm and its dual."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt.penalties import l1, sorted_l1
from regopt.solvers import LinearModel, gaussian, minimize

MASK = {"coefficients": True, "intercept": False}


def test_the_prox_is_the_minimum_over_all_orders_and_signs():
    with jax.enable_x64(True):
        penalty = sorted_l1(0.7, 0.2, mask=None)
        w = jnp.asarray(np.random.default_rng(0).standard_normal(9))
        found = penalty.prox(w, 0.9)

        def objective(u):
            return float(jnp.sum((u - w) ** 2) / 2 + 0.9 * penalty.value(u))

        random = np.random.default_rng(1)
        best = objective(found)
        for size in (1e-1, 1e-3, 1e-5):
            for _ in range(30):
                assert objective(found + size * random.standard_normal(9)) >= best - 1e-14
        # optimality: the residual is in the ball of the dual norm and reaches the value
        residual = (w - found) / 0.9
        assert float(penalty._replace().strength_max(residual)) <= 0.7 + 1e-12
        assert float(residual @ found) == pytest.approx(float(penalty.value(found)), rel=1e-12)


def test_equal_weights_are_the_l1_norm_and_own_weights_are_taken():
    w = jnp.array([[1.5, -0.2], [0.6, -2.0]])
    np.testing.assert_allclose(sorted_l1(0.5, 1.0).prox(w, 1.0), l1(0.5).prox(w, 1.0), rtol=1e-6)
    largest = sorted_l1(0.5, weights=lambda size: jnp.zeros(size).at[0].set(1.0))  # the max norm
    assert float(largest.value(w)) == 1.0
    np.testing.assert_allclose(largest.prox(w, 1.0), jnp.array([[1.5, -0.2], [0.6, -1.5]]), rtol=1e-6)


def test_oscar_makes_correlated_coefficients_equal():
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        x = random.standard_normal((40, 6))
        x[:, 1] = x[:, 0] + 0.1 * random.standard_normal(40)
        y = x[:, 0] + 1.1 * x[:, 1] + 0.3 * random.standard_normal(40)
        model, penalty = LinearModel(gaussian()), sorted_l1(0.2, 0.1, mask=MASK)
        solution = minimize(model, penalty, model.start(x), jnp.asarray(x), jnp.asarray(y), tolerance=1e-12)
        assert solution.converged
        w = solution.params["coefficients"]
        assert w[0] == pytest.approx(float(w[1]), abs=1e-12)
        assert (w == 0).any()
