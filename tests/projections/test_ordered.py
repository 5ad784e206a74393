"""Isotonic projections, box sections, simplices and transport plans against scikit-learn and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import isotonic_regression

from regopt.projections import (
    kl_projection_birkhoff,
    kl_projection_transport,
    projection_birkhoff,
    projection_box_section,
    projection_isotonic,
    projection_sparse_simplex,
    projection_transport,
)

pytestmark = pytest.mark.usefixtures("double_precision")


def closest(w, constraints, bounds):
    """The nearest point by a general solver."""
    found = minimize(
        lambda u: np.sum((u - w) ** 2) / 2, np.full(len(w), 0.1), jac=lambda u: u - w, bounds=bounds,
        constraints=constraints, method="SLSQP", options={"ftol": 1e-15, "maxiter": 1000},
    )  # fmt: skip
    return found.x


@pytest.mark.parametrize("decreasing", [False, True])
@pytest.mark.parametrize("size", [1, 2, 57])
def test_isotonic_regression_is_scikit_learns(size, decreasing):
    w = np.round(np.random.default_rng(size).standard_normal(size), 1)  # with ties
    expected = isotonic_regression(w, increasing=not decreasing)
    np.testing.assert_allclose(projection_isotonic(jnp.asarray(w), decreasing=decreasing), expected, atol=1e-14)


def test_the_derivative_of_an_isotonic_projection_is_that_of_its_blocks():
    w = jnp.array([3.0, 1.0, 2.5, 2.0, 7.0, 6.5])
    slopes, project = jax.jit(jax.jacrev(projection_isotonic))(w), jax.jit(projection_isotonic)
    differences = [(project(w.at[i].add(1e-6)) - project(w.at[i].add(-1e-6))) / 2e-6 for i in range(6)]
    np.testing.assert_allclose(slopes, jnp.stack(differences, 1), atol=1e-8)


def test_a_section_of_a_box_is_nearest_and_has_its_derivative():
    random = np.random.default_rng(0)
    w, weights = random.standard_normal(7), np.array([1.0, -2.0, 0.5, 0.0, 1.5, 3.0, -1.0])
    lower, upper = -random.uniform(0.2, 1, 7), random.uniform(0.2, 1, 7)
    sums = {"type": "eq", "fun": lambda u: weights @ u - 0.7, "jac": lambda u: weights}

    def project(w, total):
        return projection_box_section(w, jnp.asarray(lower), jnp.asarray(upper), jnp.asarray(weights), total)

    expected = closest(w, [sums], list(zip(lower, upper, strict=True)))
    np.testing.assert_allclose(project(jnp.asarray(w), 0.7), expected, atol=1e-7)
    slope, project = jax.jit(jax.jacfwd(project, argnums=1))(jnp.asarray(w), 0.7), jax.jit(project)
    by_differences = (project(jnp.asarray(w), 0.7 + 1e-6) - project(jnp.asarray(w), 0.7 - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, by_differences, atol=1e-8)


@pytest.mark.parametrize(("total", "word"), [(8.0, "total"), (-0.1, "total")])
def test_an_empty_section_is_refused(total, word):
    with pytest.raises(ValueError, match=word):
        projection_box_section(jnp.zeros(7), 0.0, 1.0, total=total)
    with pytest.raises(ValueError, match="lower"):
        projection_box_section(jnp.zeros(7), 1.0, 0.0, total=0.5)


def test_a_sparse_point_of_a_simplex_is_the_best_of_all_supports():
    w = jnp.asarray(np.random.default_rng(1).standard_normal(6))
    found = projection_sparse_simplex(w, 2, 1.5)
    assert jnp.sum(found != 0) <= 2
    assert float(found.sum()) == pytest.approx(1.5)
    best, w = np.inf, np.asarray(w)
    for i in range(6):
        for j in range(i):
            u = np.zeros(6)
            u[[i, j]] = projection_sparse_simplex(jnp.asarray(w[[i, j]]), 2, 1.5)
            best = min(best, np.sum((u - w) ** 2))
    assert float(np.sum((np.asarray(found) - w) ** 2)) == pytest.approx(best, rel=1e-12)
    w = jnp.asarray(w)
    expected = closest(np.asarray(w), [{"type": "eq", "fun": lambda u: u.sum() - 1.5}], [(0, None)] * 6)
    np.testing.assert_allclose(projection_sparse_simplex(w, 6, 1.5), expected, atol=1e-7)


def test_a_transport_plan_is_nearest():
    random = np.random.default_rng(2)
    plan, rows, columns = random.standard_normal((3, 4)), np.array([1.0, 2.0, 0.0]), np.array([0.5, 1.5, 0.25, 0.75])
    sums = [
        {"type": "eq", "fun": lambda u: u.reshape(3, 4).sum(1) - rows},
        {"type": "eq", "fun": lambda u: u.reshape(3, 4).sum(0)[:-1] - columns[:-1]},
    ]
    expected = closest(plan.ravel(), sums, [(0, None)] * 12).reshape(3, 4)
    found = projection_transport(jnp.asarray(plan), jnp.asarray(rows), jnp.asarray(columns), cycles=2000)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    square = jnp.asarray(random.standard_normal((4, 4)))
    doubly = projection_birkhoff(square, cycles=2000)
    np.testing.assert_allclose(doubly.sum(0), 1, atol=1e-9)
    np.testing.assert_allclose(doubly.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(projection_birkhoff(doubly), doubly, atol=1e-9)


def test_an_entropic_plan_is_a_scaled_exponential_with_the_sums():
    scores = jnp.asarray(np.random.default_rng(3).standard_normal((3, 4)))
    rows, columns = jnp.array([1.0, 2.0, 0.5]), jnp.array([0.75, 1.25, 0.5, 1.0])
    plan = kl_projection_transport(scores, rows, columns)
    np.testing.assert_allclose(plan.sum(1), rows, rtol=1e-12)
    np.testing.assert_allclose(plan.sum(0), columns, rtol=1e-9)
    rest = jnp.log(plan) - scores  # must be f_i + g_j
    np.testing.assert_allclose(rest - rest[:1] - rest[:, :1] + rest[0, 0], 0, atol=1e-12)
    square = kl_projection_birkhoff(scores[:, :3])
    np.testing.assert_allclose([square.sum(0), square.sum(1)], 1, rtol=1e-9)


@pytest.mark.parametrize("project", [projection_transport, kl_projection_transport])
def test_sums_without_a_plan_are_refused(project):
    with pytest.raises(ValueError, match="one total"):
        project(jnp.zeros((2, 2)), jnp.array([1.0, 1.0]), jnp.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="negative"):
        project(jnp.zeros((2, 2)), jnp.array([2.0, -1.0]), jnp.array([0.5, 0.5]))
    name = "plan" if project is projection_transport else "scores"
    with pytest.raises(ValueError, match=rf"{name} must be \[n, m\], rows \[n\] and columns \[m\], got"):
        project(jnp.zeros((2, 2)), jnp.ones(3), jnp.ones(2))


def test_a_plan_of_a_matrix_that_is_not_square_is_refused():
    for project, name in ((projection_birkhoff, "plan"), (kl_projection_birkhoff, "scores")):
        with pytest.raises(ValueError, match=f"{name} must be a square matrix"):
            project(jnp.zeros((2, 3)))
        with pytest.raises(ValueError, match=f"{name} must be an array of numbers, got 3"):
            project(3)
