"""Curvature products against dense derivatives, Lanczos against the dense eigendecomposition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from regopt import analysis
from regopt.analysis import quadratic
from regopt.curvature import SpectralMeasure, gauss_newton_product, hessian_product, spectral_measure

PARAMS = {"w": jnp.array([[0.5, -1.0], [2.0, 0.25]]), "b": jnp.array([0.1, -0.3])}
X = jnp.array([[1.0, 2.0], [-0.5, 1.0], [3.0, -1.0]])


def model(params):
    return jnp.tanh(X @ params["w"].astype(X.dtype) + params["b"].astype(X.dtype)[None, :])


def loss(outputs):
    return jnp.sum(outputs**4) / 4 + jnp.sum(outputs**2)


def dense(product):
    flat, unravel = ravel_pytree(PARAMS)
    return jax.vmap(lambda v: ravel_pytree(product(unravel(v)))[0])(jnp.eye(flat.size, dtype=flat.dtype))


def test_the_hessian_product_is_the_dense_hessian():
    flat, unravel = ravel_pytree(PARAMS)
    expected = jax.hessian(lambda v: loss(model(unravel(v))))(flat)
    np.testing.assert_allclose(dense(hessian_product(lambda p: loss(model(p)), PARAMS)), expected, atol=1e-5)


def test_the_gauss_newton_product_is_j_l_j():
    flat, unravel = ravel_pytree(PARAMS)
    jacobian = jax.jacobian(lambda v: model(unravel(v)).ravel())(flat)
    curvature = jnp.diag(3 * model(PARAMS).ravel() ** 2 + 2)
    expected = jacobian.T @ curvature @ jacobian
    found = dense(gauss_newton_product(model, loss, PARAMS))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    full = dense(hessian_product(lambda p: loss(model(p)), PARAMS))
    assert np.abs(full - expected).max() > 0.1  # the model's own curvature is left out


def symmetric(n, seed=0):
    generator = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(generator.normal(size=(n, n)))
    return vectors, np.concatenate([np.linspace(0.1, 1, n - 2), [5.0, 9.0]]), generator.normal(size=n)


def test_lanczos_finds_the_ends_of_the_spectrum_and_integrates_polynomials():
    with jax.enable_x64(True):
        vectors, values, vector = symmetric(40)
        matrix = jnp.asarray(vectors * values @ vectors.T)
        found = jax.jit(lambda v: spectral_measure(lambda u: matrix @ u, v, 8))(jnp.asarray(vector))
        np.testing.assert_allclose(found.eigenvalues[-2:], [5.0, 9.0], rtol=1e-9)
        weights = (vectors.T @ vector) ** 2
        for degree in range(16):  # Gauss quadrature of 8 nodes is exact below degree 16
            np.testing.assert_allclose(
                jnp.sum(found.weights * found.eigenvalues**degree), np.sum(weights * values**degree), rtol=1e-9
            )


def test_lanczos_takes_trees_and_lower_precision():
    product = gauss_newton_product(model, loss, PARAMS)
    found = spectral_measure(product, jax.tree.map(jnp.ones_like, PARAMS), 6)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(dense(product)), atol=1e-4)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    ones = jax.tree.map(jnp.ones_like, half)
    coarse = spectral_measure(gauss_newton_product(model, loss, half), ones, 2)
    assert coarse.eigenvalues.dtype == jnp.float32


@pytest.mark.parametrize(
    ("vector", "order"),
    [
        ((1, 0, 0, 0, 0), 2),
        ((0, 0, 1, 1, 1), 3),
        ((0, 0, 1, 1, 1), 5),
        ((1, 1, 1, 1, 1), 5),
        ((0.3, 0.2, 0.5, 0.7, 0.1), 4),
    ],
)
def test_a_krylov_space_that_ends_early_gives_the_exact_measure(vector, order):
    diagonal, v = jnp.array([1.0, 2.0, 3.0, 3.0, 3.0]), jnp.array(vector, jnp.float32)
    found = jax.jit(lambda v: spectral_measure(lambda u: diagonal * u, v, order))(v)
    assert found.eigenvalues.shape == found.weights.shape == (order,)
    for degree in range(8):
        exact = jnp.sum(diagonal**degree * v**2)
        np.testing.assert_allclose(jnp.sum(found.weights * found.eigenvalues**degree), exact, rtol=1e-5)
    assert ((found.eigenvalues > 1 - 1e-5) & (found.eigenvalues < 3 + 1e-5)).all()  # none outside the spectrum
    weight_of = [jnp.sum(found.weights[jnp.abs(found.eigenvalues - value) < 1e-3]) for value in (1, 2, 3)]
    np.testing.assert_allclose(weight_of, [v[0] ** 2, v[1] ** 2, jnp.sum(v[2:] ** 2)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", [2.0, True, "2", None])
def test_an_order_that_is_no_whole_number_is_refused(order):
    with pytest.raises(ValueError, match="order must be a whole number"):
        spectral_measure(lambda v: v, jnp.ones(6), order)


@pytest.mark.parametrize("order", [0, 7])
def test_an_order_beyond_the_parameters_is_refused(order):
    with pytest.raises(ValueError, match=rf"order must lie in \[1, 6\], the number of parameters, got {order}"):
        spectral_measure(lambda v: v, jnp.ones(6), order)


def spread():
    return SpectralMeasure(jnp.array([0.01, 0.1, 1.0, 3.0]), jnp.array([2.0, 1.0, 1.0, 0.5]))


def test_one_direction_has_its_own_equivalent_strength_and_no_gap():
    alone = SpectralMeasure(jnp.array([0.7]), jnp.array([2.0]))
    nearest = analysis.nearest_strength(alone, 0.2, 9)
    np.testing.assert_allclose(nearest, quadratic.equivalent_strength(jnp.array([0.7]), 0.2, 9)[0], rtol=2e-3)
    assert float(analysis.function_gap(alone, 0.2, 9, nearest)) < 2e-3


def test_the_gap_is_that_of_two_linear_models():
    with jax.enable_x64(True):
        generator = np.random.default_rng(3)
        x = jnp.asarray(generator.normal(size=(30, 6)) * np.geomspace(0.1, 1.5, 6))
        w_star = jnp.asarray(generator.normal(size=6))
        hessian = x.T @ x / 30
        measure = spectral_measure(lambda v: hessian @ v, w_star, 6)
        stopped = quadratic.gradient_descent_path(hessian, w_star, 0.3, 25)
        penalised = quadratic.l2_solution(hessian, w_star, 0.08)
        expected = jnp.linalg.norm(x @ (stopped - penalised)) / jnp.linalg.norm(x @ stopped)
        np.testing.assert_allclose(analysis.function_gap(measure, 0.3, 25, 0.08), expected, rtol=1e-9)


@jax.jit
def nearest_and_others(measure, steps, strengths):
    """The gap at the nearest strength, and those at others."""
    gap = partial(analysis.function_gap, measure, 0.3, steps)
    return gap(analysis.nearest_strength(measure, 0.3, steps)), jax.vmap(gap)(strengths)


@pytest.mark.parametrize("steps", [3.0, 30.0, 300.0])
def test_no_other_strength_is_nearer(steps):
    gap, gaps = nearest_and_others(spread(), steps, jnp.geomspace(1e-6, 1e3, 500))
    assert float(gap) <= float(jnp.min(gaps)) * (1 + 1e-4)


def test_small_curvatures_give_the_rule_of_thumb():
    measure = spread()._replace(eigenvalues=spread().eigenvalues * 1e-4)
    np.testing.assert_allclose(analysis.nearest_strength(measure, 0.3, 20.0), 1 / 6.0, rtol=2e-3)


def test_predictions_jit_vmap_and_differentiate():
    stops = jnp.array([3.0, 30.0])
    nearest = jax.jit(lambda t: analysis.nearest_strength(spread(), 0.3, t))
    np.testing.assert_allclose(jax.jit(jax.vmap(nearest))(stops), [nearest(t) for t in stops], rtol=2e-3)
    slopes = jax.jit(jax.grad(lambda *x: analysis.function_gap(spread(), *x), argnums=(0, 1, 2)))(0.3, 20.0, 0.1)
    for slope in slopes:
        assert np.isfinite(slope)
        assert float(slope) != 0


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match=r"steps must lie in \(0, inf\), got 0"):
        analysis.nearest_strength(spread(), 0.3, 0)
    with pytest.raises(ValueError, match="learning_rate must be at most 2 / 3"):
        analysis.function_gap(spread(), 0.9, 3, 1.0)
