"""Reported duality gaps against gaps that NumPy computes in float64 from the data: never too small, never overclaimed.

The problems are random in size, shape, correlation, strength and tolerance; some end before they have converged.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize
from scipy.special import xlogy

from regopt.penalties import elastic_net, group_lasso, l1
from regopt.solvers import LinearModel, gaussian, logistic, minimize, path, poisson

pytestmark = pytest.mark.usefixtures("double_precision")

MASK = {"coefficients": True, "intercept": False}
AXES = {"coefficients": 1, "intercept": "incoming"}
PROBLEMS = ("lasso", "elastic net", "group lasso", "logistic", "Poisson")
SHAPES = ((30, 8), (60, 12), (12, 24))  # few, so that their programs are compiled once
FAMILIES = {"logistic": logistic, "Poisson": poisson}


def draw(kind, number):
    """Inputs, targets and a strength."""
    random = np.random.default_rng([PROBLEMS.index(kind), number])
    n, p = SHAPES[number % len(SHAPES)]
    x = random.standard_normal((n, p)) + random.uniform(0, 2) * random.standard_normal((n, 1))
    eta = x @ (random.standard_normal(p) * (random.uniform(size=p) < 0.5)) / 2 + random.normal()
    y = eta + random.standard_normal(n)
    if kind == "logistic":
        y = (random.uniform(size=n) < 1 / (1 + np.exp(-eta))) * 1.0
        y[:2] = 0, 1
    if kind == "Poisson":
        y = random.poisson(np.exp(np.clip(eta, -2, 2))) * 1.0
        y[0] += 1
    slopes = x.T @ (y - y.mean()) / n
    largest = np.linalg.norm(slopes.reshape(-1, 4), axis=1).max() if kind == "group lasso" else np.abs(slopes).max()
    return x, y, largest * 10 ** random.uniform(-2, -0.1)


def loss_of(kind, eta, y):
    """The loss less its infimum, and its slopes."""
    if kind == "logistic":
        return np.logaddexp(0, eta) - y * eta, 1 / (1 + np.exp(-eta)) - y
    if kind == "Poisson":
        return np.exp(eta) - y * eta + xlogy(y, y) - y, np.exp(eta) - y
    return (eta - y) ** 2 / 2, eta - y


def conjugate_of(kind, v, y):
    """The conjugates that belong to these losses."""
    mean = v + y
    if kind == "logistic":
        return xlogy(mean, mean) + xlogy(1 - mean, 1 - mean)
    if kind == "Poisson":
        return xlogy(mean, mean) - mean - xlogy(y, y) + y
    return v * v / 2 + v * y


def certificate(kind, strength, x, y, w, b):
    """The objective, and a lower bound of its minimum from the slopes, balanced and scaled into the dual's domain."""
    losses, v = loss_of(kind, x @ w + b, y)
    up, down = np.maximum(v, 0), np.maximum(-v, 0)
    if kind not in FAMILIES:
        v = v - v.mean()
    elif up.sum() > down.sum():
        v = up * (down.sum() / up.sum()) - down
    else:
        v = up - down * (up.sum() / down.sum())
    g = x.T @ v / len(y)
    if kind == "elastic net":
        own = strength * (np.abs(w).sum() / 2 + w @ w / 4)
        excess = np.maximum(np.abs(g) - strength / 2, 0)
        return losses.mean() + own, -conjugate_of(kind, v, y).mean() - excess @ excess / strength
    norms = (np.linalg.norm(a.reshape(-1, 4), axis=1) if kind == "group lasso" else np.abs(a) for a in (w, g))
    own, dual = next(norms), next(norms)
    shrink = min(1.0, strength / dual.max())
    return losses.mean() + strength * own.sum(), -conjugate_of(kind, shrink * v, y).mean()


def solver_of(kind, solver):
    """A fit of one kind, compiled where the solver can be."""
    model = LinearModel(FAMILIES.get(kind, gaussian)())

    def on_working_sets(x, y, strength, tolerance):
        penalty = partial(l1, mask=MASK)
        if kind == "elastic net":
            penalty = partial(elastic_net, l1_ratio=0.5, mask=MASK)
        if kind == "group lasso":
            x, penalty = x.reshape(len(x), -1, 4), partial(group_lasso, axis=AXES, mask=MASK)
        x, y, strengths = jnp.asarray(x), jnp.asarray(y), jnp.array([strength])
        start = model.start(x)
        found = path(
            model, penalty, start, x, y, strengths=strengths, solver=solver, tolerance=tolerance, max_steps=300
        )
        return jax.tree.map(lambda leaf: leaf[0], found)

    @jax.jit
    def fit(x, y, strength, tolerance):
        penalty = l1(strength, mask=MASK)
        if kind == "elastic net":
            penalty = elastic_net(strength, 0.5, mask=MASK)
        if kind == "group lasso":
            x, penalty = x.reshape(len(x), -1, 4), group_lasso(strength, axis=AXES, mask=MASK)
        return minimize(model, penalty, model.start(x), x, y, solver=solver, tolerance=tolerance, max_steps=300)

    return on_working_sets if solver == "working_set" else fit


def check(kind, count, solver="auto"):
    """Fits whose reported gaps are compared; how many of them have converged."""
    fit, converged = solver_of(kind, solver), 0
    for number in range(count):
        x, y, strength = draw(kind, number)
        tolerance = 10.0 ** -(3 + number % 8)
        found = fit(x, y, strength, tolerance)
        w, b = np.asarray(found.params["coefficients"]).ravel(), float(found.params["intercept"])
        objective, bound = certificate(kind, strength, x, y, w, b)
        assert float(found.objective) == pytest.approx(objective, rel=1e-12)
        # the truth lies between the bound of the best point known and its objective
        best = fit(x, y, strength, 1e-13)
        w, b = np.asarray(best.params["coefficients"]).ravel(), float(best.params["intercept"])
        least, bound = certificate(kind, strength, x, y, w, b)
        assert float(found.gap) >= objective - least - 1e-12, number
        assert float(best.gap) >= -1e-12, number
        assert not bool(found.converged) or objective - bound <= tolerance * max(1, objective) + least - bound + 1e-12
        assert bool(found.converged) == (float(found.gap) <= tolerance * max(1, objective)), number
        converged += bool(found.converged)
    return converged


@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_gap_is_never_below_the_distance_to_the_minimum(kind):
    assert check(kind, 12) >= 9


@pytest.mark.long
@pytest.mark.parametrize("kind", PROBLEMS)
def test_no_gap_of_a_thousand_is_below_the_distance_to_the_minimum(kind):
    assert check(kind, 1000) >= 850


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "solver"),
    [(kind, "working_set") for kind in PROBLEMS[:3]]
    + [(kind, "lbfgs") for kind in PROBLEMS]
    + [(kind, "coordinate_descent") for kind in PROBLEMS[:3]],
)
def test_no_gap_of_another_solver_is_below_the_distance_to_the_minimum(kind, solver):
    assert check(kind, 1000, solver) >= 700  # 300 passes over groups, which take no Newton steps, suffice for 798


def test_the_minimum_is_that_of_a_general_solver():
    x, y, strength = draw("elastic net", 1)

    def objective(split):
        w = split[:12] - split[12:24]
        r = x @ w + split[24] - y
        value = r @ r / 120 + strength * (split[:24].sum() / 2 + w @ w / 4)
        slope = x.T @ r / 60 + strength * w / 2
        return value, np.concatenate([slope + strength / 2, strength / 2 - slope, [r.mean()]])

    # the square is that of the difference, and one of the two parts is 0 at the minimum
    other = scipy_minimize(
        objective, np.zeros(25), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 24 + [(None, None)],
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000},
    )  # fmt: skip
    found = solver_of("elastic net", "auto")(x, y, strength, 1e-12)
    assert float(found.objective) == pytest.approx(other.fun, rel=1e-8)


def test_the_check_sees_a_gap_that_is_too_small():
    x, y, strength = draw("lasso", 0)
    fit = solver_of("lasso", "auto")
    rough, best = fit(x, y, strength, 1e-2), fit(x, y, strength, 1e-13)
    assert float(rough.objective - best.objective) > 1e-6
    assert jnp.all(jnp.array([rough.gap, best.gap]) >= jnp.array([rough.objective - best.objective, 0.0]) - 1e-12)


@pytest.mark.parametrize(
    ("loss", "start", "tolerance"),
    [
        (lambda w: 3e-6 * jnp.sum(jnp.logaddexp(w, -w)), [100.0], 1e-6),
        (lambda w: 0.02 * jax.nn.softplus(w[0]) + w[1] ** 2 / 2, [1e6, 0.0], 1e-2),
        (lambda w: 0.02 * jax.nn.softplus(w[0]) + w[1] ** 2 / 2, [1e6, 3.0], 1e-2),
    ],
)
@pytest.mark.parametrize("solver", ["proximal_gradient", "lbfgs"])
def test_a_slope_that_the_rounding_of_a_step_hides_is_in_the_residual(loss, start, tolerance, solver):
    with jax.enable_x64(False):
        found = minimize(loss, None, jnp.array(start), tolerance=tolerance, solver=solver, max_steps=20)
        true = jnp.linalg.norm(jax.grad(loss)(found.params))
    assert true > tolerance
    assert found.residual >= 0.99 * true
    assert not found.converged


def test_a_slope_of_the_penalty_that_rounding_hides_is_in_the_residual():
    with jax.enable_x64(False):
        options = {"tolerance": 1e-6, "solver": "lbfgs", "max_steps": 20}
        found = minimize(lambda w: 0 * jnp.sum(w), l1(3e-6, mask=None), jnp.array([100.0, 0.0]), **options)
    assert float(found.residual) == pytest.approx(3e-6, rel=0.01)
    assert not found.converged
