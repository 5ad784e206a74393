"""The estimators against scikit-learn's own and its checks; groups, nonconvex penalties, names, warnings, figures."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import check_estimator

from regopt import sklearn as ours
from sklearn import linear_model

ESTIMATORS = [name for name in ours.__all__ if not name.startswith("plot")]


def regression(n=53, features=7, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, features)) + 0.7 * random.standard_normal((n, 1)) + 1
    return x, 2 + x[:, 0] - 2 * x[:, 2] + random.standard_normal(n), random.uniform(0.2, 2, n)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_scikit_learns_checks_pass(name):
    results = check_estimator(getattr(ours, name)(), on_fail=None)
    assert len(results) > 50
    assert [result["check_name"] for result in results if result["status"] not in ("passed", "skipped")] == []


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_lasso_and_the_elastic_net_are_scikit_learns(fit_intercept):
    x, y, weights = regression()
    pairs = [
        (ours.Lasso(alpha=0.2, fit_intercept=fit_intercept), linear_model.Lasso(alpha=0.2)),
        (ours.ElasticNet(alpha=0.3, l1_ratio=0.8, tol=1e-14, fit_intercept=fit_intercept),
         linear_model.ElasticNet(alpha=0.3, l1_ratio=0.8)),
    ]  # fmt: skip
    for mine, other in pairs:
        other.set_params(fit_intercept=fit_intercept, tol=1e-14, max_iter=100_000).fit(x, y, sample_weight=weights)
        mine.fit(x, y, sample_weight=weights)
        np.testing.assert_allclose(mine.coef_, other.coef_, atol=1e-7)
        np.testing.assert_allclose(mine.intercept_, other.intercept_, atol=1e-7)
        np.testing.assert_allclose(mine.predict(x), other.predict(x), atol=1e-6)
        assert mine.dual_gap_ < 1e-6


@pytest.mark.parametrize("seed", [1, 11])
def test_a_fit_is_exact_though_its_support_was_another(seed):
    random = np.random.default_rng(seed)
    x, y = random.standard_normal((15, 30)), random.integers(0, 3, 15).astype(float)
    mine = ours.ElasticNet(alpha=2e-4, l1_ratio=0.5, tol=1e-6).fit(x, y)
    other = linear_model.ElasticNet(alpha=2e-4, l1_ratio=0.5, tol=1e-14, max_iter=1_000_000).fit(x, y)
    np.testing.assert_allclose(mine.coef_, other.coef_, atol=1e-6)


def test_cross_validation_is_scikit_learns():
    x, y, _ = regression()
    cv = KFold(4, shuffle=True, random_state=1)
    mine = ours.LassoCV(alphas=12, eps=0.01, cv=cv).fit(x, y)
    other = linear_model.LassoCV(alphas=12, eps=0.01, cv=cv, tol=1e-12, max_iter=100_000).fit(x, y)
    np.testing.assert_allclose(mine.alphas_, other.alphas_, rtol=1e-9)
    np.testing.assert_allclose(2 * mine.scores_, other.mse_path_, rtol=1e-6)
    assert mine.alpha_ == pytest.approx(other.alpha_)
    np.testing.assert_allclose(mine.coef_, other.coef_, atol=1e-6)
    simpler = ours.LassoCV(alphas=12, eps=0.01, cv=cv, rule="one_standard_error").fit(x, y)
    mean, error = mine.scores_.mean(1), mine.scores_.std(1, ddof=1) / 2
    limit = mean[mine.best_index_] + error[mine.best_index_]
    assert mean[simpler.best_index_] <= limit < mean[simpler.best_index_ - 1]
    assert simpler.alpha_ > mine.alpha_


@pytest.mark.parametrize("count", [2, 3])
def test_logistic_regression_is_scikit_learns(count):
    x, y, weights = regression()
    y = np.array(["a", "b", "c"])[np.digitize(y, np.quantile(y, [0.5] if count == 2 else [0.3, 0.6]))]
    mine = ours.LogisticRegression(alpha=0.03, l1_ratio=0.6, tol=1e-11).fit(x, y, sample_weight=weights)
    other = linear_model.LogisticRegression(
        l1_ratio=0.6, solver="saga", C=1 / (0.03 * weights.sum()), tol=1e-10, max_iter=200_000
    ).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(mine.coef_, other.coef_, atol=3e-5)
    np.testing.assert_allclose(mine.predict_proba(x), other.predict_proba(x), atol=3e-5)
    np.testing.assert_array_equal(mine.predict(x), other.predict(x))
    assert mine.classes_.tolist() == ["a", "b", "c"][:count]


def test_two_classes_as_multinomial_have_half_the_difference_each():
    x, y, _ = regression()
    y = y > 1
    mine = ours.MultinomialRegression(alpha=0.03, l1_ratio=0.0, tol=1e-12).fit(x, y)
    # (w/2)**2 twice is half of w**2
    other = ours.LogisticRegression(alpha=0.015, l1_ratio=0.0, tol=1e-12).fit(x, y)
    np.testing.assert_allclose(mine.coef_[1] - mine.coef_[0], other.coef_[0], atol=1e-5)
    np.testing.assert_allclose(mine.predict_proba(x), other.predict_proba(x), atol=1e-5)


def test_poisson_regression_is_scikit_learns():
    x, _, weights = regression()
    y = np.random.default_rng(3).poisson(np.exp(x[:, 1] / 2))
    mine = ours.PoissonRegression(alpha=0.2, l1_ratio=0.0, tol=1e-13).fit(x, y, sample_weight=weights)
    other = linear_model.PoissonRegressor(alpha=0.2, tol=1e-10, max_iter=1000).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(mine.coef_, other.coef_, atol=1e-5)
    np.testing.assert_allclose(mine.predict(x), other.predict(x), rtol=1e-5)


@pytest.mark.parametrize("l1_ratio", [None, 0.3])
def test_groups_of_unequal_sizes_satisfy_the_optimality_conditions(l1_ratio):
    x, y, _ = regression()
    groups = np.array([5, 2, 5, 9, 2, 5, 9])
    if l1_ratio is None:
        mine = ours.GroupLasso(alpha=0.25, groups=groups, tol=1e-14).fit(x, y)
    else:
        mine = ours.SparseGroupLasso(alpha=0.5, l1_ratio=l1_ratio, groups=groups, tol=1e-14).fit(x, y)
    slopes = x.T @ (y - mine.predict(x)) / len(x)  # minus the gradient of the loss
    kept = []
    for group in (2, 5, 9):
        w, g = mine.coef_[groups == group], slopes[groups == group]
        l1, norm = (0, 0.25 * np.sqrt(len(w))) if l1_ratio is None else (0.5 * l1_ratio, 0.5 * (1 - l1_ratio))
        kept.append(w.any())
        if w.any():
            expected = l1 * np.sign(w) + norm * w / np.linalg.norm(w)
            np.testing.assert_allclose(g[w != 0], expected[w != 0], atol=1e-6)
            assert (np.abs(g[w == 0]) <= l1 + 1e-6).all()
        else:
            assert np.linalg.norm(np.sign(g) * np.maximum(np.abs(g) - l1, 0)) <= norm + 1e-6
    assert 0 < sum(kept) < 3


@pytest.mark.parametrize("name", ["MCPRegression", "SCADRegression"])
def test_nonconvex_fits_are_stationary_and_do_not_shrink_large_coefficients(name):
    x, y, _ = regression()
    mine = getattr(ours, name)(alpha=0.3, tol=1e-10).fit(x, y)
    assert mine.dual_gap_ == np.inf
    kept = np.flatnonzero(mine.coef_)
    assert 0 < len(kept) < 7
    free = linear_model.LinearRegression().fit(x[:, kept], y)
    large = np.abs(free.coef_) > 3.7 * 0.3
    assert large.any()
    if large.all():  # then the fit is least squares on its support
        np.testing.assert_allclose(mine.coef_[kept], free.coef_, atol=1e-6)
    slopes = x.T @ (y - mine.predict(x)) / len(x)
    assert (np.abs(slopes[mine.coef_ == 0]) <= 0.3 + 1e-6).all()


def test_names_of_columns_are_kept_and_sparse_inputs_refused():
    x, y, _ = regression()
    frame = pd.DataFrame(x, columns=list("abcdefg"))
    mine = ours.ElasticNet(alpha=0.2).fit(frame, y)
    assert mine.feature_names_in_.tolist() == list("abcdefg")
    with pytest.raises(ValueError, match="feature names"):
        mine.predict(frame[list("bacdefg")])
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        ours.Lasso().fit(csr_matrix(x), y)


def test_an_estimator_is_cloned_and_searched():
    x, y, _ = regression()
    search = GridSearchCV(ours.Lasso(), {"alpha": [10.0, 0.1]}, cv=3).fit(x, y)
    assert search.best_params_ == {"alpha": 0.1}
    assert clone(search.best_estimator_).get_params() == ours.Lasso(alpha=0.1).get_params()


def test_a_fit_that_ends_early_warns():
    x, y, _ = regression()
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        ours.ElasticNet(alpha=0.01, max_iter=1, tol=1e-14).fit(x, y)


@pytest.mark.parametrize(
    ("estimator", "word"),
    [
        (ours.Lasso(alpha=-1.0), "alpha"),
        (ours.Lasso(tol=-1.0), "tol"),
        (ours.ElasticNet(l1_ratio=1.5), "l1_ratio"),
        (ours.LogisticRegression(l1_ratio=-0.1), "l1_ratio"),
        (ours.MCPRegression(gamma=0.0), "gamma"),
        (ours.SCADRegression(gamma=1.0), "gamma"),
        (ours.GroupLasso(groups=[0, 1]), "groups"),
        (ours.LassoCV(rule="largest"), "rule"),
        (ours.LassoCV(alphas=[0.1, -1.0]), "alphas"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_wrong_arguments_are_refused(estimator, word):
    x, y, _ = regression()
    y = y > 0 if "Logistic" in type(estimator).__name__ else y
    with pytest.raises(ValueError, match=f"^{word}"):
        estimator.fit(x, y)


def test_figures_show_the_path_and_the_scores():
    x, y, _ = regression()
    frame = pd.DataFrame(x, columns=list("abcdefg"))
    mine = ours.LassoCV(alphas=12, eps=0.01, cv=4).fit(frame, y)
    lines = ours.plot_path(mine).get_lines()
    np.testing.assert_array_equal(lines[2].get_ydata(), mine.coef_path_[:, 2])
    assert len(lines) == 8  # seven features, and the chosen strength
    axes = ours.plot_cv(mine)
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), mine.scores_.mean(1))
    assert axes.get_xlim()[0] > axes.get_xlim()[1]
    assert ours.plot_cv(mine, ax=axes) is axes
    for plot in (ours.plot_path, ours.plot_cv):
        with pytest.raises(ValueError, match="cross-validation"):
            plot(ours.Lasso().fit(x, y))
