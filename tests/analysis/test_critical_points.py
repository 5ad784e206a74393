"""Critical points against counts, closed forms and dense linear algebra, in 64 bit."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt.analysis import critical_points as cp
from regopt.curvature import hessian_product

pytestmark = pytest.mark.usefixtures("double_precision")


def cubic(w):
    """A function of a tree with a dense Hessian."""
    flat = jnp.concatenate([w["a"].ravel(), w["b"]])
    return jnp.sum(jnp.sin(flat)) * jnp.sum(flat**2) + flat[0] * flat[-1]


def point():
    return {"a": jnp.array([[0.3, -1.0], [0.7, 0.2]]), "b": jnp.array([0.5])}


def test_the_spectrum_is_that_of_the_matrix_of_products():
    product, flat = hessian_product(cubic, point()), jnp.eye(5)
    unit = [{"a": row[:4].reshape(2, 2), "b": row[4:]} for row in flat]
    matrix = np.stack([np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(product(v))]) for v in unit])
    np.testing.assert_allclose(cp.hessian_spectrum(cubic, point()), np.linalg.eigvalsh(matrix), atol=1e-12)


def test_every_critical_point_of_the_wells_is_found_with_its_index():
    n = 4
    search = jax.jit(lambda w: cp.find_critical_point(cp.wells, w, steps=40))
    kinds = {"minima": 0, "saddles": 0, "maxima": 0}
    for corner in itertools.product([-1.0, 0.0, 1.0], repeat=n):
        start = jnp.array(corner) + jnp.array([0.1, -0.07, 0.05, 0.12])
        found = search(start)
        np.testing.assert_allclose(found.params, corner, atol=1e-9)
        assert float(found.gradient_norm) < 1e-9
        index = int(np.sum(np.asarray(found.eigenvalues) < 0))
        assert index == corner.count(0.0)
        kinds["minima" if index == 0 else "maxima" if index == n else "saddles"] += 1
    assert kinds == cp.well_counts(n)._asdict()


@pytest.mark.parametrize(("n", "ratio"), [(5, 6.56), (10, 56.66), (20, 3324.26)])
def test_saddles_outnumber_minima_exponentially(n, ratio):
    counts = cp.well_counts(n)
    assert sum(counts) == 3**n
    assert counts.saddles / counts.minima == pytest.approx(1.5**n - 1 - 2.0**-n, rel=1e-12)
    assert counts.saddles / counts.minima == pytest.approx(ratio, abs=0.01)


def test_signs_are_counted_beside_what_is_zero():
    counts = cp.inertia(jnp.array([-3.0, -1e-9, 0.0, 1e-9, 2.0, 5.0]))
    assert [int(each) for each in counts] == [1, 3, 2]


def test_the_share_by_lanczos_is_that_of_the_spectrum():
    n = 30
    curvatures = jnp.linspace(-1.0, 3.0, n)
    rotation = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (n, n)))[0]

    def objective(w):
        return jnp.sum(curvatures * jnp.square(rotation @ w)) / 2

    exact = float(jnp.mean(curvatures < 0))
    found = cp.negative_share(objective, jnp.zeros(n), jax.random.key(1), order=n, probes=200)
    error = math.sqrt(2 * exact * (1 - exact) / n / 200)  # of the weights of normal vectors
    assert abs(float(found) - exact) < 4 * error


def test_the_semicircle_is_the_integral_of_its_density_and_of_a_random_matrix():
    shifts = np.array([-2.0, -0.4, 0.0, 0.3, 0.7, 1.2, 1.5])
    r = math.sqrt(2)
    x = np.linspace(-r, r, 400001)
    density = 2 / (math.pi * r**2) * np.sqrt(np.maximum(r**2 - x**2, 0))
    expected = [np.sum(density[x < -s]) * (x[1] - x[0]) for s in shifts]
    np.testing.assert_allclose(cp.semicircle_negative_share(jnp.asarray(shifts)), expected, atol=1e-5)
    b = np.random.default_rng(0).normal(size=(400, 400))
    values = np.linalg.eigvalsh((b + b.T) / (2 * math.sqrt(400)))
    measured = np.mean(values[None] + shifts[:, None] < 0, axis=1)
    np.testing.assert_allclose(measured, expected, atol=6e-3)


@pytest.mark.parametrize(("n", "units"), [(4, 2), (5, 1)])
def test_a_linear_autoencoder_has_one_minimum_among_its_subspaces(n, units):
    b = np.random.default_rng(n).normal(size=(n, n + 3))
    covariance = jnp.asarray(b @ b.T / n)
    choices, points = cp.autoencoder_points(covariance, units)
    assert len(choices) == math.comb(n, units)
    loss = jax.tree_util.Partial(lambda params: cp.autoencoder_loss(params, covariance))
    values = cp.autoencoder_values(covariance, units)

    @jax.jit
    def facts(params):
        return *jax.value_and_grad(loss)(params), cp.inertia(cp.hessian_spectrum(loss, params)).negative

    indices = []
    for place, expected in enumerate(np.asarray(values)):
        params = jax.tree.map(lambda leaf, place=place: leaf[place], points)
        value, slopes, negative = facts(params)
        assert float(value) == pytest.approx(float(expected), rel=1e-10)
        assert max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(slopes)) < 1e-10
        indices.append(int(negative))
    assert [index == 0 for index in indices] == [True] + [False] * (len(choices) - 1)
    assert int(np.argmin(values)) == 0


def test_the_taylor_terms_are_exact_for_a_quadratic():
    matrix = jnp.array([[2.0, 0.3], [0.3, -1.0]])

    def quadratic(w):
        return w @ matrix @ w / 2

    w, rate = jnp.array([0.7, -0.4]), 0.3
    terms = cp.taylor_terms(quadratic, w, rate)
    change = quadratic(w - rate * jax.grad(quadratic)(w)) - quadratic(w)
    assert float(terms.first + terms.second) == pytest.approx(float(change), rel=1e-12)
    best = cp.taylor_terms(quadratic, w, float(terms.best_rate))
    assert float(best.second) == pytest.approx(-float(best.first) / 2, rel=1e-12)
    assert float(cp.taylor_terms(lambda w: -w @ w, w, rate).best_rate) == math.inf


@pytest.mark.parametrize(("rate", "curvature", "start"), [(0.05, 1.0, 1e-6), (0.1, 0.3, 1e-3), (0.5, 2.0, 0.2)])
def test_the_escape_time_is_counted(rate, curvature, start):
    y, steps = start, 0
    while y < 1:
        y, steps = y + rate * curvature * y, steps + 1
    assert int(cp.escape_time(rate, curvature, start)) == steps
    assert int(cp.escape_time(rate, curvature, 2.0)) == 0


def test_a_power_by_eigenvalues_is_the_product():
    matrix = np.random.default_rng(0).normal(size=(4, 4))
    power, factors = cp.matrix_power(matrix, 7)
    np.testing.assert_allclose(power, np.linalg.matrix_power(matrix, 7), rtol=1e-9)
    assert factors[0] == pytest.approx(np.abs(np.linalg.eigvals(matrix)).max() ** 7)
    assert cp.matrix_power(np.array([[-1.5]]), 20)[0][0, 0] == pytest.approx(3325.2567)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cp.escape_time(0.0, 1.0, 1.0), "learning_rate must lie"),
        (lambda: cp.well_counts(0), "parameters must be"),
        (lambda: cp.find_critical_point(cp.wells, jnp.zeros(2), steps=-1), "steps must be"),
        (lambda: cp.negative_share(cp.wells, jnp.zeros(2), jax.random.key(0), probes=0), "probes must be"),
        (lambda: cp.inertia(jnp.ones(2), -1.0), "tolerance must lie"),
        (lambda: cp.semicircle_negative_share(0.0, 0.0), "radius must lie"),
        (lambda: cp.autoencoder_points(jnp.eye(3), 4), "units must lie"),
        (lambda: cp.taylor_terms(cp.wells, jnp.zeros(2), -1.0), "learning_rate must lie"),
        (lambda: cp.matrix_power(np.ones((2, 3)), 2), "matrix must be square"),
        (lambda: cp.matrix_power(np.eye(2), -1), "power must be"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
