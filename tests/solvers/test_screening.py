"""Screened coefficients are 0 at the minimum, from points near it and far from it; screening is no empty promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt.penalties import elastic_net, group_lasso, l1, mcp
from regopt.solvers import LinearModel, gap_safe, gaussian, logistic, minimize, multinomial, poisson

pytestmark = pytest.mark.usefixtures("double_precision")

MASK = {"coefficients": True, "intercept": False}
AXES = {"coefficients": 1, "intercept": "incoming"}


def problem(kind, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((40, 24)) + 0.5 * random.standard_normal((40, 1)) + 1
    eta = x[:, :3] @ random.standard_normal(3) + random.standard_normal(40)
    if kind == "logistic":
        return LinearModel(logistic()), elastic_net(0.1, 0.9, mask=MASK), x, (eta > np.median(eta)) * 1.0
    if kind == "multinomial":
        labels = np.digitize(eta, np.quantile(eta, [0.3, 0.7]))
        return LinearModel(multinomial(3)), l1(0.08, mask=MASK), x, np.eye(3)[labels]
    if kind == "groups":
        return LinearModel(gaussian()), group_lasso(0.6, axis=AXES, mask=MASK), x.reshape(40, 6, 4), eta
    return LinearModel(gaussian()), l1(0.4, mask=MASK), x, eta


@pytest.mark.parametrize("kind", ["lasso", "groups", "logistic", "multinomial"])
def test_no_coefficient_of_the_solution_is_screened(kind):
    model, penalty, x, y = problem(kind)
    x, y, weights = jnp.asarray(x), jnp.asarray(y), 0.5 + (jnp.arange(40) % 3).astype(float)
    kept = []

    @jax.jit
    def fit(tolerance):
        near = minimize(model, penalty, model.start(x), x, y, weights, tolerance=tolerance, max_steps=20_000)
        return near.params["coefficients"], gap_safe(model, penalty, near.params, x, y, weights)

    support = np.asarray(fit(1e-11)[0]) != 0
    assert 0 < support.sum() < support.size
    for tolerance in (0.3, 1e-2, 1e-4, 1e-9):
        safe = np.asarray(fit(tolerance)[1])
        assert (safe | ~support).all()
        kept.append(safe.sum())
    assert kept[-1] < support.size
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] <= 2 * support.sum()


def test_a_penalised_intercept_leaves_constant_columns_in_reach():
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 30))
    x[:, 3], x[:, 4] = 1.0, 1.01
    y = jnp.asarray(x[:, 0] - x[:, 1] + 3 + 0.3 * random.standard_normal(60))
    x, model, penalty = jnp.asarray(x), LinearModel(gaussian()), l1(0.2, mask=None)
    solution = minimize(model, penalty, model.start(x), x, y, tolerance=1e-10, max_steps=50_000)
    support = np.abs(np.asarray(solution.params["coefficients"])) > 1e-6
    assert support[4]
    for steps in (3, 30, 300):
        near = minimize(model, penalty, model.start(x), x, y, tolerance=0.0, max_steps=steps)
        assert (np.asarray(gap_safe(model, penalty, near.params, x, y)) | ~support).all()


def test_what_has_no_safe_rule_is_refused():
    model, penalty, x, y = problem("lasso")
    params = model.start(jnp.asarray(x))
    with pytest.raises(ValueError, match="bounded curvature"):
        gap_safe(LinearModel(poisson()), penalty, params, jnp.asarray(x), jnp.asarray(y))
    with pytest.raises(ValueError, match="convex penalty"):
        gap_safe(model, mcp(0.1, 3.0, mask=MASK), params, jnp.asarray(x), jnp.asarray(y))
    several = LinearModel(multinomial(3))
    start, targets = several.start(jnp.asarray(x)), jnp.eye(3)[jnp.arange(40) % 3]
    joined = group_lasso(0.1, groups={"coefficients": 1, "intercept": 0})
    with pytest.raises(ValueError, match="coefficients alone"):
        gap_safe(several, joined, start, jnp.asarray(x), targets)
