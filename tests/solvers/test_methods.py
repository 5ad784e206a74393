"""The methods of ``minimize`` against each other and against scikit-learn; the exact path; lanes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import ElasticNet, LogisticRegression, lasso_path

from regopt.penalties import Penalty, elastic_net, group_lasso, l1, mcp, nuclear
from regopt.solvers import LinearModel, gaussian, logistic, minimize, multinomial, path, poisson

pytestmark = pytest.mark.usefixtures("double_precision")

MASK = {"coefficients": True, "intercept": False}
GROUPS = {"coefficients": 1, "intercept": "incoming"}


def least_squares(n=60, features=12):
    random = np.random.default_rng(0)
    x = random.standard_normal((n, features)) + random.standard_normal((n, 1))
    return jnp.asarray(x), jnp.asarray(x @ random.standard_normal(features) + random.standard_normal(n) + 3)


def centred(x, y):
    x, y = np.asarray(x), np.asarray(y)
    return x - x.mean(0), y - y.mean()


def classes(count, n=90, features=5):
    random = np.random.default_rng(1)
    x = random.standard_normal((n, features)) + 0.5
    y = (x @ random.standard_normal((features, count)) + random.gumbel(size=(n, count))).argmax(1)
    return jnp.asarray(x), y


@pytest.mark.parametrize("solver", ["coordinate_descent", "proximal_gradient"])
@pytest.mark.parametrize("weights", [None, "thirds"])
def test_the_elastic_net_is_scikit_learns(solver, weights):
    x, y = least_squares()
    weights = None if weights is None else (jnp.arange(60) % 3).astype(float)
    model, penalty = LinearModel(gaussian()), elastic_net(0.3, 0.7, mask=MASK)
    solution = minimize(model, penalty, model.start(x), x, y, weights, solver=solver, tolerance=1e-15)
    other = ElasticNet(alpha=0.3, l1_ratio=0.7, tol=1e-15, max_iter=1_000_000).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(solution.params["coefficients"], other.coef_, atol=1e-7)
    np.testing.assert_allclose(solution.params["intercept"], other.intercept_, atol=1e-7)
    np.testing.assert_array_equal(solution.params["coefficients"] == 0, other.coef_ == 0)


def test_block_coordinate_descent_finds_the_minimum_of_the_group_lasso():
    x, y = least_squares()
    x = x.reshape(60, 4, 3)
    model, penalty = LinearModel(gaussian()), group_lasso(1.5, axis=GROUPS, mask=MASK)
    by_blocks, by_gradients = (
        minimize(model, penalty, model.start(x), x, y, solver=solver, tolerance=1e-14)
        for solver in ("coordinate_descent", "proximal_gradient")
    )
    assert by_blocks.converged
    assert by_gradients.converged
    assert 0 < jnp.sum(jnp.any(by_blocks.params["coefficients"] != 0, 1)) < 4
    np.testing.assert_allclose(by_blocks.params["coefficients"], by_gradients.params["coefficients"], atol=1e-6)


def test_coordinate_descent_on_orthogonal_inputs_is_the_prox_of_a_nonconvex_penalty():
    x = jnp.asarray(np.linalg.qr(np.random.default_rng(2).standard_normal((8, 5)))[0]) * jnp.sqrt(8)
    y = x @ jnp.array([3.0, -0.4, 0.8, 0.05, -1.5])
    model, penalty = LinearModel(gaussian(), intercept=False), mcp(0.5, 3.0, mask=None)
    solution = minimize(model, penalty, model.start(x), x, y, solver="coordinate_descent", tolerance=1e-12)
    assert solution.converged
    assert solution.gap == jnp.inf
    expected = penalty.prox({"coefficients": x.T @ y / 8}, 1.0)["coefficients"]
    np.testing.assert_allclose(solution.params["coefficients"], expected, atol=1e-12)


@pytest.mark.parametrize("family", ["logistic", "poisson"])
def test_newton_and_gradient_methods_agree(family):
    x, y = classes(2)
    model = LinearModel({"logistic": logistic(), "poisson": poisson()}[family])
    offset, weights = jnp.linspace(-0.5, 0.5, 90), (jnp.arange(90) % 4).astype(float)

    def solve(solver):
        penalty = elastic_net(0.03, 0.6, mask=MASK)
        data = (x, y.astype(float), weights, offset)
        return minimize(model, penalty, model.start(x), *data, solver=solver, tolerance=1e-13)

    newton, gradient = solve("proximal_newton"), solve("proximal_gradient")
    assert newton.converged
    assert newton.steps < 15 < gradient.steps
    np.testing.assert_allclose(newton.params["coefficients"], gradient.params["coefficients"], atol=1e-6)
    assert float(newton.objective) == pytest.approx(float(gradient.objective), abs=1e-12)


def test_one_newton_step_for_each_strength_of_a_path_suffices_with_correlated_inputs():
    x, y = map(np.asarray, load_breast_cancer(return_X_y=True))
    x, y = jnp.asarray((x - x.mean(0)) / x.std(0)), jnp.asarray(y, float)
    model, penalty = LinearModel(logistic()), partial(elastic_net, l1_ratio=0.5, mask=MASK)
    strengths = jnp.max(jnp.abs(x.T @ (y - y.mean()))) / len(x) / 0.5 * jnp.geomspace(1, 0.01, 100)
    found = path(model, penalty, model.start(x), x, y, strengths=strengths, tolerance=1e-9)
    assert found.converged.all()
    assert jnp.mean(found.steps) < 1.3


def test_the_quadratic_model_is_centred_where_a_row_without_weight_is_far_away():
    x, y = classes(2)
    x, weights = (x + 1000.0).at[0].set(1e11), jnp.ones(90).at[0].set(0)
    model, penalty = LinearModel(logistic()), elastic_net(0.03, 0.6, mask=MASK)
    start, y = model.start(x), y.astype(float)
    start["intercept"] = jnp.array(0.1)
    with_row = minimize(model, penalty, start, x, y, weights, solver="proximal_newton", tolerance=1e-9)
    without = minimize(model, penalty, start, x[1:] - 1000.0, y[1:], solver="proximal_newton", tolerance=1e-9)
    assert with_row.converged
    assert with_row.steps <= without.steps + 1
    np.testing.assert_allclose(with_row.params["coefficients"], without.params["coefficients"], atol=1e-4)


def test_the_logistic_loss_has_its_derivatives_and_no_overflow():
    loss = logistic().loss
    eta = jnp.array([-800.0, -1.0, 0.0, 1.0, 800.0])
    np.testing.assert_allclose(loss(eta, 0.0), np.logaddexp(0, eta), rtol=1e-15)
    np.testing.assert_allclose(jax.vmap(jax.grad(loss), (0, None))(eta, 0.0), jax.nn.sigmoid(eta), rtol=1e-15)
    mean = jax.nn.sigmoid(eta)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(loss)), (0, None))(eta, 0.0), mean * (1 - mean), atol=1e-16)


def test_newton_shortens_steps_that_would_overshoot():
    x = jnp.array([[-30.0], [-1.0], [1.0], [40.0]])
    model = LinearModel(poisson())
    y = jnp.array([0.0, 1.0, 2.0, 90.0])
    start = {"coefficients": jnp.array([-0.5]), "intercept": jnp.array(-3.0)}
    solution = minimize(model, l1(0.01, mask=MASK), start, x, y, solver="proximal_newton", tolerance=1e-9)
    other = minimize(model, l1(0.01, mask=MASK), model.start(x), x, y, solver="proximal_gradient", tolerance=1e-9)
    # slopes of 90 times inputs of 40 leave a gap of 1e-10 by rounding
    assert solution.converged
    assert float(solution.objective) == pytest.approx(float(other.objective), abs=1e-9)


def test_multinomial_regression_is_scikit_learns():
    x, y = classes(3)
    model = LinearModel(multinomial(3))
    targets = jax.nn.one_hot(y, 3, dtype=x.dtype)
    solution = minimize(model, l1(0.02, mask=MASK), model.start(x), x, targets, tolerance=1e-10)
    other = LogisticRegression(l1_ratio=1, solver="saga", C=1 / (0.02 * 90), tol=1e-10, max_iter=200_000).fit(x, y)
    assert solution.converged
    np.testing.assert_allclose(solution.params["coefficients"].T, other.coef_, atol=3e-5)
    np.testing.assert_allclose(
        model.family.mean(model.predictor(solution.params, x)), other.predict_proba(x), atol=3e-5
    )


def test_the_multinomial_gap_bounds_the_error():
    x, y = classes(3)
    model, targets = LinearModel(multinomial(3)), jax.nn.one_hot(y, 3, dtype=x.dtype)
    weights, offset = (jnp.arange(90) % 4).astype(float), jnp.linspace(-0.3, 0.3, 270).reshape(90, 3)

    def run(steps, tolerance):
        penalty = elastic_net(0.02, 0.5, mask=MASK)
        data = (x, targets, weights, offset)
        return minimize(model, penalty, model.start(x), *data, tolerance=tolerance, max_steps=steps)

    best = run(20_000, 1e-12)
    assert best.converged
    for steps in (1, 6, 11):
        early = run(steps, 0.0)
        assert best.objective + 1e-9 < early.objective <= best.objective + early.gap + 1e-12
        assert early.gap < jnp.inf


@pytest.mark.parametrize("intercept", [True, False])
def test_the_lasso_of_few_features_follows_the_exact_path(intercept):
    x, y = least_squares()
    model = LinearModel(gaussian(), intercept=intercept)
    if intercept:
        strengths, coefficients, _ = lasso_path(*centred(x, y), alphas=9, eps=0.01, tol=1e-15)
    else:
        strengths, coefficients, _ = lasso_path(np.asarray(x), np.asarray(y), alphas=9, eps=0.01, tol=1e-15)
    penalty = partial(l1, mask=MASK if intercept else None)
    solutions = path(model, penalty, model.start(x), x, y, strengths=jnp.asarray(strengths), tolerance=1e-13)
    assert solutions.converged.all()
    assert solutions.steps.max() == 0
    np.testing.assert_allclose(solutions.params["coefficients"], coefficients.T, atol=1e-7)


@pytest.mark.parametrize("solver", ["coordinate_descent", "proximal_gradient"])
def test_a_lane_is_the_problem_alone(solver):
    x, y = least_squares(n=40, features=6)
    model = LinearModel(gaussian())

    def solve(strength):
        penalty = elastic_net(strength, 0.5, mask=MASK)
        return minimize(model, penalty, model.start(x), x, y, solver=solver, tolerance=1e-12).params["coefficients"]

    strengths = jnp.array([0.02, 0.3, 5.0])
    alone = jnp.stack([solve(strength) for strength in strengths])
    np.testing.assert_allclose(jax.jit(jax.vmap(solve))(strengths), alone, atol=1e-9)


@pytest.mark.parametrize(
    ("solver", "family", "penalty", "word"),
    [
        ("newton", gaussian(), l1(0.1, mask=MASK), "solver"),
        ("coordinate_descent", logistic(), l1(0.1, mask=MASK), "gaussian"),
        ("proximal_newton", gaussian(), l1(0.1, mask=MASK), "logistic"),
        ("proximal_newton", logistic(), mcp(0.1, mask=MASK), "linear_minimum"),
    ],
)
def test_a_method_that_does_not_fit_is_refused(solver, family, penalty, word):
    x, y = least_squares()
    model = LinearModel(family)
    with pytest.raises(ValueError, match=word):
        minimize(model, penalty, model.start(x), x, y, solver=solver)


@pytest.mark.parametrize("certified", [True, False])
def test_coordinate_descent_claims_nothing_for_a_penalty_that_is_no_sum(certified):
    x, y = least_squares()
    x, model = x.reshape(60, 4, 3), LinearModel(gaussian(), intercept=False)
    penalty = nuclear(0.5, mask=None)
    if not certified:
        penalty = Penalty(penalty.value, penalty.prox, penalty.mask, terms=penalty.terms)
    solution = minimize(model, penalty, model.start(x), x, y, solver="coordinate_descent", max_steps=30)
    assert not solution.converged


def test_coordinate_descent_needs_to_know_the_groups():
    x, y = least_squares()
    model, penalty = LinearModel(gaussian(), intercept=False), l1(0.1, mask=None)._replace(terms=None)
    with pytest.raises(ValueError, match="sum over coefficients"):
        minimize(model, penalty, model.start(x), x, y, solver="coordinate_descent")


@pytest.mark.parametrize(
    "penalty",
    [
        group_lasso(0.1, groups={"coefficients": (0, [0, 1, 2, 0, 2, 1, 1, 0])}),
        group_lasso(0.1, groups={"coefficients": 0, "others": 0}),
        l1(0.5, mask=None),
    ],
)
def test_coordinate_descent_refuses_penalties_that_its_blocks_do_not_hold(penalty):
    x, y = least_squares(n=40, features=8)
    model = LinearModel(gaussian())
    start = {**model.start(x), "others": jnp.zeros(8)}
    with pytest.raises(ValueError, match=r'^solver "coordinate_descent" takes no groups .*"proximal_gradient"'):
        minimize(model, penalty, start, x, y, solver="coordinate_descent")
