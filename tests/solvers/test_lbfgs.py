"""The solver "lbfgs" against scikit-learn, SciPy and the other methods: l1, bounds, groups, nonconvex penalties."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import Bounds
from scipy.optimize import minimize as scipy_minimize
from sklearn.linear_model import Lasso, LogisticRegression

from regopt.penalties import box, elastic_net, group_lasso, l1, mcp, non_negative, nuclear, orthogonality
from regopt.projections import projection_l1_ball
from regopt.solvers import LinearModel, gaussian, indicator, logistic, minimize, path
from regopt.solvers._quasi_newton import proximal_lbfgs

pytestmark = pytest.mark.usefixtures("double_precision")


def data(n=60, features=12, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, features)) + 2 * random.standard_normal((n, 1))
    return jnp.asarray(x), jnp.asarray(x @ random.standard_normal(features) + random.standard_normal(n) + 3)


def squares(w, x, y):
    return jnp.mean((x @ w - y) ** 2) / 2


def test_the_lasso_is_scikit_learns_with_its_zeros_and_a_gap():
    x, y = data()
    model = LinearModel(gaussian())
    found = minimize(model, l1(0.4), model.start(x), x, y, solver="lbfgs", tolerance=1e-14)
    other = Lasso(alpha=0.4, tol=1e-15, max_iter=1_000_000).fit(x, y)
    assert found.converged
    assert found.gap <= 1e-14 * found.objective
    np.testing.assert_allclose(found.params["coefficients"], other.coef_, atol=1e-6)
    np.testing.assert_array_equal(found.params["coefficients"] == 0, other.coef_ == 0)
    assert 0 < np.sum(other.coef_ == 0) < 12


def test_logistic_regression_with_an_l1_penalty_is_scikit_learns():
    x, y = data()
    y = (y > y.mean()).astype(float)
    model = LinearModel(logistic())
    found = minimize(model, l1(0.02), model.start(x), x, y, solver="lbfgs", tolerance=1e-12)
    other = LogisticRegression(l1_ratio=1, C=1 / (60 * 0.02), solver="saga", tol=1e-12, max_iter=1_000_000)
    other.fit(x, y)
    np.testing.assert_allclose(found.params["coefficients"], other.coef_[0], atol=1e-4)
    np.testing.assert_array_equal(found.params["coefficients"] == 0, other.coef_[0] == 0)


@pytest.mark.parametrize("bounds", [(-0.3, 0.5), (0.0, np.inf)])
def test_bounds_give_what_scipys_l_bfgs_b_gives(bounds):
    x, y = data()
    value_and_grad = jax.jit(jax.value_and_grad(squares))
    other = scipy_minimize(
        lambda w: tuple(np.asarray(a) for a in value_and_grad(w, x, y)), np.zeros(12), jac=True, method="L-BFGS-B",
        bounds=Bounds(*bounds), options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 10_000},
    )  # fmt: skip
    penalty = box(*bounds) if np.isfinite(bounds[1]) else non_negative()
    found = minimize(squares, penalty, jnp.zeros(12), x, y, solver="lbfgs", tolerance=1e-9)
    assert found.converged
    assert float(found.objective) == pytest.approx(other.fun, rel=1e-10)
    np.testing.assert_allclose(found.params, other.x, atol=1e-6)
    assert jnp.all((found.params >= bounds[0]) & (found.params <= bounds[1]))


def test_a_loss_that_is_not_convex_reaches_its_minimum_from_far_away():
    def rosenbrock(w):
        return jnp.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)

    found = minimize(rosenbrock, None, jnp.full(6, -1.5), solver="lbfgs", tolerance=1e-8)
    assert found.converged
    np.testing.assert_allclose(found.params, 1.0, atol=1e-7)
    assert found.steps < 200


def test_a_start_where_the_loss_is_steep_is_not_taken_for_the_solution():
    random = np.random.default_rng(3)
    x, _ = data(200, 50)
    counts = jnp.asarray(random.poisson(2.0, 200) * 1.0)

    def poisson_loss(w):
        return jnp.mean(jnp.exp(x @ w / 3) - counts * (x @ w / 3))

    far, near = (
        minimize(poisson_loss, l1(0.05), start, solver="lbfgs", tolerance=1e-8)
        for start in (jnp.full(50, 2.0), jnp.zeros(50))
    )
    assert far.converged
    assert near.converged
    np.testing.assert_allclose(far.params, near.params, atol=1e-6)


def badly_scaled():
    """Least squares with columns of sizes from 0.1 to 10, in float64."""
    random = np.random.default_rng(0)
    sizes = np.geomspace(0.1, 10, 20)
    x = random.standard_normal((200, 20)) * sizes
    return x, x @ (random.standard_normal(20) / sizes) + random.standard_normal(200)


@jax.enable_x64(False)
def test_where_single_precision_allows_no_progress_the_steps_end_closer_than_scipys():
    x, y = map(jnp.asarray, badly_scaled())
    found = minimize(squares, None, jnp.zeros(20), x, y, solver="lbfgs", tolerance=1e-6)
    assert found.params.dtype == jnp.float32
    assert not found.converged
    assert found.steps < 2000  # of 10,000
    value_and_grad = jax.jit(jax.value_and_grad(squares))
    other = scipy_minimize(
        lambda w: tuple(np.asarray(a, float) for a in value_and_grad(jnp.asarray(w), x, y)), np.zeros(20), jac=True,
        method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-6, "maxiter": 10_000},
    )  # fmt: skip
    assert found.residual <= np.linalg.norm(other.jac)
    np.testing.assert_allclose(np.linalg.norm(jax.grad(squares)(found.params, x, y)), found.residual, atol=1e-4)


@jax.enable_x64(False)
def test_where_no_step_reaches_the_tolerance_the_best_point_is_kept():
    x, y = map(jnp.asarray, badly_scaled())

    def residual_after(max_steps):
        loss, start = partial(squares, x=x, y=y), jnp.zeros(20)
        return proximal_lbfgs(loss, l1(0.0), start, gap_at=None, tolerance=0.0, max_steps=max_steps).residual

    residuals = jax.jit(jax.vmap(residual_after))(jnp.append(jnp.arange(100, 400), 10_000))
    assert 0 < residuals[-1] <= jnp.min(residuals)


def test_double_precision_solves_the_same_problem():
    x, y = map(jnp.asarray, badly_scaled())
    found = minimize(squares, None, jnp.zeros(20), x, y, solver="lbfgs", tolerance=1e-6)
    assert found.converged
    np.testing.assert_allclose(found.params, np.linalg.lstsq(np.asarray(x), np.asarray(y))[0], atol=1e-4)


PENALTIES = {
    "elastic net": lambda: elastic_net(0.3, 0.7),
    "group lasso": lambda: group_lasso(0.4, axis=1, mask=None),
    "nuclear": lambda: nuclear(0.5, mask=None),
    "mcp": lambda: mcp(0.3, 3.0, mask=None),
    "a set": lambda: indicator(lambda w: projection_l1_ball(w, 2.0)),
}
OTHERS = ("elastic net", "nuclear", "a set")


@pytest.mark.parametrize(
    "kind", ["mcp", "group lasso", *(pytest.param(kind, marks=pytest.mark.long) for kind in OTHERS)]
)
def test_every_penalty_with_a_prox_gives_what_the_gradient_method_gives(kind):
    x, y = data()

    def loss(w):
        return squares(w.ravel(), x, y)

    by_lbfgs, by_gradients = (
        minimize(loss, PENALTIES[kind](), jnp.zeros((4, 3)), solver=solver, tolerance=1e-9)
        for solver in ("lbfgs", "proximal_gradient")
    )
    assert by_lbfgs.converged
    assert by_gradients.converged
    np.testing.assert_allclose(by_lbfgs.params, by_gradients.params, atol=1e-7)
    np.testing.assert_array_equal(by_lbfgs.params == 0, by_gradients.params == 0)


def test_lanes_and_derivatives_are_those_of_single_fits():
    x, y = data()

    def fit(strength):
        return minimize(
            squares, l1(strength), jnp.zeros(12), x, y, solver="lbfgs", lower_bound=0, tolerance=1e-12
        ).params

    strengths = jnp.array([0.05, 0.5])
    lanes, one = jax.jit(jax.vmap(fit))(strengths), jax.jit(fit)
    np.testing.assert_allclose(lanes, jnp.stack([one(strength) for strength in strengths]), atol=1e-6)
    slope = jax.jit(jax.jacfwd(fit))(0.5)
    np.testing.assert_allclose(slope, (one(0.5 + 1e-4) - one(0.5 - 1e-4)) / 2e-4, atol=1e-3)


def test_a_path_takes_it():
    x, y = data()
    model, strengths = LinearModel(gaussian()), jnp.array([1.0, 0.3])
    found = path(model, l1, model.start(x), x, y, strengths=strengths, solver="lbfgs", tolerance=1e-14)
    assert found.converged.all()
    for strength, w in zip(strengths, found.params["coefficients"], strict=True):
        other = Lasso(alpha=float(strength), tol=1e-15, max_iter=1_000_000).fit(x, y)
        np.testing.assert_allclose(w, other.coef_, atol=1e-6)


def test_a_penalty_without_a_prox_is_refused():
    with pytest.raises(ValueError, match="no prox"):
        minimize(lambda w: jnp.sum(w**2), orthogonality(1.0), jnp.ones((4, 3)), solver="lbfgs")
