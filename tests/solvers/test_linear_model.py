"""Linear models against scikit-learn and SciPy; conjugates against a search; gaps, paths and cross-validation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.linear_model import GammaRegressor, Lasso, LassoCV, LogisticRegression, PoissonRegressor
from sklearn.model_selection import KFold

from regopt.penalties import elastic_net, l1, l2, mcp
from regopt.solvers import (
    LinearModel,
    cross_validate,
    gamma,
    gaussian,
    huber_loss,
    logistic,
    minimize,
    multinomial,
    path,
    poisson,
    squared_hinge,
    strength_grid,
)

pytestmark = pytest.mark.usefixtures("double_precision")

FAMILIES = {
    "gaussian": (gaussian(), [-1.5, 0.0, 2.0]),
    "logistic": (logistic(), [0.0, 1.0, 0.3]),
    "poisson": (poisson(), [0.0, 1.0, 7.0]),
    "gamma": (gamma(), [0.2, 1.0, 5.0]),
    "huber": (huber_loss(0.7), [-1.5, 0.0, 2.0]),
    "squared hinge": (squared_hinge(), [0.0, 1.0]),
}


def data(name, seed=0, n=50, features=6):
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, features)) + 0.5
    eta = 0.5 * x @ random.standard_normal(features)
    noise = random.uniform(size=n)
    y = {
        "logistic": (noise < 1 / (1 + np.exp(-eta))) * 1.0,
        "squared hinge": (noise < 1 / (1 + np.exp(-eta))) * 1.0,
        "poisson": random.poisson(np.exp(np.clip(eta, -2, 2))) * 1.0,
        "gamma": np.exp(eta) * random.gamma(2, 0.5, n),
    }.get(name, eta + noise)
    return jnp.asarray(x), jnp.asarray(y)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("eta", [-1.3, 0.4])
@pytest.mark.parametrize("shrunk", [1.0, 0.35])
def test_a_conjugate_is_the_largest_difference_to_a_line(name, eta, shrunk):
    family, targets = FAMILIES[name]
    loss = jax.jit(family.loss)
    for target in targets:
        slope = shrunk * jax.grad(family.loss)(eta, target)

        def above_the_line(at, target=target, slope=slope):
            return float(loss(at, target) - slope * at)

        found = minimize_scalar(above_the_line, bounds=(-30, 30), options={"xatol": 1e-9})
        assert float(family.conjugate(slope, jnp.asarray(target))) == pytest.approx(-found.fun, abs=1e-7)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_least_loss_is_zero(name):
    family, targets = FAMILIES[name]
    for y in targets:
        losses = family.loss(jnp.linspace(-40, 40, 16_001), jnp.asarray(y))
        assert 0 <= losses.min() + 1e-14 < 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gap_bounds_the_error_with_an_intercept_weights_and_an_offset(name):
    x, y = data(name)
    model = LinearModel(FAMILIES[name][0])
    weights, offset = (jnp.arange(50) % 3).astype(float), jnp.linspace(-0.3, 0.3, 50)

    def run(steps, tolerance):
        penalty = elastic_net(0.02, 0.5, mask={"coefficients": True, "intercept": False})
        return minimize(model, penalty, model.start(x), x, y, weights, offset, tolerance=tolerance, max_steps=steps)

    best = run(20_000, 1e-11)
    assert best.converged
    for steps in (1, 4, 16):
        early = run(steps, 0.0)
        assert early.gap >= early.objective - best.objective - 1e-12
        assert early.gap < jnp.inf


MASK = {"coefficients": True, "intercept": False}


def test_logistic_regression_is_scikit_learns():
    x, y = data("logistic", n=80)
    model = LinearModel(logistic())
    solution = minimize(model, l1(0.05, mask=MASK), model.start(x), x, y, tolerance=1e-10)
    other = LogisticRegression(l1_ratio=1, solver="saga", C=1 / (0.05 * 80), tol=1e-9, max_iter=100_000).fit(x, y)
    np.testing.assert_allclose(solution.params["coefficients"], other.coef_[0], atol=2e-5)
    np.testing.assert_allclose(solution.params["intercept"], other.intercept_[0], atol=2e-5)


@pytest.mark.parametrize(("name", "other"), [("poisson", PoissonRegressor), ("gamma", GammaRegressor)])
def test_generalised_linear_models_are_scikit_learns(name, other):
    x, y = data(name)
    model = LinearModel(FAMILIES[name][0])
    solution = minimize(model, l2(0.1, mask=MASK), model.start(x), x, y, tolerance=1e-11)
    other = other(alpha=0.1, tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(solution.params["coefficients"], other.coef_, atol=1e-5)
    np.testing.assert_allclose(solution.params["intercept"], other.intercept_, atol=1e-5)


def penalty(strength):
    return l1(strength, mask=MASK)


@pytest.mark.parametrize("weights", [None, "thirds"])
def test_a_path_is_its_problems_one_by_one_also_from_the_gram_matrix(weights):
    x, y = data("gaussian")
    weights = None if weights is None else (jnp.arange(50) % 3).astype(float)
    model = LinearModel(gaussian())
    strengths = strength_grid(model, penalty, model.start(x), x, y, weights, size=6, ratio=0.01)
    solutions = jax.jit(
        lambda: path(model, penalty, model.start(x), x, y, weights, strengths=strengths, tolerance=1e-10)
    )()
    assert solutions.converged.all()
    for i, strength in enumerate(strengths):
        other = Lasso(alpha=float(strength), tol=1e-11, max_iter=1_000_000).fit(x, y, sample_weight=weights)
        np.testing.assert_allclose(solutions.params["coefficients"][i], other.coef_, atol=5e-5)
        np.testing.assert_allclose(solutions.params["intercept"][i], other.intercept_, atol=5e-5)


@pytest.mark.parametrize("name", ["gaussian", "logistic", "poisson"])
def test_the_grid_starts_where_all_coefficients_vanish(name):
    x, y = data(name)
    model = LinearModel(FAMILIES[name][0])
    largest = strength_grid(model, penalty, model.start(x), x, y, size=2)[0]
    for factor, zero in ((1.001, True), (0.98, False)):
        solution = minimize(model, penalty(factor * largest), model.start(x), x, y, tolerance=1e-10)
        assert (jnp.abs(solution.params["coefficients"]).max() == 0) == zero


@pytest.mark.parametrize("folds", [5, "shuffled"])
def test_cross_validation_is_scikit_learns(folds):
    x, y = data("gaussian", n=53)
    model = LinearModel(gaussian())
    strengths = strength_grid(model, penalty, model.start(x), x, y, size=8, ratio=0.01)
    splits = KFold(5, shuffle=folds == "shuffled", random_state=0 if folds == "shuffled" else None)
    labels = np.zeros(53, int)
    for fold, (_, rows) in enumerate(splits.split(x)):
        labels[rows] = fold
    folds = folds if folds == 5 else labels
    result = cross_validate(model, penalty, model.start(x), x, y, folds=folds, strengths=strengths, tolerance=1e-10)
    other = LassoCV(alphas=np.asarray(strengths), cv=splits, tol=1e-11, max_iter=1_000_000).fit(x, y)
    np.testing.assert_allclose(2 * result.scores, other.mse_path_.T, rtol=1e-5)
    assert result.converged.all()
    assert float(strengths[result.best]) == pytest.approx(other.alpha_)
    limit = result.mean[result.best] + result.standard_error[result.best]
    assert result.mean[result.one_standard_error] <= limit
    assert (result.mean[: result.one_standard_error] > limit).all()


@pytest.mark.parametrize(
    ("folds", "word"),
    [(1, "folds"), (51, "at most"), (np.zeros(50, int), "each integer"), (np.zeros(3, int), "50 rows")],
)
def test_folds_that_do_not_fit_are_refused(folds, word):
    x, y = data("gaussian")
    model = LinearModel(gaussian())
    with pytest.raises(ValueError, match=word):
        cross_validate(model, penalty, model.start(x), x, y, folds=folds)


def test_a_penalty_with_its_strength_and_one_without_are_not_confused():
    x, y = jnp.ones((20, 2)), jnp.arange(20.0)
    model = LinearModel(gaussian())
    with pytest.raises(ValueError, match=r"^penalty must be a penalty, as penalties\.l1\(0\.1\) is, got <function l1"):
        minimize(model, l1, model.start(x), x, y)  # type: ignore[arg-type]
    for solve in (cross_validate, strength_grid):
        with pytest.raises(
            ValueError, match=r"^penalty must be a function of the strength, as penalties\.l1 is, got Pen"
        ):
            solve(model, l1(0.1), model.start(x), x, y)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^penalty must be a function of the strength"):
        path(model, l1(0.1), model.start(x), x, y, strengths=jnp.ones(1))  # type: ignore[arg-type]


def test_a_start_of_another_form_is_refused():
    x, y = jnp.ones((4, 2)), jnp.arange(4.0)
    with pytest.raises(ValueError, match=r"must have 'coefficients' and 'intercept', as model\.start"):
        cross_validate(LinearModel(gaussian()), l1, jnp.zeros(2), x, y, folds=2)
    with pytest.raises(ValueError, match=r"must have 'coefficients', as model\.start"):
        minimize(LinearModel(logistic(), intercept=False), l1(0.1), jnp.zeros(2), x, y > 1)


def test_numpy_arrays_are_cross_validated_as_jax_arrays_are():
    random = np.random.default_rng(0)
    x = random.standard_normal((40, 3))
    y, model = x[:, 0] + 0.1 * random.standard_normal(40), LinearModel(gaussian())
    for penalty in (l1, l2):  # on Gram matrices, and without
        ours = cross_validate(model, penalty, model.start(x), x, y, folds=4, strengths=np.array([0.1, 0.01]))
        theirs = cross_validate(
            model, penalty, model.start(x), jnp.asarray(x), jnp.asarray(y), folds=4, strengths=jnp.array([0.1, 0.01])
        )
        np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_inputs_and_targets_of_other_lengths_are_refused():
    model, x, y = LinearModel(gaussian()), jnp.ones((4, 2)), jnp.arange(3.0)
    for solve in (
        lambda: minimize(model, l1(0.1), model.start(x), x, y),
        lambda: path(model, l1, model.start(x), x, y, strengths=jnp.ones(1)),
        lambda: cross_validate(model, l1, model.start(x), x, y, folds=2),
    ):
        with pytest.raises(ValueError, match=r"^x and y of a LinearModel must have the same length, got 4 and 3"):
            solve()


def test_targets_of_another_shape_or_outside_of_the_range_of_the_family_are_refused():
    x, column = jnp.ones((4, 2)), jnp.ones((4, 1))
    wrong = [
        (gaussian(), column, r"y of a LinearModel must have shape \(4,\), .*got \(4, 1\)"),
        (multinomial(3), jnp.arange(4) % 3, r"y of a LinearModel must have shape \(4, 3\), .*got \(4,\)"),
        (logistic(), jnp.array([-1.0, 1.0, 1.0, -1.0]), r"y of this family must lie in \[0, 1\], got -1.0"),
        (logistic(), jnp.array([1, 2, 2, 1]), r"y of this family must lie in \[0, 1\], got 2.0"),
        (squared_hinge(), jnp.array([-1.0, 1.0, 1.0, -1.0]), r"y of this family must lie in \[0, 1\], got -1.0"),
        (squared_hinge(), jnp.array([0.0, 1.0, 0.5, 1.0]), r"y of this family must be 0 or 1, got 0.5"),
        (poisson(), jnp.array([-1.0, 1.0, 1.0, 1.0]), r"y of this family must lie in \[0, inf\), got -1.0"),
        (gamma(), jnp.array([0.0, 1.0, 1.0, 1.0]), r"y of this family must lie in \(0, inf\), got 0.0"),
    ]
    for family, y, message in wrong:
        model = LinearModel(family)
        for solve in (
            lambda model=model, y=y: minimize(model, l1(0.1), model.start(x), x, y),
            lambda model=model, y=y: path(model, l1, model.start(x), x, y, strengths=jnp.ones(1)),
            lambda model=model, y=y: strength_grid(model, l1, model.start(x), x, y),
            lambda model=model, y=y: cross_validate(model, l1, model.start(x), x, y, folds=2),
        ):
            with pytest.raises(ValueError, match=message):
                solve()


@pytest.mark.parametrize("solver", ["auto", "working_set"])
def test_weights_and_offsets_of_another_shape_and_shares_that_are_none_are_refused(solver):
    x, y, ones = jnp.ones((4, 2)), jnp.zeros(4), jnp.ones(4)
    shares = jnp.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.2], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    wrong = [
        (gaussian(), (jnp.zeros(()),), r"y of a LinearModel must have shape \(4,\), got \(\)"),
        (gaussian(), (y, ones[:3]), r"weights of a LinearModel must have shape \(4,\), got \(3,\)"),
        (gaussian(), (y, ones, ones[:, None]), r"offset of a LinearModel must have shape \(4,\), got \(4, 1\)"),
        (poisson(), (y, ones, ones[:2]), r"offset of a LinearModel must have shape \(4,\), got \(2,\)"),
        (multinomial(3), (jnp.arange(4.0) % 3,), r"y of .* \(4, 3\), for example jax.nn.one_hot\(y, classes\), got"),
        (multinomial(3), (shares[:, :2], ones), r"y of a LinearModel must have shape \(4, 3\), .* got \(4, 2\)"),
        (multinomial(3), (shares,), r"each row of y of this family must sum to 1, got a row that sums to 0.6"),
        (multinomial(3), (jnp.eye(3)[:, [0, 1, 2, 2]].T, ones, ones), r"offset of .* \(4, 3\), got \(4,\)"),
    ]
    for family, data, message in wrong:
        if solver == "working_set" and family.targets is not None:
            continue
        model = LinearModel(family)
        with pytest.raises(ValueError, match=f"^{message}"):
            path(model, partial(l1, mask=MASK), model.start(x), x, *data, strengths=jnp.ones(1), solver=solver)
        if solver == "auto":
            with pytest.raises(ValueError, match=f"^{message}"):
                model(model.start(x), x, *data)


def test_targets_are_checked_where_they_lie(monkeypatch):
    x, y = jnp.ones((1000, 2)), jnp.tile(jnp.array([0.0, 1.0]), 500)
    model, copied, to_host = LinearModel(logistic()), [], np.asarray

    def recorded(array, *args, **kwargs):
        copied.extend([array.size] if isinstance(array, jax.Array) else [])
        return to_host(array, *args, **kwargs)

    monkeypatch.setattr(np, "asarray", recorded)
    model(model.start(x), x, y)
    assert copied
    assert max(copied) <= 4


@pytest.mark.parametrize("name", ["gaussian", "logistic", "poisson"])
@pytest.mark.parametrize("solver", ["proximal_gradient", "auto"])
def test_the_gap_of_a_penalised_intercept_closes(name, solver):
    x, y = data(name)
    model = LinearModel(FAMILIES[name][0])
    found = minimize(model, elastic_net(0.01, 0.5, mask=None), model.start(x), x, y, solver=solver, tolerance=1e-9)
    assert found.converged
    assert found.params["intercept"] != 0
    b, slope = found.params["intercept"], jax.grad(model)(found.params, x, y)["intercept"]
    np.testing.assert_allclose(slope, -0.005 * (jnp.sign(b) + b), atol=1e-4)


def test_newtons_method_refuses_a_penalised_intercept():
    x, y = data("logistic")
    model = LinearModel(logistic())
    with pytest.raises(ValueError, match="leaves the intercept out"):
        minimize(model, l1(0.1, mask=None), model.start(x), x, y, solver="proximal_newton")


@pytest.mark.parametrize("family", ["gaussian", gaussian, None])
def test_what_is_no_family_is_refused(family):
    with pytest.raises(ValueError, match=r"^the family of a LinearModel must be one of regopt.solvers, such as gauss"):
        LinearModel(family).start(jnp.ones((4, 2)))


@pytest.mark.parametrize(
    ("start", "given"),
    [(jnp.zeros(6), r"an array of shape \(6,\)"), ({"w": jnp.zeros(6)}, "a dictionary with 'w'"), (None, "a NoneType")],
)
@pytest.mark.parametrize("call", ["minimize", "strength_grid", "path"])
def test_parameters_of_another_form_are_refused_in_one_line_before_they_are_traced(start, given, call):
    x, y = data("gaussian")
    model, strengths = LinearModel(gaussian()), jnp.array([0.1])
    calls = {
        "minimize": lambda: minimize(model, l1(0.1), start, x, y),
        "strength_grid": lambda: strength_grid(model, l1, start, x, y),
        "path": lambda: path(model, l1, start, x, y, strengths=strengths),
    }
    with pytest.raises(ValueError, match=f"^the parameters .* 'coefficients' and 'intercept', .*, got {given}$"):
        calls[call]()


@pytest.mark.parametrize(
    ("family", "penalty", "solver"),
    [
        (gaussian(), l1(0.05), "auto"),
        (gaussian(), l1(0.05), "coordinate_descent"),
        (gaussian(), mcp(0.05), "proximal_gradient"),
        (logistic(), l1(0.05), "auto"),
        (logistic(), l1(0.05), "proximal_gradient"),
        (poisson(), l1(0.05), "auto"),
        (poisson(), l1(0.05), "proximal_gradient"),
        (gamma(), l1(0.05), "auto"),
    ],
)
def test_data_of_double_precision_widen_no_parameters(family, penalty, solver):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 3)).astype(np.float32), np.arange(30.0) % 2 + (family.targets == "(0, inf)")
    weights, offset = random.uniform(0.5, 1, 30), random.normal(size=30)
    model = LinearModel(family)

    def fit(*data):
        return minimize(model, penalty, model.start(jnp.asarray(x)), *data, solver=solver)

    with jax.numpy_dtype_promotion("standard"):
        found = fit(x, y, weights, offset)
        single = jax.tree.map(lambda each: each.astype(np.float32), (x, y, weights, offset))
        expected = fit(*single)
    assert {w.dtype.name for w in jax.tree.leaves(found.params)} == {"float32"}
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("name", ["path", "cross_validate"])
@pytest.mark.parametrize("family", [gaussian(), logistic()])
def test_paths_on_targets_of_double_precision_have_the_dtype_of_the_parameters(name, family):
    x, y = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32), np.arange(30.0) % 2
    model = LinearModel(family)
    start = model.start(jnp.asarray(x))

    def fit(y):
        strengths = strength_grid(model, l1, start, x, y, size=3)
        if name == "path":
            return path(model, l1, start, x, y, strengths=strengths).params
        return cross_validate(model, l1, start, x, y, folds=3, strengths=strengths).path.params

    with jax.numpy_dtype_promotion("standard"):
        found = jax.eval_shape(fit, y)
    assert {w.dtype.name for w in jax.tree.leaves(found)} == {"float32"}


def test_inputs_that_are_counts_are_fitted_as_numbers():
    x, y = np.random.default_rng(0).poisson(2.0, (40, 3)), np.arange(40) % 7
    model = LinearModel(gaussian())
    start = model.start(jnp.asarray(x))
    with jax.numpy_dtype_promotion("standard"):
        counts, numbers = (minimize(model, l1(0.1), start, *data) for data in ((x, y), (x * 1.0, y * 1.0)))
    assert counts.converged
    jax.tree.map(np.testing.assert_array_equal, counts, numbers)
