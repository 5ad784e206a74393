"""Conjugate gradients, quasi-Newton methods and line searches: exact identities in float64, and SciPy's solutions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

import regopt
from regopt.optimizers import scale_by_exact_linesearch
from regopt.optimizers._quasi_newton import updated_inverse
from support.full_batch import logistic, quadratic, rosenbrock, run

pytestmark = pytest.mark.usefixtures("double_precision")


VARIANTS = ["polak_ribiere", "fletcher_reeves", "hestenes_stiefel"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_conjugate_gradients_end_after_as_many_steps_as_there_are_distinct_eigenvalues(variant):
    _, minimum, value_fn = quadratic([0.5] * 3 + [2.0] * 4 + [9.0] * 2 + [30.0])
    for linesearch in ("exact_quadratic", "zoom"):  # the zoom is started at the minimum of the parabola
        path, _ = run(regopt.nonlinear_cg(variant=variant, linesearch=linesearch), value_fn, np.ones(10), 4)
        errors = np.linalg.norm(path - minimum, axis=1)
        assert errors[4] < 1e-10
        assert errors[3] > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_on_a_quadratic_the_variants_are_linear_conjugate_gradients(variant):
    hessian, minimum, value_fn = quadratic(np.geomspace(0.2, 40, 8))
    path, _ = run(regopt.nonlinear_cg(variant=variant, linesearch="exact_quadratic"), value_fn, np.zeros(8), 8)
    iterates, w, r = [np.zeros(8)], np.zeros(8), -(hessian @ minimum)
    d = -r
    for _ in range(8):  # the textbook's linear method
        step = r @ r / (d @ hessian @ d)
        w, after = w + step * d, r + step * hessian @ d
        d, r = -after + (after @ after) / (r @ r) * d, after
        iterates.append(w)
    np.testing.assert_allclose(path, iterates, atol=1e-8)
    energy = np.sqrt(np.einsum("ki,ij,kj->k", path - minimum, hessian, path - minimum))
    ratio = (np.sqrt(200) - 1) / (np.sqrt(200) + 1)
    assert np.all(energy[:8] <= 2 * ratio ** np.arange(8) * energy[0])  # Chebyshev's bound
    assert energy[8] < 1e-8 * energy[0]


def test_the_formulas_for_beta():
    """Where the function is no quadratic the variants differ: the second direction against the formulas."""

    def value_fn(w):
        return w[0] ** 4 / 4 + 2 * w[1] ** 2 + w[0] * w[1] / 2

    def slope(w):
        return np.array(jax.grad(value_fn)(jnp.asarray(w)))

    start, betas = np.array([1.0, -0.5]), set()
    for variant in VARIANTS:
        optimizer = regopt.nonlinear_cg(variant=variant, linesearch="exact_quadratic")
        path, (states, _) = run(optimizer, value_fn, start, 2)
        g0, g = slope(path[0]), slope(path[1])
        beta = {
            "polak_ribiere": max(0, g @ (g - g0) / (g0 @ g0)),
            "fletcher_reeves": g @ g / (g0 @ g0),
            "hestenes_stiefel": g @ (g - g0) / ((g - g0) @ -g0),
        }[variant]
        expected = -g - beta * g0
        assert expected @ g < 0
        assert beta > 0.01
        betas.add(round(beta, 6))
        np.testing.assert_allclose(states.direction[1], expected, rtol=1e-9)
    assert len(betas) == 3


def test_short_steps_restart_polak_ribiere():
    """g'(g - g0) is negative after a step that is too short, and the method is then gradient descent."""
    _, _, value_fn = quadratic([0.5, 1.0, 4.0])
    path, _ = run(regopt.nonlinear_cg(linesearch=optax.scale(0.1)), value_fn, np.ones(3), 10)
    descent, _ = run(regopt.sgd(0.1), value_fn, np.ones(3), 10)
    np.testing.assert_allclose(path, descent, rtol=1e-12)


def test_a_direction_that_does_not_descend_gives_way_to_steepest_descent():
    conjugate = regopt.nonlinear_cg(variant="fletcher_reeves", linesearch=optax.scale(2.5))  # goes too far
    path, _ = run(conjugate, lambda w: jnp.sum(w**2) / 2, np.ones(1), 2)
    np.testing.assert_allclose(path[:, 0], [1, -1.5, -1.5 + 2.5 * 1.5])
    limited = regopt.lbfgs(linesearch=optax.identity())
    path, _ = run(limited, lambda w: -jnp.sum(w**2) / 2, np.ones(1), 3)  # each pair has negative curvature
    np.testing.assert_allclose(path[:, 0], [1, 2, 4, 8])


def test_bfgs_with_exact_steps_gives_the_iterates_of_conjugate_gradients_and_the_inverse_hessian():
    hessian, _, value_fn = quadratic([0.3, 1.0, 2.5, 7.0, 19.0], seed=3)
    path, (states, _) = run(regopt.bfgs(linesearch="exact_quadratic"), value_fn, np.ones(5), 6)
    conjugate, _ = run(regopt.nonlinear_cg(linesearch="exact_quadratic"), value_fn, np.ones(5), 5)
    np.testing.assert_allclose(path[:6], conjugate, atol=1e-8)
    np.testing.assert_allclose(states.inverse_hessian[5], np.linalg.inv(hessian), atol=1e-8)  # after n pairs
    in_units = run(regopt.bfgs(linesearch="exact_quadratic"), lambda w: value_fn(w / 1e-9), np.full(5, 1e-9), 6)
    np.testing.assert_allclose(in_units[0][:6] / 1e-9, path[:6], atol=1e-8)
    np.testing.assert_array_equal(in_units[1][0].pairs[:6], states.pairs[:6])
    limited, _ = run(regopt.lbfgs(linesearch="exact_quadratic"), value_fn, np.ones(5), 5)
    np.testing.assert_allclose(limited, conjugate, atol=1e-8)


def test_the_bfgs_update_is_equation_6_17():
    generator = np.random.default_rng(5)
    root, s, y = generator.normal(size=(4, 4)), generator.normal(size=4), generator.normal(size=4)
    m, y = root @ root.T, y * np.sign(s @ y)
    rho, identity = 1 / (y @ s), np.eye(4)
    expected = (identity - rho * np.outer(s, y)) @ m @ (identity - rho * np.outer(y, s)) + rho * np.outer(s, s)
    found = updated_inverse(*map(jnp.asarray, (m, s, y)))
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    np.testing.assert_allclose(found @ y, s, rtol=1e-9)  # the secant equation


def test_bfgs_starts_at_equation_6_20_and_skips_pairs_of_negative_curvature():
    def value_fn(w):
        return jnp.sum(jnp.cos(w)) + 0.05 * jnp.sum(w**2)

    start = np.array([0.3, -0.2, 0.4])  # near a maximum
    path, (states, _) = run(regopt.bfgs(linesearch=optax.scale(0.3)), value_fn, start, 20)
    slopes = np.array(jax.vmap(jax.grad(value_fn))(jnp.asarray(path[:-1])))
    curvature = np.sum(np.diff(path[:-1], axis=0) * np.diff(slopes, axis=0), axis=1)
    used = np.append(0, np.cumsum(curvature > 0))
    assert 0 < used[-1] < 19
    np.testing.assert_array_equal(states.pairs, used)
    first = np.argmax(used == 1)
    s, y = path[first] - path[first - 1], slopes[first] - slopes[first - 1]
    gamma = jnp.asarray(s @ y / (y @ y) * np.eye(3))
    np.testing.assert_allclose(states.inverse_hessian[first], updated_inverse(gamma, s, y), rtol=1e-10)
    assert np.linalg.eigvalsh(np.array(states.inverse_hessian)).min() > 0


def test_lbfgs_is_that_of_optax():
    path, _ = run(regopt.lbfgs(memory_size=3), rosenbrock, np.array([-1.2, 1.0]), 25)
    other = optax.lbfgs(memory_size=3, linesearch=optax.scale_by_zoom_linesearch(30, initial_guess_strategy="one"))

    @jax.jit
    def step(w, state):
        value, grad = jax.value_and_grad(rosenbrock)(w)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = other.update(grad, state, w, value=value, grad=grad, value_fn=rosenbrock)
        return optax.apply_updates(w, updates), state

    w = jnp.array([-1.2, 1.0])
    state = other.init(w)
    for expected in path[1:]:
        w, state = step(w, state)
        np.testing.assert_allclose(w, expected, rtol=1e-6)


SEARCHING = {
    "BFGS": [regopt.bfgs(), regopt.lbfgs(), regopt.bfgs(linesearch="backtracking")],
    "CG": [regopt.nonlinear_cg(), regopt.nonlinear_cg(variant="hestenes_stiefel")],
    "Newton-CG": [regopt.newton_cg()],
}


@pytest.mark.parametrize("method", SEARCHING)
def test_solutions_against_scipy(method):
    value_fn, _ = logistic()

    def flat(w):
        return value_fn({"w": w[:30], "b": w[30]})

    for function, at, steps in ((rosenbrock, np.array([-1.2, 1.0]), 120), (flat, np.zeros(31), 150)):
        value, slope = jax.jit(function), jax.jit(jax.grad(function))
        found = optimize.minimize(value, at, jac=slope, method=method, tol=1e-9)
        for optimizer in SEARCHING[method]:
            path, _ = run(optimizer, function, at, steps)
            np.testing.assert_allclose(path[-1], found.x, atol=2e-5)  # where SciPy stops
            assert np.linalg.norm(slope(path[-1])) < 1e-6
            values = np.array(jax.vmap(function)(jnp.asarray(path)))
            assert np.all(np.diff(values) <= 1e-6 * values[:-1])  # the approximate Wolfe condition allows 1e-6


def test_the_exact_line_search_ends_at_the_minimum_along_the_line():
    hessian, minimum, value_fn = quadratic([0.3, 1.0, 8.0])
    optimizer = optax.chain(regopt.sgd(0.01), scale_by_exact_linesearch())
    path, _ = run(optimizer, value_fn, np.ones(3), 5)
    for before, after in itertools.pairwise(path):
        g = hessian @ (before - minimum)
        np.testing.assert_allclose(after, before - g * (g @ g) / (g @ hessian @ g), rtol=1e-10)
    flat, _ = run(optimizer, lambda w: jnp.sum(-(w**2)), np.ones(3), 1)  # no minimum: the step stays as it was
    np.testing.assert_allclose(flat[1], 1.02 * np.ones(3))
