"""The projection onto a polyhedron against SciPy's nonnegative least squares and linear programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog, nnls

from regopt.projections import (
    projection_affine,
    projection_box,
    projection_polyhedron,
    projection_simplex,
    projection_sparse_simplex,
)


def least_distance(w, a, b, g, h):
    """The projection from the multipliers of its dual, by Lawson and Hanson's least-distance program; None if empty."""
    rows = np.concatenate([g, a, -a])
    bounds = np.concatenate([h, b, -b]) - rows @ w  # rows @ move <= bounds
    system = np.concatenate([-rows.T, -bounds[None]])
    found, _ = nnls(system, np.append(np.zeros(w.size), 1.0), maxiter=10_000)
    residual = system @ found - np.append(np.zeros(w.size), 1.0)
    return None if np.linalg.norm(residual) < 1e-9 else w - residual[:-1] / residual[-1]


def draw(number, n=6, equalities=2, inequalities=9):
    random = np.random.default_rng(number)
    a, g = random.standard_normal((equalities, n)), random.standard_normal((inequalities, n))
    inside = random.standard_normal(n)
    b, h = a @ inside, g @ inside + random.exponential(size=inequalities) * (random.uniform(size=inequalities) < 0.7)
    return 3 * random.standard_normal(n), a, b, g, h


project = jax.jit(lambda w, a, b, g, h: projection_polyhedron(w, equalities=(a, b), inequalities=(g, h)))


@pytest.mark.parametrize("number", range(20))
def test_it_is_that_of_a_nonnegative_least_squares_problem(double_precision, number):
    w, a, b, g, h = draw(number)
    found = np.asarray(project(w, a, b, g, h))
    np.testing.assert_allclose(found, least_distance(w, a, b, g, h), atol=1e-9)
    np.testing.assert_allclose(a @ found, b, atol=1e-12)
    assert np.all(g @ found <= h + 1e-12)
    np.testing.assert_allclose(project(found, a, b, g, h), found, atol=1e-12)


@pytest.mark.long
def test_it_is_in_hundreds_of_random_cases_with_repeated_rows(double_precision):
    for number in range(400):
        w, a, b, g, h = draw(number)
        g[3], h[3] = 2 * g[2], 2 * h[2]
        g[5], h[5] = a[0], b[0]  # constant on the equalities, and satisfied to rounding
        a[1], b[1] = -a[0], -b[0]
        found = np.asarray(project(w, a, b, g, h))
        expected = least_distance(w, a, b, g, h)
        np.testing.assert_allclose(found, expected, atol=1e-7, err_msg=str(number))


def test_an_empty_set_is_told_as_linear_programs_tell_it(double_precision):
    empty = 0
    for number in range(40):
        w, a, b, g, h = draw(number, n=3, equalities=1)
        h = h - 0.3
        status = linprog(np.zeros(3), A_ub=g, b_ub=h, A_eq=a, b_eq=b, bounds=(None, None)).status
        assert status in (0, 2)
        assert bool(jnp.isnan(project(w, a, b, g, h)).all()) == (status == 2), number
        empty += status == 2
    assert 5 <= empty <= 35


def test_an_empty_set_raises_even_where_the_point_is_traced():
    rows = (jnp.array([[1.0, 0.0], [-1.0, 0.0]]), jnp.array([0.0, -1.0]))
    with pytest.raises(ValueError, match="no point satisfies"):
        projection_polyhedron(jnp.ones(2), inequalities=rows)
    with pytest.raises(ValueError, match="no point satisfies"):
        jax.jit(lambda w: projection_polyhedron(w, inequalities=rows))(jnp.ones(2))
    twice = (jnp.array([[1.0, 1.0], [2.0, 2.0]]), jnp.array([1.0, 1.0]))
    with pytest.raises(ValueError, match="no point satisfies"):
        projection_polyhedron(jnp.ones(2), equalities=twice)


def test_a_bound_of_minus_infinity_is_an_empty_set():
    with pytest.raises(ValueError, match="no point satisfies"):
        projection_polyhedron(jnp.arange(3.0), inequalities=(jnp.eye(3), jnp.array([1.0, -jnp.inf, 1.0])))


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e-5, 1.0, 1e6])
def test_tolerances_scale_with_the_set_and_the_point(scale):
    positive = (-jnp.eye(3), jnp.zeros(3))
    found = np.asarray(projection_polyhedron(jnp.array([-1.0, 2.0, -0.5]) * scale, inequalities=positive))
    np.testing.assert_allclose(found / scale, [0, 2, 0], rtol=1e-6, atol=1e-12)
    total = (jnp.ones((1, 3)), jnp.full(1, scale))
    for w in ([0.5, 0.50001, -1e-5], [-1.0, 2.0, -0.5]):
        point = jnp.array(w) * scale
        found = np.asarray(projection_polyhedron(point, equalities=total, inequalities=positive), np.float64)
        expected = np.asarray(projection_simplex(point / scale))
        np.testing.assert_allclose(found / scale, expected, rtol=1e-6, atol=1e-12)
    apart = (jnp.array([[1.0], [-1.0]]), jnp.full(2, -5e-6) * scale)
    with pytest.raises(ValueError, match="no point satisfies"):
        projection_polyhedron(jnp.ones(1) * scale, inequalities=apart)


@pytest.mark.parametrize("angle", [3e-3, 1e-3, 4e-4, 3e-4, 2e-4, 1e-4, 3e-5])
def test_nearly_parallel_rows_meet_in_their_apex(angle):
    sine, cosine = np.sin(angle), np.cos(angle)
    for rows, w in (([[0, 1], [sine, -cosine]], [2, 3]), ([[1, 0], [cosine, sine]], [1, angle / 2])):
        inequalities = (jnp.array(rows, jnp.float32), jnp.zeros(2))
        found = projection_polyhedron(jnp.array(w, jnp.float32), inequalities=inequalities)
        np.testing.assert_allclose(found, [0, 0], atol=1e-7)  # a rounding of w


def test_the_derivative_is_zero_where_nearly_parallel_rows_meet():
    inequalities = (jnp.array([[0, 1], [np.sin(1e-3), -np.cos(1e-3)]], jnp.float32), jnp.zeros(2))
    slope = jax.jacrev(lambda w: projection_polyhedron(w, inequalities=inequalities))(jnp.array([2.0, 3.0]))
    np.testing.assert_allclose(slope, np.zeros((2, 2)), atol=1e-3)


def test_a_point_that_is_no_number_is_returned_as_such():
    found = projection_polyhedron(jnp.array([jnp.nan, 1.0]), inequalities=(-jnp.eye(2), jnp.zeros(2)))
    assert jnp.isnan(found[0])


def test_a_point_that_equalities_determine_is_found_at_zero():
    rows = jnp.array([[1.0, 1.0], [1.0, 1.001]])
    found = projection_polyhedron(jnp.array([3.0, -2.0]), equalities=(rows, jnp.zeros(2)))
    np.testing.assert_allclose(found, [0, 0], atol=1e-6)


def test_second_derivatives_are_those_of_differences(double_precision):
    w, a, b, g, h = (jnp.asarray(array) for array in draw(1))
    turn = jnp.asarray(np.random.default_rng(3).standard_normal(g.shape))

    def slope(t):
        return jax.grad(lambda t: jnp.sum(project(w, a, b, g + t * turn, h) ** 2))(t)

    np.testing.assert_allclose(jax.grad(slope)(0.0), (slope(1e-6) - slope(-1e-6)) / 2e-6, rtol=1e-5)


def test_simple_sets_have_their_own_projections():
    w = jnp.array([0.9, -0.3, 0.4, 2.0])
    box = (jnp.concatenate([jnp.eye(4), -jnp.eye(4)]), jnp.full(8, 0.5))
    np.testing.assert_allclose(projection_polyhedron(w, inequalities=box), projection_box(w, -0.5, 0.5), atol=1e-6)
    simplex = {"equalities": (jnp.ones((1, 4)), jnp.ones(1)), "inequalities": (-jnp.eye(4), jnp.zeros(4))}
    expected = projection_sparse_simplex(w, 4)
    np.testing.assert_allclose(projection_polyhedron(w, **simplex), expected, atol=1e-6)
    plane = (jnp.array([[1.0, 2.0, 0.0, 1.0]]), jnp.array([3.0]))
    np.testing.assert_allclose(projection_polyhedron(w, equalities=plane), projection_affine(w, *plane), atol=1e-6)
    tree = {"a": w[:3], "b": w[3]}
    np.testing.assert_allclose(projection_polyhedron(tree, **simplex)["a"], expected[:3], atol=1e-6)


def test_the_derivative_is_that_of_differences_and_lanes_are_single_calls(double_precision):
    w, a, b, g, h = (jnp.asarray(array) for array in draw(1))
    turn = jnp.asarray(np.random.default_rng(9).standard_normal(6))
    for place, direction in enumerate((turn, None, a @ turn, None, g @ turn)):
        if direction is None:
            continue

        def moved(t, place=place, direction=direction):
            arrays = [w, a, b, g, h]
            arrays[place] = arrays[place] + t * direction
            return project(*arrays)

        slope = jax.jacfwd(moved)(0.0)
        np.testing.assert_allclose(slope, (moved(1e-6) - moved(-1e-6)) / 2e-6, atol=1e-6)
    points = jnp.stack([w, -w, 2 * w])
    lanes = jax.vmap(project, (0, None, None, None, None))(points, a, b, g, h)
    np.testing.assert_allclose(lanes, jnp.stack([project(point, a, b, g, h) for point in points]), atol=1e-12)


def test_shapes_that_do_not_match_are_refused():
    wrong = [(jnp.ones((1, 3)), jnp.ones(1)), (jnp.ones((1, 2)), jnp.ones(2)), jnp.eye(2), 3.0, (jnp.ones((1, 2)),)]
    for rows in wrong:
        with pytest.raises(ValueError, match=r"^inequalities must be a pair of arrays \[m, 2\] and \[m\], got"):
            projection_polyhedron(jnp.ones(2), inequalities=rows)
