"""Lyapunov exponents: of linear maps, of maps whose exponents are known, and refused arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt.analysis import lyapunov_exponents

pytestmark = pytest.mark.usefixtures("double_precision")


def test_a_linear_map_has_the_logarithms_of_its_eigenvalues():
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    matrix = jnp.asarray(turn @ np.diag([-2.0, 0.9, 0.3]) @ turn.T)
    found = lyapunov_exponents(lambda x: matrix @ x, jnp.ones(3), 5, warmup=200)
    np.testing.assert_allclose(found, np.log([2.0, 0.9, 0.3]), atol=1e-12)
    leading = lyapunov_exponents(lambda x: matrix @ x, jnp.ones(3), 5, warmup=200, count=1)
    np.testing.assert_allclose(leading, np.log([2.0]), atol=1e-12)


def test_a_triangular_map_needs_no_warmup_and_the_sum_is_the_mean_log_determinant():
    def step(x):
        return jnp.array([jnp.sin(x[0]) + 1.5 * x[0], x[0] ** 2 + 0.5 * x[1]])

    points = [jnp.array([0.4, -0.2])]
    for _ in range(5):
        points.append(step(points[-1]))
    logs = [np.linalg.slogdet(jax.jacobian(step)(point))[1] for point in points[2:]]
    found = lyapunov_exponents(step, points[0], 4, warmup=2)
    np.testing.assert_allclose(np.sum(found), np.mean(logs), rtol=1e-12)


def test_maps_of_known_exponents():
    parabola = lyapunov_exponents(lambda x: 1 - 2 * x**2, jnp.array([0.3]), 20_000)
    np.testing.assert_allclose(parabola, np.log(2), atol=1e-3)  # conjugate to a tent of slope 2
    henon = lyapunov_exponents(lambda x: jnp.array([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]]), jnp.full(2, 0.1), 20_000)
    np.testing.assert_allclose(henon[0], 0.4192, atol=0.01)  # a published value, to about a standard error
    np.testing.assert_allclose(jnp.sum(henon), np.log(0.3), rtol=1e-12)


def test_it_is_traced_in_the_start_and_in_what_the_map_closes_over():
    def largest(gain):
        return lyapunov_exponents(lambda x: gain * x, jnp.ones(2), 3)[0]

    np.testing.assert_allclose(jax.jit(jax.vmap(largest))(jnp.array([0.5, 3.0])), np.log([0.5, 3.0]), rtol=1e-12)


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"steps": 0}, "steps"), ({"warmup": -1}, "warmup"), ({"count": 3}, "count"), ({"start": jnp.ones(())}, "start")],
)
def test_wrong_arguments_are_named(changed, words):
    with pytest.raises(ValueError, match=words):
        lyapunov_exponents(**({"step": jnp.sin, "start": jnp.ones(2), "steps": 3} | changed))
