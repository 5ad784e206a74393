"""Anderson acceleration, mirror descent and projections as penalties, against linear algebra, SciPy and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize

from regopt.projections import projection_sparse_simplex
from regopt.solvers import anderson, indicator, minimize, mirror_descent

pytestmark = pytest.mark.usefixtures("double_precision")


def projection_simplex(w):
    return projection_sparse_simplex(w, w.size)


def contraction(seed=0, n=12):
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.standard_normal((n, n)))[0]
    return jnp.asarray(basis * np.linspace(0.3, 0.97, n) @ basis.T), jnp.asarray(random.standard_normal(n))


def test_a_linear_fixed_point_is_that_of_a_linear_system_in_few_steps():
    matrix, target = contraction()
    expected = np.linalg.solve(np.eye(12) - matrix, target)
    found = anderson(lambda x: matrix @ x + target, jnp.zeros(12), memory=12, tolerance=1e-10)
    assert found.converged
    assert int(found.steps) < 30  # the plain iteration takes log(1e-10) / log(.97), or 760
    np.testing.assert_allclose(found.params, expected, atol=1e-7)
    short = anderson(lambda x: matrix @ x + target, jnp.zeros(12), memory=3, tolerance=1e-10)
    assert short.converged
    assert int(found.steps) < int(short.steps) < 400


def test_the_derivative_of_a_fixed_point_is_that_of_the_linear_system():
    matrix, target = contraction(n=4)

    def total(target):
        start = {"a": jnp.zeros(3), "b": jnp.zeros(())}

        def function(x):
            after = matrix @ jnp.append(x["a"], x["b"]) + target
            return {"a": after[:3], "b": after[3]}

        return jnp.sum(anderson(function, start, tolerance=1e-12).params["a"])

    expected = np.linalg.solve(np.eye(4) - matrix.T, [1, 1, 1, 0])
    np.testing.assert_allclose(jax.grad(total)(target), expected, rtol=1e-8)
    lanes = jax.vmap(total)(jnp.stack([target, 3 * target]))
    np.testing.assert_allclose(lanes, [total(target), 3 * total(target)], rtol=1e-8)


def test_a_fixed_point_that_is_not_reached_is_said():
    found = anderson(lambda x: 3 * x + 1, jnp.ones(2), memory=1, max_steps=1)
    assert not found.converged
    assert float(found.residual) == pytest.approx(3 * np.sqrt(2))


def quadratic(seed=3, n=7):
    random = np.random.default_rng(seed)
    root = random.standard_normal((n, n))
    matrix, target = jnp.asarray(root @ root.T / n + 0.1 * np.eye(n)), jnp.asarray(random.standard_normal(n))
    return lambda w: w @ matrix @ w / 2 - target @ w


def test_mirror_descent_and_the_projected_gradient_find_the_minimiser_of_scipy():
    loss = quadratic()
    other = scipy_minimize(
        lambda w: float(loss(w)), np.ones(7) / 7, jac=lambda w: np.asarray(jax.grad(loss)(jnp.asarray(w))),
        method="SLSQP", bounds=[(0, 1)] * 7, constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-15, "maxiter": 1000},
    )  # fmt: skip
    found = mirror_descent(loss, jnp.ones(7) / 7, tolerance=1e-9, max_steps=50_000)
    assert found.converged
    assert 0 <= float(found.objective) - other.fun <= float(found.gap) + 1e-9
    assert float(found.params.sum()) == pytest.approx(1)
    projected = minimize(loss, indicator(projection_simplex), jnp.ones(7) / 7, tolerance=1e-10)
    assert projected.converged
    assert np.sum(np.asarray(projected.params) == 0) > 0
    assert float(projected.objective) == pytest.approx(other.fun, abs=1e-9)
    np.testing.assert_allclose(found.params, projected.params, atol=1e-4)


def test_the_gap_of_mirror_descent_bounds_the_error_at_any_step_and_rows_are_distributions():
    losses = [quadratic(seed) for seed in (3, 4)]

    def loss(params):
        return losses[0](params["w"][0]) + losses[1](params["w"][1])

    start = {"w": jnp.ones((2, 7)) / 7}
    best = mirror_descent(loss, start, tolerance=1e-9, max_steps=50_000)
    assert best.converged
    np.testing.assert_allclose(best.params["w"].sum(1), 1)
    for steps in (1, 5, 25):
        early = mirror_descent(loss, start, tolerance=0.0, max_steps=steps)
        assert not early.converged
        assert float(early.gap) >= float(early.objective - best.objective) - 1e-12


@pytest.mark.parametrize("function", [lambda x: jnp.tanh(0.99 * x) + 0.1, lambda x: x - 0.1 * x**3])
def test_contractions_in_single_precision_have_no_nan(function):
    with jax.enable_x64(False):
        found = anderson(function, jnp.full(4, 3.0 if function(1.0) > 0.95 else 1.0), tolerance=1e-4)
        assert jnp.isfinite(found.params).all()
        assert found.converged


def test_the_gap_leaves_out_entries_that_stay_without_mass():
    found = mirror_descent(lambda w: jnp.sum((w - jnp.array([0.5, 0.5, 2.0])) ** 2), jnp.array([0.5, 0.5, 0.0]))
    assert found.converged
    assert found.steps == 0


def test_an_entry_without_mass_gets_none():
    loss = quadratic()
    found = mirror_descent(loss, jnp.array([0.5, 0.5, 0, 0, 0, 0, 0]), max_steps=100)
    assert jnp.isfinite(found.params).all()
    np.testing.assert_array_equal(found.params[2:], 0)


def test_the_indicator_is_infinite_outside_of_its_set():
    penalty = indicator(projection_simplex)
    assert penalty.value(jnp.array([0.25, 0.75])) == 0
    assert penalty.value(jnp.array([0.25, 0.8])) == jnp.inf
    assert penalty.has_prox


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: anderson(jnp.cos, jnp.ones(2), memory=0), "memory"),
        (lambda: anderson(jnp.cos, jnp.ones(2), tolerance=-1.0), "tolerance"),
        (lambda: mirror_descent(jnp.sum, jnp.ones(2) / 2, max_steps=0), "max_steps"),
    ],
)
def test_numbers_out_of_range_are_refused(call, word):
    with pytest.raises(ValueError, match=f"^{word}"):
        call()
