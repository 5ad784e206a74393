"""The quadratic analysis against exact rationals, NumPy's iteration, SciPy's minimiser and scikit-learn's ridge."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.linalg import expm
from scipy.optimize import minimize
from sklearn.linear_model import Lasso, Ridge

from regopt._core.numerics import exprel
from regopt.analysis import quadratic
from regopt.data import prostate

pytestmark = pytest.mark.usefixtures("double_precision")

TRIDIAGONAL = np.array([[2.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]])


def problem(n=5, rank=5, seed=0):
    """A Hessian of the given rank with eigenvalues up to about 3, and a minimum."""
    generator = np.random.default_rng(seed)
    factor = generator.normal(size=(n, rank)) / np.sqrt(n)
    return jnp.asarray(factor @ factor.T), jnp.asarray(generator.normal(size=n))


def exact_solution(matrix, right):
    """Gaussian elimination in rationals."""
    rows = [[Fraction(int(a)) for a in row] + [Fraction(int(b))] for row, b in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        rows[i] = [entry / rows[i][i] for entry in rows[i]]
        for j in range(len(rows)):
            if j != i:
                rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]


def test_the_tridiagonal_example_has_the_exact_rationals():
    w_star = np.array([1.0, 0.0, 0.0])
    exact = exact_solution(TRIDIAGONAL + 2 * np.eye(3), TRIDIAGONAL @ w_star)
    assert exact == [Fraction(13, 28), Fraction(-1, 7), Fraction(-1, 28)]
    for hessian in (jnp.asarray(TRIDIAGONAL), jnp.linalg.eigh(TRIDIAGONAL)):
        solution = quadratic.l2_solution(hessian, jnp.asarray(w_star), 2.0)
        np.testing.assert_allclose(solution, [float(entry) for entry in exact], atol=1e-14)
    eigenvalues = jnp.linalg.eigvalsh(TRIDIAGONAL)
    np.testing.assert_allclose(quadratic.effective_parameters(eigenvalues, 2.0), 19 / 14, atol=1e-14)


@pytest.mark.parametrize("strength", [0.3, np.array([0.2, 0.4, 0.8, 1.6, 3.2])], ids=["number", "by direction"])
def test_l2_is_the_minimum_that_scipy_finds(strength):
    hessian, w_star = problem()
    _, vectors = np.linalg.eigh(hessian)

    def objective(w):
        gap = w - w_star
        return gap @ hessian @ gap / 2 + np.sum(strength * (vectors.T @ w) ** 2) / 2

    found = minimize(objective, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(quadratic.l2_solution(hessian, w_star, jnp.asarray(strength)), found, atol=1e-6)


def test_a_singular_hessian_is_no_trouble():
    hessian, w_star = problem(n=6, rank=3)
    for strength in (0.0, 0.1):
        from_matrix = quadratic.l2_solution(hessian, w_star, strength)
        from_pair = quadratic.l2_solution(quadratic.eigendecomposition(hessian), w_star, strength)
        np.testing.assert_allclose(from_matrix, from_pair, atol=1e-12)
    limit = np.linalg.pinv(hessian, hermitian=True) @ hessian @ w_star
    np.testing.assert_allclose(quadratic.l2_solution(hessian, w_star, 0.0), limit, atol=1e-12)
    assert int(np.sum(quadratic.eigendecomposition(hessian)[0] == 0)) == 3


def test_l1_is_scikit_learns_lasso_on_orthogonal_columns():
    generator = np.random.default_rng(1)
    x, _ = np.linalg.qr(generator.normal(size=(40, 4)))
    x = x * np.array([1.0, 2.0, 3.0, 4.0])
    y = x @ np.array([1.0, -0.2, 0.5, -3.0])
    hessian = np.diag(x.T @ x) / 40
    ours = quadratic.l1_solution(jnp.asarray(hessian), jnp.asarray([1.0, -0.2, 0.5, -3.0]), 0.03)
    theirs = Lasso(alpha=0.03, fit_intercept=False, tol=1e-14).fit(x, y).coef_
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert ours[1] == 0
    flat = quadratic.l1_solution(jnp.array([0.0, 1.0]), jnp.array([2.0, 2.0]), jnp.array([0.5, 0.5]))
    np.testing.assert_array_equal(flat, [0.0, 1.5])
    assert float(quadratic.l1_solution(jnp.zeros(1), jnp.ones(1), 0.0)[0]) == 1.0


@pytest.mark.parametrize("largest", [0.9, 1.9], ids=["monotone", "overshooting"])
def test_the_path_is_that_of_iterated_gradient_descent(largest):
    hessian, w_star = problem()
    rate = largest / float(np.linalg.eigvalsh(hessian)[-1])
    w0 = np.arange(5.0)
    points, w = [], w0.copy()
    for _ in range(25):
        points.append(w)
        w = w - rate * np.asarray(hessian) @ (w - np.asarray(w_star))
    steps = jnp.arange(25).reshape(5, 5)
    path = quadratic.gradient_descent_path(hessian, w_star, rate, steps, jnp.asarray(w0))
    np.testing.assert_allclose(path.reshape(25, 5), points, atol=1e-12)
    from_zero = quadratic.gradient_descent_path(hessian, w_star, rate, 0)
    np.testing.assert_array_equal(from_zero, np.zeros(5))


def test_the_flow_is_the_matrix_exponential_and_the_limit_of_small_steps():
    hessian, w_star = problem()
    flow = quadratic.gradient_flow_path(hessian, w_star, jnp.array([0.5, 2.0]), jnp.ones(5))
    for time, point in zip((0.5, 2.0), flow, strict=True):
        np.testing.assert_allclose(point, w_star + expm(-hessian * time) @ (1 - w_star), atol=1e-12)
    steps = quadratic.gradient_descent_path(hessian, w_star, 2.0 / 1e6, 1e6, jnp.ones(5))
    np.testing.assert_allclose(steps, flow[1], atol=1e-5)  # the error of Euler's method, of the order of the step


@pytest.mark.parametrize("steps", [1, 7, 400])
def test_early_stopping_is_l2_with_the_equivalent_strength_of_each_direction(steps):
    hessian, w_star = problem(n=6, rank=4)
    pair = quadratic.eigendecomposition(hessian)
    rate = 0.7 / float(pair[0][-1])
    strength = quadratic.equivalent_strength(pair[0], rate, steps)
    stopped = quadratic.gradient_descent_path(pair, w_star, rate, steps)
    np.testing.assert_allclose(quadratic.l2_solution(pair, w_star, strength), stopped, atol=1e-13)
    np.testing.assert_allclose(quadratic.equivalent_steps(pair[0], rate, strength), steps, rtol=1e-11)
    np.testing.assert_allclose(strength[:2], 1 / (rate * steps), rtol=1e-14)  # at l = 0


def test_the_expansion_of_the_equivalent_strength_has_its_second_term():
    rate, steps = 0.01, 50
    curvature = jnp.array([1e-4, 2e-4])
    gap = (
        1 / (rate * steps)
        - curvature * (steps + 1) / (2 * steps)
        - quadratic.equivalent_strength(curvature, rate, steps)
    )
    assert float(jnp.log2(jnp.abs(gap[1] / gap[0]))) == pytest.approx(2, abs=0.01)  # what is left is O(l**2)


@pytest.mark.parametrize(("x", "error"), [(0.1, 0.05), (0.171, 0.085), (0.855, 0.37), (3.4, 0.90)])
def test_the_rule_of_thumb_is_off_as_known(x, error):
    """1 / (learning_rate steps) against the exact strength, at l * learning_rate * steps = x."""
    rate, steps = 0.01, 50
    exact = float(quadratic.equivalent_strength(jnp.array([x / (rate * steps)]), rate, steps)[0])
    assert 1 - exact * rate * steps == pytest.approx(error, abs=0.006)


@pytest.mark.parametrize("function", ["equivalent_strength", "equivalent_steps"])
def test_single_precision_keeps_its_digits_for_tiny_eigenvalues(function):
    eigenvalues = np.concatenate([[0.0], np.geomspace(1e-12, 9.0, 60)])
    third = 30.0
    call = getattr(quadratic, function)
    double = call(jnp.asarray(eigenvalues), 0.1, third)
    single = call(jnp.asarray(eigenvalues, jnp.float32), jnp.float32(0.1), jnp.float32(third))
    assert single.dtype == jnp.float32
    # c = 0.9 at the end: log(1 - c) and the power lose a factor of 30 * 10 over the rounding of c
    np.testing.assert_allclose(single, double, rtol=2e-4, atol=1e-30)
    np.testing.assert_allclose(single[:30], double[:30], rtol=5e-6)


def test_overshooting_steps_have_their_sign_and_half_steps_none():
    curvature = jnp.array([0.5, 1.5])
    np.testing.assert_allclose(quadratic.early_stopping_shrinkage(curvature, 1.0, 3), [0.875, 1.125])
    np.testing.assert_allclose(quadratic.equivalent_strength(curvature, 1.0, 3)[1], 1.5 * -0.125 / 1.125)
    half = quadratic.early_stopping_shrinkage(curvature, 1.0, 2.5)
    assert np.isfinite(half[0])
    assert np.isnan(half[1])
    steps = jax.jit(quadratic.equivalent_steps)(curvature, 0.8, 0.1)
    np.testing.assert_array_equal(np.isnan(steps), [False, True])


@pytest.mark.parametrize(
    ("library", "error", "penalty"),  # weights of |Xw - y|^2 and |w|^2
    [
        ("regopt", 1 / 60, 0.35),
        ("pytorch.MSELoss", 1 / 30, 0.35),
        ("sklearn.Ridge", 1.0, 0.7),
        ("keras.MeanSquaredError", 1 / 30, 0.7),
        ("deeplearning.ai", 1 / 60, 0.7 / 60),
    ],
)
def test_ridge_is_scikit_learns_and_has_no_gradient_in_each_convention(library, error, penalty):
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(30, 4)), generator.normal(size=30)
    w = quadratic.ridge_solution(jnp.asarray(x), jnp.asarray(y), 0.7, library)
    gradient = 2 * error * x.T @ (x @ w - y) + 2 * penalty * w
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    alpha = float(quadratic.ridge_alpha(0.7, 30, library))
    np.testing.assert_allclose(w, Ridge(alpha=alpha, fit_intercept=False).fit(x, y).coef_, atol=1e-12)


def test_single_precision_finds_the_intercept_of_the_prostate_data():
    x, y = (np.asarray(array, np.float64) for array in prostate().train)
    x = np.column_stack([np.ones(len(x)), x])
    exact = np.linalg.lstsq(x, y, rcond=None)[0]
    single = quadratic.ridge_solution(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), 0.0)
    assert single.dtype == jnp.float32
    # the condition number is 8e2 after scaling; rounding of x alone moves the solution by about that times 1e-7
    np.testing.assert_allclose(single, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("first", "points"), [(-1.0, 6), (-1.0, 10), (-1.0, 12), (0.0, 6), (0.0, 8)])
def test_a_polynomial_with_as_many_coefficients_as_points_interpolates_them(first, points):
    t = np.linspace(first, 1, points)
    powers, y = (jnp.asarray(a, jnp.float32) for a in (np.vander(t, points), np.sin(7 * t)))
    for x in (powers, jnp.concatenate([powers, powers], axis=1)):  # and one of smallest norm
        w = np.asarray(quadratic.ridge_solution(x, y, 0.0), np.float64)
        np.testing.assert_allclose(np.asarray(x, np.float64) @ w, y, atol=5e-5)  # |x| |w| roundings


def test_a_small_strength_keeps_its_digits_in_single_precision():
    x, y = (np.asarray(array, np.float64) for array in prostate().train)
    exact = Ridge(alpha=1e-3, fit_intercept=False, solver="svd").fit(x, y).coef_
    single = quadratic.ridge_solution(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), 1e-3, "sklearn.Ridge")
    np.testing.assert_allclose(single, exact, rtol=1e-4, atol=1e-5)


def test_an_ill_conditioned_hessian_keeps_its_minimum_in_single_precision():
    vectors, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(4, 4)))
    hessian = jnp.asarray(vectors * np.array([1e-4, 1e-2, 1.0, 3.0]) @ vectors.T, jnp.float32)
    w_star = jnp.array([1.0, -2.0, 0.5, 3.0], jnp.float32)
    np.testing.assert_allclose(quadratic.l2_solution(hessian, w_star, 0.0), w_star, rtol=1e-5)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("shape", [(7, 3), (3, 7)], ids=["tall", "wide"])
@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_ridge_has_true_first_and_second_derivatives(shape, strength):
    generator = np.random.default_rng(4)
    x, y = jnp.asarray(generator.normal(size=shape)), jnp.asarray(generator.normal(size=shape[0]))
    if strength:
        check_grads(quadratic.ridge_solution, (x, y, strength), order=2, modes=["fwd", "rev"], rtol=1e-3)
    else:  # a strength below 0 is no ridge, so that there is no difference quotient in the strength
        check_grads(lambda x, y: quadratic.ridge_solution(x, y, 0.0), (x, y), order=1, modes=["fwd", "rev"], rtol=1e-3)
        at_zero = jax.jacobian(quadratic.ridge_solution, 2)(x, y, 0.0)
        one_sided = (quadratic.ridge_solution(x, y, 1e-7) - quadratic.ridge_solution(x, y, 0.0)) / 1e-7
        np.testing.assert_allclose(at_zero, one_sided, rtol=1e-4)


def test_equal_singular_values_have_a_gradient_and_a_pseudo_inverse_of_lower_rank_has_its_own():
    slope = jax.jacobian(quadratic.ridge_solution)(2 * jnp.eye(3), jnp.ones(3), 0.5)
    assert np.isfinite(slope).all()
    generator = np.random.default_rng(6)
    left, right, y = (jnp.asarray(generator.normal(size=shape)) for shape in ((6, 2), (2, 4), (6,)))
    for factors in ((left, right), (right.T, left.T)):  # X of rank 2, tall and wide, stays at rank 2
        given = y[: len(factors[0])]
        ours = jax.jit(jax.jacobian(lambda a, b, y=given: quadratic.ridge_solution(a @ b, y, 0.0), (0, 1)))(*factors)
        theirs = jax.jit(jax.jacobian(lambda a, b, y=given: jnp.linalg.pinv(a @ b) @ y, (0, 1)))(*factors)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), ours, theirs)


def test_a_singular_hessian_that_turns_has_the_gradient_of_its_projection():
    factor, w_star = jnp.asarray(np.random.default_rng(7).normal(size=(4, 2))), jnp.arange(1.0, 5.0)
    for strength in (0.0, 0.3):
        check_grads(
            lambda f, w, a=strength: quadratic.l2_solution(f @ f.T, w, a), (factor, w_star), order=1, modes=["rev"]
        )


def test_the_radius_falls_strictly_and_its_constraint_has_the_same_minimum():
    hessian, w_star = problem()
    radii = jax.vmap(lambda a: quadratic.penalty_radius(hessian, w_star, a))(jnp.geomspace(1e-3, 1e3, 40))
    assert (np.diff(radii) < 0).all()
    np.testing.assert_allclose(quadratic.penalty_radius(hessian, w_star, 0.0), np.linalg.norm(w_star), rtol=1e-12)
    radius = float(quadratic.penalty_radius(hessian, w_star, 0.4))
    found = minimize(
        lambda w: (w - w_star) @ hessian @ (w - w_star) / 2,
        np.zeros(5),
        jac=lambda w: np.asarray(hessian @ (w - w_star)),
        constraints={"type": "ineq", "fun": lambda w: radius**2 - w @ w},
        options={"ftol": 1e-14},
    ).x
    np.testing.assert_allclose(quadratic.l2_solution(hessian, w_star, 0.4), found, atol=1e-5)


def test_the_risk_of_ridge_is_that_of_many_replicas():
    generator = np.random.default_rng(3)
    x, w = generator.normal(size=(40, 3)) * np.array([1.0, 0.5, 2.0]), np.array([1.0, -2.0, 0.5])
    values, vectors = np.linalg.eigh(x.T @ x / 40)
    y = x @ w + 1.5 * generator.normal(size=(20_000, 40))
    fits = np.linalg.solve(x.T @ x / 40 + 0.3 * np.eye(3), x.T @ y.T / 40).T
    errors = np.sum((fits - w) ** 2, axis=1)
    shrinkage = quadratic.l2_shrinkage(jnp.asarray(values), 0.3)
    risk = quadratic.shrinkage_risk(shrinkage, jnp.asarray(values), jnp.asarray(vectors.T @ w), 1.5**2, 40)
    assert abs(float(risk) - errors.mean()) < 4 * errors.std() / np.sqrt(20_000)  # four standard errors


SPECTRAL = [
    (quadratic.l2_shrinkage, (0.3,)),
    (quadratic.early_stopping_shrinkage, (0.2, 12.0)),
    (quadratic.gradient_flow_shrinkage, (1.5,)),
    (quadratic.equivalent_strength, (0.2, 12.0)),
    (quadratic.equivalent_steps, (0.2, 0.4)),
    (quadratic.effective_parameters, (0.3,)),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("function", "numbers"), SPECTRAL, ids=lambda x: getattr(x, "__name__", ""))
def test_spectral_functions_jit_vmap_and_have_finite_slopes(function, numbers):
    eigenvalues = jnp.array([0.0, 1e-6, 0.3, 3.0])
    check_grads(function, (eigenvalues[2:], *numbers), order=1, modes=["rev"], rtol=1e-4)
    places = range(len(numbers) + 1)
    slopes = jax.jit(jax.grad(lambda *x: jnp.sum(function(*x)), argnums=tuple(places)))(eigenvalues, *numbers)
    assert all(np.isfinite(slope).all() for slope in slopes)
    one_sided = (
        jnp.sum(function(eigenvalues.at[0].set(1e-5), *numbers)) - jnp.sum(function(eigenvalues, *numbers))
    ) / 1e-5
    np.testing.assert_allclose(slopes[0][0], one_sided, rtol=2e-3)  # the next term of the expansion
    many = [jnp.array([number, 0.9 * number]) for number in numbers]
    lanes = jax.jit(jax.vmap(function, in_axes=(None, *[0] * len(numbers))))(eigenvalues, *many)
    for lane, given in zip(lanes, zip(*many, strict=True), strict=True):
        np.testing.assert_allclose(lane, function(eigenvalues, *given), rtol=1e-12)


SOLUTION_NAMES = ["l2", "l1", "descent", "flow", "radius", "ridge", "risk"]
SOLUTIONS = [
    (lambda h, w, a: quadratic.l2_solution(h, w, a), (0.3,)),
    (lambda h, w, a: quadratic.l1_solution(jnp.diagonal(h), w, a), (0.3,)),
    (lambda h, w, e, t: quadratic.gradient_descent_path(h, w, e, t), (0.2, 12.0)),
    (lambda h, w, t: quadratic.gradient_flow_path(h, w, t), (1.5,)),
    (lambda h, w, a: quadratic.penalty_radius(h, w, a), (0.3,)),
    (lambda h, w, a: quadratic.ridge_solution(h, w, a), (0.3,)),
    (lambda h, w, s, n: quadratic.shrinkage_risk(w / 9, jnp.diagonal(h), w, s, n), (0.3, 7.0)),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("function", "numbers"), SOLUTIONS, ids=["l2", "l1", "descent", "flow", "radius", "ridge", "risk"]
)
def test_solutions_jit_vmap_and_have_true_gradients(function, numbers):
    hessian, w_star = problem()
    symmetric = lambda h, *rest: function((h + h.T) / 2, *rest)  # noqa: E731 - directions of the test keep H symmetric
    check_grads(symmetric, (hessian, w_star, *numbers), order=1, modes=["rev"], rtol=1e-4)
    many = [jnp.array([number, 0.9 * number]) for number in numbers]
    lanes = jax.jit(jax.vmap(function, in_axes=(None, None, *[0] * len(numbers))))(hessian, w_star, *many)
    for lane, given in zip(lanes, zip(*many, strict=True), strict=True):
        np.testing.assert_allclose(lane, function(hessian, w_star, *given), rtol=1e-11)


def test_a_concrete_problem_may_sit_inside_jit():
    hessian, w_star = problem()
    pair = quadratic.eigendecomposition(hessian)
    traced = jax.jit(lambda a: quadratic.l2_solution(hessian, w_star, a))(0.3)
    np.testing.assert_allclose(traced, quadratic.l2_solution(pair, w_star, 0.3), atol=1e-12)
    jax.jit(lambda t: quadratic.gradient_descent_path(pair, w_star, 0.1, t))(3.0)


def test_equal_eigenvalues_have_a_gradient_too():
    slope = jax.grad(lambda h: quadratic.l2_solution(h, jnp.ones(3), 0.5)[0])(2 * jnp.eye(3))
    assert np.isfinite(slope).all()


EYE, ONES = np.eye(2), np.ones(2)
SKEW = np.array([[1.0, 2.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: quadratic.l2_solution(SKEW, ONES, 1.0),
            "hessian must be symmetric",
        ),
        (lambda: quadratic.l2_solution(np.diag([1.0, -1.0]), ONES, 1.0), "hessian must be positive semidefinite"),
        (lambda: quadratic.l2_solution(np.ones((2, 3)), ONES, 1.0), r"hessian must have shape \[n, n\]"),
        (lambda: quadratic.l2_solution(EYE * np.nan, ONES, 1.0), "hessian must be finite"),
        (lambda: quadratic.l2_solution(EYE, ONES, -1.0), r"strength must lie in \[0, inf\], got -1.0"),
        (lambda: quadratic.l1_solution(ONES, ONES, -1.0), r"strength must lie in \[0, inf\), got -1.0"),
        (
            lambda: quadratic.gradient_descent_path(EYE, ONES, 2.5, 3),
            "learning_rate must be at most 2 / 1 = 2, got 2.5",
        ),
        (lambda: quadratic.gradient_descent_path(EYE, ONES, 0.5, -3), r"steps must lie in \[0, inf\), got -3"),
        (lambda: quadratic.equivalent_steps(ONES, 1.5, 1.0), "learning_rate must be at most 1 / 1 = 1, got 1.5"),
        (
            lambda: quadratic.early_stopping_shrinkage(np.ones(2), -0.1, 3),
            r"learning_rate must lie in \(0, inf\), got -0.1",
        ),
        (lambda: quadratic.l2_shrinkage(np.array([-1.0]), 3.0), r"eigenvalues must lie in \[0, inf\)"),
        (lambda: quadratic.equivalent_strength(EYE, 0.1, 3), r"shape \[n\], the values of eigendecomp.*got \(2, 2\)"),
        (lambda: quadratic.l1_solution(EYE, ONES, 1.0), r"diagonal must have shape \[n\], got \(2, 2\)"),
        (lambda: quadratic.l1_solution(-ONES, ONES, 1.0), r"diagonal must lie in \[0, inf\)"),
        (lambda: quadratic.l2_solution(EYE, np.ones(3), 1.0), r"w_star must have shape \(2,\).* got \(3,\)"),
        (lambda: quadratic.l1_solution(ONES, np.ones(3), 1.0), r"w_star must have shape \(2,\).* got \(3,\)"),
        (lambda: quadratic.gradient_descent_path(EYE, ONES, 0.1, 3, np.ones(1)), r"w0 must have shape \(2,\)"),
        (lambda: quadratic.gradient_flow_path(EYE, np.ones(2), -1.0), r"time must lie in \[0, inf\), got -1.0"),
        (lambda: quadratic.ridge_alpha(1.0, 10, "MSE"), "library must be one of .*'sklearn.Ridge'.*, got 'MSE'"),
        (lambda: quadratic.ridge_solution(EYE, np.ones(3), 1.0), r"x must have shape .* got \(2, 2\) and \(3,\)"),
        (
            lambda: quadratic.shrinkage_risk(np.ones(1), np.ones(1), np.ones(1), -1.0, 3),
            r"noise must lie in \[0, inf\)",
        ),
    ],
)
def test_bad_input_is_one_clear_line(call, line):
    with pytest.raises(ValueError, match=line) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("x", [-30.0, -1.0, -0.1, -1e-3, 0.0, 1e-9, 0.05, 0.1, 2.0, 30.0])
def test_exprel_has_scipys_value_and_a_true_slope(x):
    from scipy.special import exprel as theirs

    np.testing.assert_allclose(exprel(jnp.array(x)), theirs(x), rtol=1e-14)
    step = 1e-4 * max(abs(x), 1)
    central = (theirs(x + step) - theirs(x - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(exprel)(jnp.array(x)), central, rtol=1e-5)  # of the central difference
