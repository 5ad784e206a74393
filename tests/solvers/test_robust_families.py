"""The Huber loss and the squared hinge against scikit-learn, and against SciPy on losses that NumPy computes."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.optimize import minimize as scipy_minimize
from sklearn.linear_model import HuberRegressor
from sklearn.svm import LinearSVC

from regopt.penalties import l1, l2
from regopt.solvers import LinearModel, huber_loss, minimize, squared_hinge

pytestmark = pytest.mark.usefixtures("double_precision")

MASK = {"coefficients": True, "intercept": False}
DELTA = 0.7


def data(n=80, features=6):
    """Inputs, targets with some that lie far away, and classes."""
    random = np.random.default_rng(0)
    x = random.standard_normal((n, features)) + 0.3
    y = x @ random.standard_normal(features) + 0.5 + random.standard_t(2, n)
    return x, y, (y > np.median(y)) * 1.0


def test_huber_regression_is_scikit_learns_at_its_scale():
    x, y, _ = data()
    other = HuberRegressor(epsilon=1.35, alpha=0.5, tol=1e-12, max_iter=100_000).fit(x, y)
    # scikit-learn's objective times sigma / 2 is this loss and penalty at the sigma that it finds
    model = LinearModel(huber_loss(1.35 * other.scale_))
    penalty = l2(0.5 * other.scale_ / len(y), mask=MASK)
    found = minimize(model, penalty, model.start(x), jnp.asarray(x), jnp.asarray(y), tolerance=1e-13)
    assert found.converged
    assert other.outliers_.sum() > 5
    np.testing.assert_allclose(found.params["coefficients"], other.coef_, atol=1e-4)
    np.testing.assert_allclose(found.params["intercept"], other.intercept_, atol=1e-4)
    theirs = {"coefficients": jnp.asarray(other.coef_), "intercept": jnp.asarray(other.intercept_)}
    theirs = model(theirs, jnp.asarray(x), jnp.asarray(y)) + penalty.value(theirs)
    assert found.objective <= theirs + 1e-12
    assert theirs - found.objective <= 1e-7


@pytest.mark.parametrize(("penalty", "kind"), [(l2, "l2"), (l1, "l1")])
def test_the_squared_hinge_is_the_support_vector_machine_of_scikit_learn(penalty, kind):
    x, _, classes = data()
    other = LinearSVC(penalty=kind, loss="squared_hinge", dual=False, C=0.2, fit_intercept=False, tol=1e-10)
    other.set_params(max_iter=1_000_000).fit(x, classes)
    model = LinearModel(squared_hinge(), intercept=False)
    strength = 1 / (2 * 0.2 * len(x))
    found = minimize(model, penalty(strength), model.start(x), jnp.asarray(x), jnp.asarray(classes), tolerance=1e-14)
    assert found.converged
    np.testing.assert_allclose(found.params["coefficients"], other.coef_[0], atol=1e-5)


def huber_by_numpy(eta, y):
    r = eta - y
    far = np.abs(r) > DELTA
    return np.where(far, DELTA * (np.abs(r) - DELTA / 2), r * r / 2), np.where(far, DELTA * np.sign(r), r)


def squared_hinge_by_numpy(eta, y):
    s = 2 * y - 1
    short = np.maximum(1 - s * eta, 0)
    return short**2 / 2, -s * short


@pytest.mark.parametrize("name", ["huber", "squared hinge"])
def test_scipy_finds_the_same_minimum_with_weights_an_intercept_and_an_offset(name):
    x, y, classes = data()
    loss, family = {
        "huber": (huber_by_numpy, huber_loss(DELTA)),
        "squared hinge": (squared_hinge_by_numpy, squared_hinge()),
    }[name]
    y = y if name == "huber" else classes
    weights, offset = (np.arange(80) % 3).astype(float), np.linspace(-0.3, 0.3, 80)
    shares = weights / weights.sum()

    def value(v):
        return shares @ loss(x @ v[:-1] + v[-1] + offset, y)[0] + 0.05 * v[:-1] @ v[:-1] / 2

    def slope(v):
        pull = shares * loss(x @ v[:-1] + v[-1] + offset, y)[1]
        return np.append(x.T @ pull + 0.05 * v[:-1], pull.sum())

    assert check_grad(value, slope, np.linspace(-0.5, 0.5, 7)) < 1e-6
    other = scipy_minimize(
        value, np.zeros(7), jac=slope, method="L-BFGS-B", options={"ftol": 1e-16, "gtol": 1e-10, "maxiter": 10_000}
    )
    model = LinearModel(family)
    found = minimize(
        model, l2(0.05, mask=MASK), model.start(x), *map(jnp.asarray, (x, y, weights, offset)), tolerance=1e-14
    )
    assert found.converged
    assert float(found.objective) == pytest.approx(other.fun, abs=1e-12)
    np.testing.assert_allclose(found.params["coefficients"], other.x[:-1], atol=1e-5)
    np.testing.assert_allclose(found.params["intercept"], other.x[-1], atol=1e-5)
