"""Paths on working sets against scikit-learn and against the compiled path; what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import ElasticNet

from regopt.penalties import elastic_net, group_lasso, l1
from regopt.solvers import LinearModel, _working_set, cross_validate, gaussian, logistic, path, strength_grid
from regopt.solvers._active_set import Quadratic, minimize_quadratic
from regopt.solvers._working_set import _Lane

pytestmark = pytest.mark.usefixtures("double_precision")

MASK = {"coefficients": True, "intercept": False}
LASSO = partial(l1, mask=MASK)
NET = partial(elastic_net, l1_ratio=0.7, mask=MASK)


def data(n=60, features=300, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, features)) + random.standard_normal((n, 1)) + 1
    y = 3 + x[:, :8] @ random.standard_normal(8) + random.standard_normal(n)
    return jnp.asarray(x), jnp.asarray(y), jnp.asarray(random.uniform(0.2, 2, n))


@pytest.mark.parametrize(("penalty", "l1_ratio"), [(LASSO, 1.0), (NET, 0.7)])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_path_on_working_sets_is_scikit_learns(penalty, l1_ratio, weighted):
    x, y, weights = data()
    weights = weights if weighted else None
    model = LinearModel(gaussian())
    strengths = strength_grid(model, penalty, model.start(x), x, y, weights, size=12, ratio=0.02)
    found = path(model, penalty, model.start(x), x, y, weights, strengths=strengths, solver="working_set")
    assert found.converged.all()
    for k, strength in enumerate(strengths):
        other = ElasticNet(alpha=float(strength), l1_ratio=l1_ratio, tol=1e-12, max_iter=1_000_000)
        other.fit(x, y, sample_weight=weights)
        np.testing.assert_allclose(found.params["coefficients"][k], other.coef_, atol=2e-5)
        np.testing.assert_allclose(found.params["intercept"][k], other.intercept_, atol=2e-4)
        w, b = found.params["coefficients"][k], found.params["intercept"][k]
        shares = jnp.ones(60) / 60 if weights is None else weights / weights.sum()
        objective = shares @ (x @ w + b - y) ** 2 / 2 + penalty(strength).value({"coefficients": w, "intercept": b})
        assert float(found.objective[k]) == pytest.approx(float(objective), rel=1e-12)
        gap = model.duality_gap(penalty(strength), {"coefficients": w, "intercept": b}, x, y, weights)
        assert float(gap) <= float(found.gap[k]) + 1e-12


def test_auto_takes_working_sets_outside_of_compiled_programs_with_the_same_result():
    x, y, weights = data(n=20, features=260)
    model, offset = LinearModel(gaussian()), jnp.linspace(-1, 1, 20)
    strengths = strength_grid(model, LASSO, model.start(x), x, y, weights, offset, size=5, ratio=0.1)

    def run(x):
        return path(model, LASSO, model.start(x), x, y, weights, offset, strengths=strengths, tolerance=1e-12)

    found, compiled = run(x), jax.jit(run)(x)
    assert jnp.isnan(found.residual).all()
    assert not jnp.isnan(compiled.residual).any()
    np.testing.assert_allclose(found.objective, compiled.objective, rtol=1e-11)
    np.testing.assert_allclose(found.params["coefficients"], compiled.params["coefficients"], atol=1e-5)
    np.testing.assert_allclose(found.params["intercept"], compiled.params["intercept"], atol=1e-5)


def test_the_folds_of_a_cross_validation_share_their_working_sets_program():
    x, y, _ = data(n=20, features=260)
    model = LinearModel(gaussian())
    strengths = strength_grid(model, LASSO, model.start(x), x, y, size=5, ratio=0.1)
    results = [
        cross_validate(model, LASSO, model.start(x), x, y, folds=4, strengths=strengths, solver=solver, tolerance=1e-11)
        for solver in ("working_set", "proximal_gradient")
    ]
    np.testing.assert_allclose(results[0].scores, results[1].scores, rtol=1e-5)
    assert results[0].best == results[1].best


@pytest.mark.parametrize("other", [{"weighted": True, "axis": {"coefficients": 1, "intercept": "incoming"}}, {}])
def test_groups_with_another_norm_are_left_to_the_compiled_path(other):
    x, y, _ = data(n=20, features=300)
    x, model = x.reshape(20, 100, 3), LinearModel(gaussian())
    by_name = {"groups": {"coefficients": (0, np.arange(100) // 2)}}
    penalty = partial(group_lasso, **({**other, "mask": MASK} if other else by_name))
    with pytest.raises(ValueError, match='take solver="auto"'):
        path(model, penalty, model.start(x), x, y, strengths=jnp.array([1.0]), solver="working_set")
    found = path(model, penalty, model.start(x), x, y, strengths=jnp.array([1.0]), max_steps=2)
    assert not jnp.isnan(found.residual).any()  # as working sets have it


@pytest.mark.parametrize("kind", ["counts", "bfloat16", "far from 0", "far from 0 in float32"])
def test_inputs_of_any_kind_reach_the_certificate(kind):
    random = np.random.default_rng(1)
    x = random.integers(0, 3, (60, 300))
    x = {"counts": x, "bfloat16": jnp.asarray(x, jnp.bfloat16)}.get(kind, x + 100.0)
    x = np.asarray(x, np.float32) if "float32" in kind else x
    y = jnp.asarray(np.asarray(x, float)[:, :2] @ [1.0, -1.0] + 0.1 * random.standard_normal(60), jnp.float32)
    model = LinearModel(gaussian())
    start = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), model.start(jnp.asarray(x, jnp.float32)))
    found = path(model, LASSO, start, jnp.asarray(x), y, strengths=jnp.array([0.1, 0.02]), solver="working_set")
    assert found.converged.all()
    assert found.params["coefficients"].dtype in (jnp.float32, jnp.float64)
    np.testing.assert_allclose(found.params["coefficients"][1, :2], [1, -1], atol=0.1)


def test_strengths_far_apart_add_few_columns(monkeypatch):
    random = np.random.default_rng(2)
    x = jnp.asarray(random.standard_normal((50, 4000)))
    y = x[:, 0] - x[:, 1] + 0.3 * random.standard_normal(50)
    added, add = [], _Lane.add
    monkeypatch.setattr(_Lane, "add", lambda lane, columns: (added.append(len(columns)), add(lane, columns)))
    model = LinearModel(gaussian())
    found = path(model, LASSO, model.start(x), x, y, strengths=jnp.array([0.5, 0.1]), solver="working_set")
    assert found.converged.all()
    assert sum(added) < 1000


def test_lanes_that_have_converged_cost_no_more_products(monkeypatch):
    x, y, _ = data(n=40, features=300)
    products, shapes = _working_set._products, []
    monkeypatch.setattr(_working_set, "_products", lambda x, rows: (shapes.append(len(rows)), products(x, rows))[1])
    model, strengths = LinearModel(gaussian()), jnp.array([0.5, 0.05])
    found = cross_validate(
        model, LASSO, model.start(x), x, y, folds=5, strengths=strengths, solver="working_set", tolerance=1e-12
    )
    assert found.converged.all()
    assert max(shapes) == 6  # the folds and all rows
    assert min(shapes) < 6


def test_without_a_strength_there_is_no_gap_and_no_working_set():
    x, y, _ = data(n=20, features=300)
    model = LinearModel(gaussian())
    with pytest.raises(ValueError, match="strengths above 0"):
        path(model, LASSO, model.start(x), x, y, strengths=jnp.array([1.0, 0.0]), solver="working_set")


@pytest.mark.parametrize("weighted", [False, True])
def test_groups_on_working_sets_are_those_of_the_compiled_path(weighted):
    x, y, weights = data(n=80)
    x, weights = x.reshape(80, 60, 5), weights if weighted else None
    model, axis = LinearModel(gaussian()), {"coefficients": 1, "intercept": "incoming"}
    penalty = partial(group_lasso, axis=axis, mask=MASK)
    strengths = strength_grid(model, penalty, model.start(x), x, y, weights, size=6, ratio=0.05)
    found, other = (
        path(model, penalty, model.start(x), x, y, weights, strengths=strengths, solver=solver, tolerance=1e-10)
        for solver in ("auto", "proximal_gradient")
    )
    assert jnp.isnan(found.residual).all()
    assert found.converged.all()
    on = np.any(np.asarray(found.params["coefficients"]) != 0, 2)
    assert on.sum(1)[0] <= 1 < on.sum(1)[-1] < 60
    np.testing.assert_allclose(found.objective, other.objective, rtol=1e-9)
    np.testing.assert_allclose(found.params["coefficients"], other.params["coefficients"], atol=2e-4)
    slopes = jax.vmap(jax.grad(model), (0, None, None, None))(found.params, x, y, weights)["coefficients"]
    norms = np.linalg.norm(slopes, axis=2)
    np.testing.assert_allclose(norms[on], np.repeat(strengths, on.sum(1)), rtol=1e-9)
    assert (norms <= np.asarray(strengths)[:, None] * (1 + 1e-9)).all()


def test_without_an_intercept_there_is_none():
    x, y, _ = data(n=20, features=260)
    model = LinearModel(gaussian(), intercept=False)
    found = path(model, partial(l1, mask=None), model.start(x), x, y, strengths=jnp.array([0.5]), solver="working_set")
    assert set(found.params) == {"coefficients"}
    slopes = np.asarray(x.T @ (x @ found.params["coefficients"][0] - y)) / 20
    on = np.asarray(found.params["coefficients"][0]) != 0
    np.testing.assert_allclose(slopes[on], -0.5 * np.sign(found.params["coefficients"][0][on]), atol=1e-10)
    assert 0 < on.sum() < 20
    assert np.abs(slopes[~on]).max() <= 0.5 + 1e-10


@pytest.mark.parametrize("seed", range(30))
def test_the_active_set_method_satisfies_the_optimality_conditions_from_any_start(seed):
    random = np.random.default_rng(seed)
    table = random.standard_normal((25, 20)) + 2 * random.standard_normal((25, 1))
    table[:, 7] = table[:, 3]  # a singular face
    square = 0.05 * (seed % 2)
    problem = Quadratic(table.T @ table / 25, table.T @ random.standard_normal(25) / 5, 0.1, square)
    start = random.standard_normal(20) * (random.uniform(size=20) < 0.5)
    w, steps = minimize_quadratic(problem, start, 500)
    slopes = problem.gram @ w - problem.products + problem.square * w
    assert steps < 100
    np.testing.assert_allclose(slopes[w != 0], -0.1 * np.sign(w[w != 0]), atol=1e-9)
    assert np.abs(slopes[w == 0]).max(initial=0) <= 0.1 + 1e-9
    assert problem.value(w) <= problem.value(start)


@pytest.mark.parametrize(
    ("model", "penalty"),
    [
        (LinearModel(logistic()), LASSO),
        (LinearModel(gaussian()), lambda strength: l1(strength, mask=MASK)),
        (LinearModel(gaussian()), partial(group_lasso, axis={"coefficients": 0, "intercept": "incoming"}, mask=MASK)),
        (LinearModel(gaussian()), partial(l1, mask=None)),
        (LinearModel(gaussian()), partial(elastic_net, l1_ratio=0.0, mask=MASK)),
    ],
)
def test_what_working_sets_are_not_for_is_refused(model, penalty):
    x, y, _ = data(n=20, features=9)
    with pytest.raises(ValueError, match=r'solver "working_set" is for .*: take solver="auto"'):
        path(model, penalty, model.start(x), x, y, strengths=jnp.array([1.0]), solver="working_set")


def test_working_sets_are_refused_inside_jit():
    x, y, _ = data(n=20, features=9)
    model = LinearModel(gaussian())
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(lambda x: path(model, LASSO, model.start(x), x, y, strengths=jnp.ones(1), solver="working_set"))(x)
