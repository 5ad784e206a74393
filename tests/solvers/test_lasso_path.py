"""The lasso's path against scikit-learn's, the optimality conditions, and its own derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso, lars_path

from regopt.data import DIABETES_NAMES, PROSTATE_NAMES, diabetes, prostate
from regopt.solvers import lasso_path


def problem(seed, n, features):
    random = np.random.default_rng(seed)
    mix = np.eye(features) + 0.5 * random.standard_normal((features, features))
    x = random.standard_normal((n, features)) @ mix
    y = x @ (random.standard_normal(features) * (np.arange(features) % 3 == 0)) + random.standard_normal(n)
    return x - x.mean(0), y - y.mean()


compiled_path = jax.jit(lasso_path)  # one program for all data of one shape


def violation(x, y, w, strength):
    """By how much the subgradient conditions fail: |x_j'r|/n <= strength, with equality and w's sign where w != 0."""
    correlations, active = x.T @ (y - x @ w) / len(y), w != 0
    at_rest = np.max(np.abs(correlations[~active]) - strength, initial=0)
    return max(at_rest, np.max(np.abs(correlations - strength * np.sign(w))[active], initial=0))


@pytest.mark.parametrize(("n", "features"), [(40, 10), (60, 25), (12, 30)])
@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_scikit_learns(seed, n, features):
    x, y = problem(seed, n, features)
    strengths, _, coefficients = lars_path(x, y, method="lasso")
    with jax.enable_x64(True):
        path = compiled_path(x, y)
        assert path.strengths[-1] == 0
        ours = jax.vmap(path.at)(jnp.asarray(strengths))
    scale = np.abs(coefficients).max()
    # with fewer examples than features scikit-learn's last knot lies at a strength of 0 to rounding, which decides it
    decided = strengths > 1e-9 * strengths[0]
    np.testing.assert_allclose(ours[decided], coefficients.T[decided], atol=1e-9 * scale)
    for w, strength in zip(np.asarray(ours)[~decided], strengths[~decided], strict=True):
        assert violation(x, y, w, strength) < 1e-9 * strengths[0]
    np.testing.assert_allclose(path.strengths[: len(strengths)], strengths, atol=1e-10 * strengths[0])


@pytest.mark.parametrize(("n", "features"), [(40, 10), (12, 30)])
def test_every_point_of_the_path_satisfies_the_optimality_conditions(n, features):
    for seed in range(20):
        x, y = problem(seed, n, features)
        with jax.enable_x64(True):
            path = compiled_path(x, y)
            first = float(path.strengths[0])
            for strength in first * np.array([0.9, 0.6, 0.3, 0.1, 0.01]):
                assert violation(x, y, np.asarray(path.at(strength)), strength) < 1e-11 * first


def test_a_feature_that_leaves_is_said_to_and_its_coefficient_is_exactly_zero_then():
    x, y = diabetes()
    with jax.enable_x64(True):
        path = lasso_path(x, y - y.mean())
    moves = [int(move) for move in path.moves if move]
    assert moves == [3, 9, 4, 7, 2, 10, 5, 8, 6, 1, -7, 7]
    assert np.asarray(path.coefficients)[moves.index(-7), 6] == 0.0


def test_single_precision_finds_the_same_moves_and_strengths():
    x, y = diabetes()
    path = lasso_path(jnp.asarray(x, jnp.float32), jnp.asarray(y - y.mean(), jnp.float32))
    reference = Lasso(alpha=0.3, fit_intercept=False, tol=1e-10, max_iter=100000).fit(x, y - y.mean())
    assert path.coefficients.dtype == jnp.float32
    assert [int(move) for move in path.moves][:7] == [3, 9, 4, 7, 2, 10, 5]
    # 1e-7 of float32 times the condition number 470 of the Gram matrix
    np.testing.assert_allclose(path.at(0.3), reference.coef_, atol=1e-4 * np.abs(reference.coef_).max())


@pytest.mark.parametrize(("x64", "tolerance"), [(True, 1e-11), (False, 2e-4)])
@pytest.mark.parametrize("seed", range(4))
def test_a_copy_of_a_feature_never_enters(seed, x64, tolerance):
    x, y = problem(seed, 30, 5)
    with jax.enable_x64(x64):
        alone, twice = lasso_path(x, y), lasso_path(np.column_stack([x, x]), y)
        for strength in (0.0, 0.2, 0.7):
            strength = strength * float(alone.strengths[0])
            both = np.asarray(twice.at(strength))
            np.testing.assert_allclose(both[:5] + both[5:], alone.at(strength), atol=tolerance)
            assert np.all((both[:5] == 0) | (both[5:] == 0))


def test_it_maps_compiles_and_differentiates():
    problems = [problem(seed, 25, 6) for seed in range(3)]
    with jax.enable_x64(True):
        xs, ys = (jnp.stack([jnp.asarray(each[part]) for each in problems]) for part in (0, 1))
        many = jax.jit(jax.vmap(lambda x, y, strength: lasso_path(x, y).at(strength), (0, 0, None)))(xs, ys, 0.2)
        for (x, y), w in zip(problems, many, strict=True):
            assert violation(x, y, np.asarray(w), 0.2) < 1e-12
        x, y = xs[0], ys[0]
        slope = jax.jit(jax.jacfwd(lambda strength: lasso_path(x, y).at(strength)))(0.2)
        by_target = jax.jit(jax.jacrev(lambda y: lasso_path(x, y).at(0.2)))(y)
        active = np.flatnonzero(np.asarray(many[0]))
        xa = np.asarray(x)[:, active]
        expected = -len(y) * np.linalg.solve(xa.T @ xa, np.sign(many[0])[active])
        np.testing.assert_allclose(slope[active], expected, rtol=1e-9)
        # between knots the fit is least squares on the active set, shifted (Zou, Hastie & Tibshirani 2007)
        np.testing.assert_allclose(by_target[active], np.linalg.pinv(xa), atol=1e-10)
        np.testing.assert_array_equal(np.delete(np.asarray(by_target), active, 0), 0)


def test_the_ends_of_the_path():
    x, y = problem(1, 20, 4)
    with jax.enable_x64(True):
        path = lasso_path(x, y)
        np.testing.assert_array_equal(path.at(2 * path.strengths[0]), np.zeros(4))
        np.testing.assert_allclose(path.at(0.0), np.linalg.lstsq(x, y)[0], atol=1e-12)
        short = lasso_path(x, y, max_moves=2)
        assert short.strengths.shape == (3,)
        assert short.strengths[-1] > 0
        np.testing.assert_array_equal(short.at(0.0), short.coefficients[-1])
        nothing = lasso_path(x, jnp.zeros(20))
    np.testing.assert_array_equal(nothing.coefficients, 0)
    np.testing.assert_array_equal(nothing.moves, 0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"x must have shape \[examples, features\] and y \[examples\], got"):
        lasso_path(jnp.ones((3, 2)), jnp.ones(2))
    for moves in (0, 2.5):
        with pytest.raises(ValueError, match=rf"max_moves must be a whole number in \[1, inf\), got {moves}"):
            lasso_path(jnp.ones((3, 2)), jnp.ones(3), max_moves=moves)
    with pytest.raises(ValueError, match=r"strength must lie in \[0, inf\), got -1"):
        lasso_path(jnp.eye(2), jnp.ones(2)).at(-1)


def test_the_tables_are_the_sources():
    x, y = diabetes()
    assert x.shape == (442, 10) == (442, len(DIABETES_NAMES))
    np.testing.assert_allclose(np.linalg.norm(x, axis=0), 1, rtol=1e-9)
    assert y.sum() == 67243  # 152.133 * 442
    train, validation, test = prostate()
    assert train[0].shape == (67, 8) == (67, len(PROSTATE_NAMES))
    assert test[0].shape == (30, 8)
    assert validation is None
    np.testing.assert_allclose(train[1].mean(), 2.4523, atol=5e-5)  # the intercept of ridge in the book's table 3.3
    assert train[0][0, 0] == -0.579818495
