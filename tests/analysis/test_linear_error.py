"""Closed forms of error against Monte Carlo with standard errors, scikit-learn, and published values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats
from sklearn.neighbors import KNeighborsRegressor

from regopt.analysis import bias_variance

pytestmark = pytest.mark.usefixtures("double_precision")


def within(samples, truth):
    """The mean of independent samples is within four standard errors of the truth."""
    samples = np.asarray(samples)
    return abs(samples.mean() - truth) < 4 * samples.std(ddof=1) / np.sqrt(len(samples))


def test_least_squares_has_its_variance_and_its_optimism():
    generator = np.random.default_rng(0)
    x, noise = generator.normal(size=(30, 6)), 2.0
    truth = x @ generator.normal(size=6)
    y = truth + np.sqrt(noise) * generator.normal(size=(20_000, 30))
    again = truth + np.sqrt(noise) * generator.normal(size=(20_000, 30))
    fits = y @ np.linalg.pinv(x).T @ x.T
    variance = bias_variance.least_squares_variance(6, 30, noise)
    assert within(np.mean((fits - truth) ** 2, axis=1), float(variance))
    optimism = np.mean((fits - again) ** 2, axis=1) - np.mean((fits - y) ** 2, axis=1)
    assert within(optimism, float(bias_variance.least_squares_optimism(6, 30, noise)))


@pytest.mark.parametrize("of", ["coefficients", "predictions"])
def test_ridge_has_its_bias_and_variance(of):
    generator = np.random.default_rng(1)
    x, w, alpha, noise = generator.normal(size=(25, 4)) * [1, 2, 0.5, 1], np.array([1.0, -1, 2, 0.5]), 7.0, 1.5
    y = x @ w + np.sqrt(noise) * generator.normal(size=(20_000, 25))
    fits = np.linalg.solve(x.T @ x + alpha * np.eye(4), x.T @ y.T).T
    values, vectors = np.linalg.eigh(x.T @ x)
    bias, variance = bias_variance.ridge_error(jnp.asarray(values), jnp.asarray(vectors.T @ w), alpha, noise, of=of)
    errors = (fits - w) if of == "coefficients" else (fits - w) @ x.T
    assert within(np.sum(errors**2, axis=1), float(bias + variance))
    mean = np.linalg.solve(x.T @ x + alpha * np.eye(4), x.T @ x @ w)
    exact = mean - w if of == "coefficients" else x @ (mean - w)
    np.testing.assert_allclose(bias, np.sum(exact**2), rtol=1e-12)


def test_some_ridge_is_better_than_none():
    """Hoerl & Kennard's slope at 0, by differentiation."""
    values, noise = jnp.array([0.5, 2.0, 7.0]), 1.3
    slope = jax.grad(lambda a: sum(bias_variance.ridge_error(values, jnp.array([1.0, 2.0, 3.0]), a, noise)))(0.0)
    np.testing.assert_allclose(slope, -2 * noise * np.sum(values**-2.0), rtol=1e-12)


def test_nearest_neighbours_against_scikit_learn():
    generator = np.random.default_rng(2)
    x = np.linspace(0, 3, 40)[:, None]
    model = KNeighborsRegressor(5).fit(x, np.sin(x[:, 0]))
    point = np.array([[0.31]])
    neighbours = model.kneighbors(point, return_distance=False)[0]
    y = np.sin(x[:, 0]) + 0.4 * generator.normal(size=(20_000, 40))
    predictions = KNeighborsRegressor(5).fit(x, y.T).predict(point)[0]
    observed = np.sin(0.31) + 0.4 * generator.normal(size=20_000)
    expected = bias_variance.nearest_neighbours_error(np.sin(0.31), jnp.asarray(np.sin(x[neighbours, 0])), 0.16)
    assert within((predictions - observed) ** 2, float(expected))


@pytest.mark.parametrize("p", [34, 46, 100])
def test_belkin_hsu_and_xus_figure(p):
    """n = 40 of D = 100 features with |b|^2 = 1, noise 0.25: many replicas of the exact error."""
    generator = np.random.default_rng(p)
    n, features, noise, replicas = 40, 100, 0.25, 4000
    b = generator.normal(size=features)
    b /= np.linalg.norm(b)
    exact = float(bias_variance.min_norm_error_exact(p, n, np.sum(b[:p] ** 2), np.sum(b[p:] ** 2), noise))
    errors = np.empty(replicas)
    for replica in range(replicas):
        x = generator.normal(size=(n, features))
        fit = np.linalg.lstsq(x[:, :p], x @ b + np.sqrt(noise) * generator.normal(size=n))[0]
        errors[replica] = np.sum((fit - b[:p]) ** 2) + np.sum(b[p:] ** 2) + noise  # exact in the test point
    assert within(errors, exact)
    if p == features:  # elsewhere it depends on how b is spread
        assert exact == pytest.approx(1.0195, abs=5e-5)


@pytest.mark.parametrize(("p", "n"), [(3, 20), (20, 3), (41, 40 + 5), (46, 40)])
def test_the_exact_error_follows_from_the_mean_of_the_inverse_wishart_distribution(p, n):
    """The noise enters by the trace of the inverse Gram matrix, whose mean SciPy knows."""
    small, large = min(p, n), max(p, n)
    trace = np.trace(np.atleast_2d(stats.invwishart(df=large, scale=np.eye(small)).mean()))
    unexplained = 0.7 + 0.25
    expected = 1.3 * max(0, 1 - n / p) + unexplained * (1 + trace)
    np.testing.assert_allclose(bias_variance.min_norm_error_exact(p, n, 1.3, 0.7, 0.25), expected, rtol=1e-13)


def test_the_exact_error_is_infinite_around_interpolation():
    at = jnp.arange(37, 45)
    found = jax.vmap(lambda p: bias_variance.min_norm_error_exact(p, 40, 1.0, 0.5, 0.1))(at)
    np.testing.assert_array_equal(np.isinf(found), (at >= 39) & (at <= 41))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("gamma", [0.3, 0.6, 1.5, 2.0, 4.0])
def test_the_asymptotic_error_is_that_of_random_inputs(gamma):
    generator = np.random.default_rng(3)
    n = 200
    p = round(gamma * n)
    found = [bias_variance.conditional_error(jnp.asarray(generator.normal(size=(n, p))), 4.0, 1.0) for _ in range(20)]
    bias, variance = np.mean(found, axis=0)
    expected = bias_variance.min_norm_error(gamma, 4.0, 1.0)
    np.testing.assert_allclose(bias, expected[0], rtol=0.03, atol=1e-12)
    np.testing.assert_allclose(variance, expected[1], rtol=0.02)


def test_the_second_minimum_of_double_descent():
    gammas = jnp.linspace(1.05, 8, 2000)
    totals = sum(jax.vmap(lambda g: bias_variance.min_norm_error(g, 4.0, 1.0))(gammas))
    assert float(gammas[jnp.argmin(totals)]) == pytest.approx(2.0, abs=0.01)  # sqrt(SNR) / (sqrt(SNR) - 1)
    assert float(jnp.min(totals)) == pytest.approx(3.0, abs=1e-4)  # noise (2 sqrt(SNR) - 1)
    weak = sum(jax.vmap(lambda g: bias_variance.min_norm_error(g, 0.5, 1.0))(gammas))
    assert (np.diff(weak) < 0).all()  # SNR <= 1: monotone down to the signal


@pytest.mark.parametrize(("gamma", "expected"), [(0.5, 0.74166), (1.0, 1.79129), (2.0, 3.10850)])
def test_optimal_ridge_has_its_published_error_and_is_optimal(gamma, expected):
    best = float(bias_variance.optimal_ridge_error(gamma, 5.0, 1.0))
    assert best == pytest.approx(expected, abs=6e-6)
    at_best = sum(bias_variance.ridge_error_limit(gamma, 5.0, 1.0, gamma / 5))
    np.testing.assert_allclose(at_best, best, rtol=1e-12)
    for strength in (gamma / 10, gamma / 4):
        assert float(sum(bias_variance.ridge_error_limit(gamma, 5.0, 1.0, strength))) > best


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.99, 1.0, 1.5, 10.0])
@pytest.mark.parametrize("strength", [1e-8, 1e-5, 1e-2, 1.0, 100.0])
def test_ridges_limit_keeps_its_digits_in_single_precision(gamma, strength):
    double = bias_variance.ridge_error_limit(gamma, 2.0, 3.0, strength)
    slope = -jax.grad(bias_variance.stieltjes, argnums=1)(gamma, strength)
    if strength > 1e-6:  # below that the definition itself cancels in double precision
        np.testing.assert_allclose(double[0], 2.0 * strength**2 * slope, rtol=1e-8)
        m = bias_variance.stieltjes(gamma, strength)
        np.testing.assert_allclose(double[1], 3.0 * gamma * (m - strength * slope), rtol=1e-8)
    with jax.enable_x64(False):
        single = bias_variance.ridge_error_limit(*(np.float32(x) for x in (gamma, 2.0, 3.0, strength)))
        assert single[0].dtype == jnp.float32
        if gamma != 0.99 or strength > 1e-4:  # there 1 - gamma is known to 6e-6 only
            np.testing.assert_allclose(single, double, rtol=3e-6)
        else:
            np.testing.assert_allclose(single, double, rtol=3e-5)


def test_ridges_limit_is_that_of_random_inputs_and_of_no_ridge():
    generator = np.random.default_rng(4)
    found = [
        bias_variance.conditional_error(jnp.asarray(generator.normal(size=(300, 450))), 5.0, 1.0, 0.3)
        for _ in range(10)
    ]
    np.testing.assert_allclose(np.mean(found, axis=0), bias_variance.ridge_error_limit(1.5, 5.0, 1.0, 0.3), rtol=0.01)
    for gamma in (0.5, 2.0):
        limit = bias_variance.ridge_error_limit(gamma, 4.0, 1.0, 1e-9)
        np.testing.assert_allclose(limit, bias_variance.min_norm_error(gamma, 4.0, 1.0), rtol=1e-6, atol=1e-6)


def test_stieltjes_is_the_trace_of_the_resolvent():
    x = np.random.default_rng(5).normal(size=(600, 900))
    values = np.linalg.eigvalsh(x.T @ x / 600)
    for strength in (0.1, 1.0, 10.0):
        np.testing.assert_allclose(bias_variance.stieltjes(1.5, strength), np.mean(1 / (values + strength)), rtol=0.01)
    np.testing.assert_allclose(bias_variance.stieltjes(0.5, 1e-12), 2.0, rtol=1e-9)  # 1 / (1 - g), no cancellation


def test_conditional_error_averages_over_directions():
    generator = np.random.default_rng(6)
    x, strength = generator.normal(size=(12, 20)), 0.4
    b = generator.normal(size=(20_000, 20))
    b *= np.sqrt(3.0) / np.linalg.norm(b, axis=1, keepdims=True)
    y = b @ x.T + np.sqrt(0.7) * generator.normal(size=(20_000, 12))
    fits = np.linalg.solve(x.T @ x / 12 + strength * np.eye(20), x.T @ y.T / 12).T
    assert within(np.sum((fits - b) ** 2, axis=1), float(sum(bias_variance.conditional_error(x, 3.0, 0.7, strength))))


TRACED = [
    (bias_variance.least_squares_variance, (5.0, 30.0, 0.7)),
    (bias_variance.least_squares_optimism, (5.0, 30.0, 0.7)),
    (lambda a, s: bias_variance.ridge_error(jnp.array([0.0, 1.0, 2.0]), jnp.ones(3), a, s), (0.3, 0.7)),
    (lambda t, s: bias_variance.nearest_neighbours_error(t, jnp.array([0.5, 1.5]), s), (0.2, 0.7)),
    (bias_variance.min_norm_error, (0.5, 4.0, 0.7)),
    (bias_variance.min_norm_error, (1.7, 4.0, 0.7)),
    (bias_variance.min_norm_error_exact, (12.0, 40.0, 0.6, 0.4, 0.7)),
    (bias_variance.min_norm_error_exact, (60.0, 40.0, 0.6, 0.4, 0.7)),
    (bias_variance.stieltjes, (1.3, 0.4)),
    (bias_variance.stieltjes, (2.0, 1.0)),
    (bias_variance.ridge_error_limit, (1.3, 5.0, 0.7, 0.4)),
    (bias_variance.optimal_ridge_error, (1.3, 5.0, 0.7)),
    (
        lambda r, s, a: bias_variance.conditional_error(jnp.array([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0]]), r, s, a),
        (4.0, 0.7, 0.3),
    ),
]


@pytest.mark.parametrize(("function", "numbers"), TRACED)
def test_closed_forms_jit_vmap_and_have_true_gradients(function, numbers):
    check_grads(function, numbers, order=1, modes=["rev"], rtol=1e-4)
    many = [jnp.array([number, 0.97 * number]) for number in numbers]
    lanes = jax.jit(jax.vmap(function))(*many)
    alone = function(*(column[1] for column in many))
    for leaf, value in zip(jax.tree.leaves(lanes), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(leaf[1], value, rtol=1e-11)
