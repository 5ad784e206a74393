"""Penalties on activations, and the strengths of other libraries and books: SciPy's and scikit-learn's minimisers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import rel_entr
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, Ridge

import regopt
from regopt import penalties


def test_activations_are_penalised_by_unit_and_averaged_over_examples():
    rng = np.random.default_rng(2)
    hidden, deep = rng.normal(size=(7, 3, 2)), rng.uniform(size=(7, 4))
    with jax.enable_x64(True):
        both = {"hidden": jnp.asarray(hidden), "deep": jnp.asarray(deep)}
        expected = 0.3 * (np.abs(hidden).sum() + np.abs(deep).sum()) / 7
        assert penalties.activity_l1(both, 0.3) == pytest.approx(expected, rel=1e-13)
        rate = deep.mean(0)
        expected = 0.3 * np.sum(rel_entr(0.2, rate) + rel_entr(0.8, 1 - rate))
        assert penalties.kl_sparsity(jnp.asarray(deep), 0.2, 0.3) == pytest.approx(expected, rel=1e-12)
        assert penalties.kl_sparsity(jnp.full((5, 2), 0.2), 0.2) == pytest.approx(0, abs=1e-15)


def test_units_that_are_never_or_always_on_have_finite_slopes_the_right_way():
    hidden = jnp.stack([jnp.zeros(4), jnp.ones(4), jnp.full(4, 0.5), jnp.full(4, 2.0)], axis=1)
    value, slope = jax.jit(jax.value_and_grad(penalties.kl_sparsity))(hidden, 0.1)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert np.all(slope[:, 0] < 0)
    assert np.all(slope[:, 1:] > 0)
    with jax.enable_x64(True):  # convex across the beginning of the tangent
        rates = jnp.linspace(0, 3e-4, 13)
        values = jax.vmap(lambda r: penalties.kl_sparsity(r[None, None], 0.1))(rates)
        assert np.all(np.diff(values, 2) > -1e-12)


def regression():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 4)) * np.array([1.0, 2.0, 0.5, 1.0])
    return x, x @ np.array([1.5, -0.5, 0.0, 0.3]) + 0.3 * rng.normal(size=30)


def gradient_at(coefficients, x, y):
    """Of the mean loss with its half."""
    return x.T @ (x @ coefficients - y) / len(y)


def is_stationary(penalty, w, gradient):
    """w is a fixed point of the proximal gradient step."""
    after = penalty.prox(jnp.asarray(w - 0.1 * gradient), 0.1)
    np.testing.assert_allclose(after, w, rtol=0, atol=2e-7)


def test_scikit_learns_minimisers_are_ours():
    x, y = regression()
    with jax.enable_x64(True):
        ridge = Ridge(3.0, fit_intercept=False, solver="cholesky").fit(x, y).coef_
        strength = penalties.l2_strength(3.0, "sklearn.Ridge", examples=30)
        is_stationary(penalties.l2(strength), ridge, gradient_at(ridge, x, y))
        assert penalties.l2_number(strength, "sklearn.Ridge", examples=30) == pytest.approx(3.0)

        lasso = Lasso(0.2, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(x, y).coef_
        is_stationary(penalties.l1(penalties.l1_strength(0.2, "sklearn.Lasso")), lasso, gradient_at(lasso, x, y))
        net = ElasticNet(alpha=0.3, l1_ratio=0.4, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(x, y).coef_
        numbers = penalties.elastic_net_numbers(0.3 * 0.4, 0.3 * 0.6)
        is_stationary(penalties.elastic_net(*numbers), net, gradient_at(net, x, y))


@pytest.mark.parametrize(("l1_ratio", "make"), [(0.0, penalties.l2), (1.0, penalties.l1)])
def test_the_inverse_strength_of_logistic_regression(l1_ratio, make):
    x, y = regression()
    labels = (y > 0).astype(float)
    fit = LogisticRegression(C=0.4, l1_ratio=l1_ratio, solver="saga", fit_intercept=False, tol=1e-12, max_iter=100_000)
    w = fit.fit(x, labels).coef_[0]
    gradient = x.T @ (1 / (1 + np.exp(-x @ w)) - labels) / 30
    convert = penalties.l2_strength if make is penalties.l2 else penalties.l1_strength
    with jax.enable_x64(True):
        strength = convert(0.4, "sklearn.LogisticRegression", examples=30)
        assert strength == pytest.approx(1 / 12)
        is_stationary(make(strength), w, gradient)


def test_the_objective_of_each_library_has_our_minimum():
    """Each objective minimised by SciPy as it is printed; the gradient of ours is 0 there."""
    x, y = regression()
    n, k, a = 30, 0.7, 0.6

    def mean_loss(w):
        return np.sum((x @ w - y) ** 2) / (2 * n)

    objectives = {
        "regopt": lambda w: mean_loss(w) + k / 2 * w @ w,
        "glmnet": lambda w: mean_loss(w) + k / 2 * w @ w,
        "sklearn.ElasticNet": lambda w: mean_loss(w) + k / 2 * w @ w,
        "sklearn.Ridge": lambda w: 2 * n * mean_loss(w) + k * w @ w,
        "sklearn.LogisticRegression": lambda w: k * n * mean_loss(w) + w @ w / 2,
        "elasticnet": lambda w: 2 * n * mean_loss(w) + k * w @ w,
        "pytorch": lambda w: mean_loss(w) + k / 2 * w @ w,
        "pytorch.MSELoss": lambda w: 2 * mean_loss(w) + k / 2 * w @ w,
        "keras": lambda w: mean_loss(w) + k * w @ w,
        "keras.MeanSquaredError": lambda w: 2 * mean_loss(w) + k * w @ w,
        "deeplearning.ai": lambda w: mean_loss(w) + k / (2 * n) * w @ w,
    }
    assert set(objectives) == {name for name, row in penalties.CONVENTIONS.items() if row.l2 is not None}
    with jax.enable_x64(True):
        for library, objective in objectives.items():
            w = minimize(objective, np.zeros(4), tol=1e-10).x
            strength = float(penalties.l2_strength(k, library, examples=n))
            np.testing.assert_allclose(gradient_at(w, x, y) + strength * w, 0, atol=1e-6)
            assert penalties.l2_number(strength, library, examples=n) == pytest.approx(k)
        for library, factor, by in (
            ("keras", 1, 1),
            ("keras.MeanSquaredError", 2, 1),
            ("elasticnet", 2 * n, 1),
            ("deeplearning.ai", 1, 1 / (2 * n)),
        ):
            best = minimize(  # over positive and negative parts
                lambda v, factor=factor, by=by: (
                    factor * mean_loss(v[:4] - v[4:])
                    + by * k * (a * np.sum((v[:4] - v[4:]) ** 2) + (1 - a) * np.sum(v))
                ),
                np.full(8, 0.1),
                bounds=[(0, None)] * 8,
                tol=1e-14,
            ).x
            w = best[:4] - best[4:]
            l1 = penalties.l1_strength(k * (1 - a), library, examples=n)
            l2 = penalties.l2_strength(k * a, library, examples=n)
            after = penalties.elastic_net(*penalties.elastic_net_numbers(l1, l2)).prox(
                jnp.asarray(w - 0.1 * gradient_at(w, x, y)), 0.1
            )
            np.testing.assert_allclose(after, w, atol=1e-5)
        assert penalties.elastic_net_numbers(0.0, 0.0) == (0.0, 0.0)


def test_decay_beside_the_gradient():
    """w <- (1 - decay) w - rate g, as printed, and with PyTorch's rate * decay."""
    w, g, rate = jnp.array([2.0, -1.0]), jnp.array([0.3, 0.7]), 0.05
    for factor, strength in (
        (0.01, penalties.decay_strength(0.01, learning_rate=rate)),
        (0.01 * rate, penalties.decay_strength(0.01)),
    ):
        optimizer = regopt.regularize(regopt.sgd(rate), penalties.l2(strength), "decoupled", learning_rate=rate)
        updates, _ = optimizer.update(g, optimizer.init(w), w)
        np.testing.assert_allclose(w + updates, (1 - factor) * w - rate * g, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: penalties.kl_sparsity(jnp.ones((2, 2)), 1.0), r"target must lie in \(0, 1\), got 1.0"),
        (lambda: penalties.activity_l1(1.0), r"activations must be of shape \[examples, ...\]"),
        (lambda: penalties.l2_strength(1.0, "sklearn.Ridge"), "library 'sklearn.Ridge' needs the number of examples"),
        (lambda: penalties.l2_strength(1.0, examples="ten"), r"examples must be a number in \[1, inf\), got 'ten'"),
        (lambda: penalties.l1_strength(1.0, "sklearn.Ridge", examples=3), "'sklearn.Ridge' has no l1 penalty"),
        (lambda: penalties.l2_number(1.0, "sklearn.Lasso"), "'sklearn.Lasso' has no l2 penalty"),
        (lambda: penalties.l2_strength(1.0, "C"), "library must be one of 'regopt', 'glmnet', .*got 'C'"),
        (
            lambda: penalties.l1_strength(0.0, "sklearn.LogisticRegression", examples=3),
            r"number must lie in \(0, inf\), got 0.0",
        ),
        (lambda: penalties.decay_strength(0.1, 0.0), r"learning_rate must lie in \(0, inf\), got 0.0"),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
