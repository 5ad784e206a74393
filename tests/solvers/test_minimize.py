"""``minimize`` against scikit-learn and SciPy; its gap against the minimum; its derivatives against differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard
from scipy.optimize import nnls
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression

from regopt import penalties
from regopt.solvers import implicit_root, minimize

pytestmark = pytest.mark.usefixtures("double_precision")


def data(seed, n=60, features=8):
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, features)) @ (np.eye(features) + 0.4 * random.standard_normal((features, features)))
    w = random.standard_normal(features) * (np.arange(features) % 2)
    return jnp.asarray(x), jnp.asarray(x @ w + 0.5 * random.standard_normal(n))


def squares(w, x, y):
    return jnp.sum((x @ w - y) ** 2) / (2 * len(y))


def solve(penalty, x, y, tolerance=1e-11, **options):
    return jax.jit(
        lambda x, y: minimize(squares, penalty, jnp.zeros(x.shape[1]), x, y, tolerance=tolerance, **options)
    )(x, y)


@pytest.mark.parametrize(("n", "features"), [(60, 8), (12, 30)])
@pytest.mark.parametrize("strength", [0.03, 0.3])
def test_the_lasso_is_scikit_learns_and_the_gap_bounds_the_error(n, features, strength):
    x, y = data(11, n, features)
    solution = solve(penalties.l1(strength, mask=None), x, y, lower_bound=0.0)
    other = Lasso(alpha=strength, fit_intercept=False, tol=1e-12, max_iter=1_000_000).fit(x, y).coef_
    least = min(float(squares(other, x, y) + strength * np.abs(other).sum()), float(solution.objective))
    assert solution.converged
    assert solution.gap <= 1e-11 * max(1, float(solution.objective))
    assert solution.gap >= solution.objective - least - 1e-12
    np.testing.assert_allclose(solution.params, other, atol=2e-5)
    assert solution.objective <= least + 1e-11


def test_the_elastic_net_is_scikit_learns():
    x, y = data(4)
    solution = solve(penalties.elastic_net(0.4, 0.7, mask=None), x, y, lower_bound=0.0)
    other = ElasticNet(alpha=0.4, l1_ratio=0.7, fit_intercept=False, tol=1e-12, max_iter=1_000_000).fit(x, y).coef_
    assert solution.converged
    np.testing.assert_allclose(solution.params, other, atol=1e-5)


def test_without_a_penalty_it_is_least_squares():
    x, y = data(5)
    solution = solve(None, x, y, tolerance=1e-12)
    assert solution.converged
    assert solution.gap == jnp.inf
    np.testing.assert_allclose(solution.params, LinearRegression(fit_intercept=False).fit(x, y).coef_, atol=1e-7)


def test_constraints_are_penalties():
    x, y = data(6)
    solution = solve(penalties.non_negative(mask=None), x, y, tolerance=1e-10)
    np.testing.assert_allclose(solution.params, nnls(np.asarray(x), np.asarray(y))[0], atol=1e-8)


PENALTIES = {
    "l1": penalties.l1(0.2, mask=None),
    "l2": penalties.l2(0.3, mask=None),
    "elastic net": penalties.elastic_net(0.3, 0.4, mask=None),
    "l1 by layer": penalties.l1({"a": 0.1, "b": 0.5}, mask=None),
    "group lasso": penalties.group_lasso(0.2, mask=None),
    "sparse group lasso": penalties.sparse_group_lasso(0.3, 0.4, mask=None),
    "nuclear": penalties.nuclear(0.2, mask=None),
    "spectral norm": penalties.spectral_norm(0.4, mask=None),
    "box": penalties.box(-0.2, 0.3, mask=None),
    "scaled": penalties.scaled(penalties.l1(0.1, mask=None), 2.0),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_the_gap_is_an_upper_bound_everywhere_and_vanishes_at_the_solution(name):
    random = np.random.default_rng(7)
    x, target = jnp.asarray(random.standard_normal((40, 6))), jnp.asarray(random.standard_normal((40, 4)))
    start = {"a": jnp.zeros((6, 4)), "b": jnp.zeros((6, 4))}

    def loss(params):  # not a quadratic: logistic in a product of both layers' sum
        return jnp.mean(jnp.logaddexp(0, x @ (params["a"] + 0.5 * params["b"])) - 0.3 * target * (x @ params["a"])) + 20

    @partial(jax.jit, static_argnums=0)
    def run(max_steps, tolerance, start):
        return minimize(loss, PENALTIES[name], start, lower_bound=0.0, tolerance=tolerance, max_steps=max_steps)

    best = run(20_000, 1e-11, start)
    assert best.converged
    elsewhere = jax.tree.map(lambda w: jnp.asarray(random.standard_normal(w.shape)), start)
    for steps in (1, 30):
        for begin in (start, elsewhere):
            early = run(steps, 0.0, begin)
            assert early.gap >= early.objective - best.objective - 1e-12, steps


def test_slopes_in_strength_and_data_are_those_of_differences():
    x, y = data(8)

    def measure(strength, y):
        return jnp.sum(
            minimize(squares, penalties.l1(strength, mask=None), jnp.zeros(8), x, y, tolerance=1e-12).params ** 3
        )

    slopes = jax.jit(jax.grad(measure, (0, 1)))(0.1, y)
    forward = jax.jvp(lambda s: measure(s, y), (0.1,), (1.0,))[1]
    step = 1e-5
    by_strength = (measure(0.1 + step, y) - measure(0.1 - step, y)) / (2 * step)
    towards = jnp.zeros_like(y).at[3].set(step)
    by_target = (measure(0.1, y + towards) - measure(0.1, y - towards)) / (2 * step)
    np.testing.assert_allclose(slopes[0], by_strength, rtol=1e-5)
    np.testing.assert_allclose(forward, by_strength, rtol=1e-5)
    np.testing.assert_allclose(slopes[1][3], by_target, rtol=1e-5)


def test_lanes_are_the_problems_one_by_one():
    x, y = data(9)
    strengths = jnp.array([0.05, 0.2, 1.0])

    def one(strength):
        return minimize(
            squares, penalties.l1(strength, mask=None), jnp.zeros(8), x, y, lower_bound=0.0, tolerance=1e-10
        )

    together = jax.jit(jax.vmap(one))(strengths)
    assert together.converged.all()
    for i, strength in enumerate(strengths):
        np.testing.assert_allclose(together.params[i], one(strength).params, atol=1e-7)


def test_what_cannot_be_certified_is_refused():
    start = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}

    def loss(params):
        return jnp.sum(params["kernel"] ** 2) + jnp.sum(params["bias"] ** 2)

    with pytest.raises(ValueError, match="mask=None"):
        minimize(loss, penalties.l1(1.0), start, lower_bound=0.0)
    with pytest.raises(ValueError, match="residual"):
        minimize(loss, penalties.mcp(1.0, mask=None), start, lower_bound=0.0)
    with pytest.raises(ValueError, match="no prox"):
        minimize(loss, penalties.orthogonality(1.0), start)
    with pytest.raises(ValueError, match="tolerance"):
        minimize(loss, penalties.l1(1.0), start, tolerance=-1.0)


def test_a_loss_that_is_not_a_number_ends_without_a_certificate():
    solution = minimize(lambda w: jnp.log(w).sum(), penalties.l1(1.0, mask=None), jnp.array([-1.0]), lower_bound=0.0)
    assert not solution.converged


def test_steps_that_do_not_suffice_are_said():
    x, y = data(10)
    solution = solve(penalties.l1(0.01, mask=None), x, y, lower_bound=0.0, max_steps=2)
    assert not solution.converged
    assert solution.steps == 2


def test_a_large_system_is_solved_without_a_matrix():
    size, scale = 1500, jnp.linspace(1.0, 2.0, 1500)

    def measure(a):
        return jnp.sum(implicit_root(lambda x: scale * x - a, lambda _: (a / scale, None), jnp.zeros(size))[0])

    np.testing.assert_allclose(jax.grad(measure)(jnp.ones(size)), 1 / scale, rtol=1e-6)


@pytest.mark.parametrize("name", ["mcp", "scad", "l0"])
def test_a_stationary_point_of_a_nonconvex_penalty_is_found_to_be_one_in_single_precision(name):
    x = hadamard(16)[:, :8].astype(np.float32)  # orthogonal columns, so that all sums are exact
    x[:, 0] /= 2  # and no step is the last one at once
    w = np.array([3700, -2500, 4100, -900, 0.125, -0.125, 0.125, 0], np.float32)
    expected = np.where(np.abs(w) > 1, w, 0)  # where the penalties are flat the slope is 0, elsewhere it is below 0.5
    with jax.enable_x64(False):
        x, penalty = jnp.asarray(x), getattr(penalties, name)(0.5)
        found = minimize(squares, penalty, jnp.zeros(8), x, x @ w, tolerance=1e-4, solver="proximal_gradient")
    np.testing.assert_allclose(found.params, expected, rtol=1e-7, atol=1e-7)
    assert found.converged
    assert found.steps < 100
