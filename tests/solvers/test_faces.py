"""Paths of the elastic net and the lasso from the Gram matrix: starts on faces, against NumPy and scikit-learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import enet_path

from regopt.penalties import elastic_net, l1
from regopt.solvers import LinearModel, cross_validate, gaussian, path
from regopt.solvers._faces import starts_on_faces
from regopt.solvers._gram import GramLoss

pytestmark = pytest.mark.usefixtures("double_precision")

MASK = {"coefficients": True, "intercept": False}
MODEL = LinearModel(gaussian())


def data(n=150, features=70, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, features))
    for j in range(1, features):
        x[:, j] = 0.8 * x[:, j - 1] + 0.6 * x[:, j]
    y = x[:, ::7] @ random.standard_normal(len(x[0, ::7])) + random.standard_normal(n) + 2
    return jnp.asarray(x), jnp.asarray(y)


def centred(array):
    return np.asarray(array) - np.asarray(array).mean(0)


def grid(x, y, l1_ratio, size=15, ratio=1e-2):
    x, y = np.asarray(x), np.asarray(y)
    slopes = np.abs((x - x.mean(0)).T @ (y - y.mean())) / len(x)
    return slopes.max() / l1_ratio * np.geomspace(1, ratio, size)


def gaps(x, y, l1_ratio, strengths, coefficients):
    """Relative duality gaps of the elastic net at the best intercepts, by NumPy."""
    x, y = centred(x), centred(y)
    found = []
    for strength, w in zip(np.asarray(strengths), np.asarray(coefficients, np.float64), strict=True):
        reach, square, r = strength * l1_ratio, strength * (1 - l1_ratio), x @ w - y
        objective = r @ r / 2 / len(x) + reach * np.abs(w).sum() + square * w @ w / 2
        g = x.T @ r / len(x)
        shrink = min(1, reach / np.abs(g).max()) if square == 0 else 1.0
        excess = np.maximum(shrink * np.abs(g) - reach, 0)
        bound = -(shrink**2 * r @ r / 2 + shrink * r @ y) / len(x) - (excess @ excess / 2 / square if square else 0)
        found.append((objective - bound) / max(1, objective))
    return np.array(found)


def gram(x, y):
    return GramLoss.of(x, y, jnp.full(len(x), 1 / len(x)), intercept=True)


@pytest.mark.parametrize(("l1_ratio", "tolerance"), [(0.5, 1e-7), (0.05, 1e-7), (0.95, 1e-6), (1.0, 1e-10)])
def test_the_starts_are_within_the_tolerance(l1_ratio, tolerance):
    x, y = data()
    strengths = grid(x, y, l1_ratio)
    solve = jax.jit(lambda: starts_on_faces(gram(x, y), l1_ratio, jnp.asarray(strengths), tolerance, 1000))
    found, steps = solve()
    assert gaps(x, y, l1_ratio, strengths, found).max() <= tolerance
    assert 1 <= steps.min() <= steps.max() < 100


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_a_path_is_scikit_learns_with_fewer_steps_than_gradient_steps_take(l1_ratio):
    x, y = data()
    penalty = partial(elastic_net, l1_ratio=l1_ratio, mask=MASK) if l1_ratio < 1 else partial(l1, mask=MASK)
    strengths = grid(x, y, l1_ratio)

    def fit(penalty):
        return path(MODEL, penalty, MODEL.start(x), x, y, strengths=jnp.asarray(strengths), tolerance=1e-11)

    found, by_gradients = jax.jit(lambda: (fit(penalty), fit(lambda strength: penalty(strength))))()
    assert found.converged.all()
    other = enet_path(centred(x), centred(y), l1_ratio=l1_ratio, alphas=strengths, tol=1e-14, max_iter=1_000_000)[1].T
    np.testing.assert_allclose(found.params["coefficients"], other, atol=1e-5)
    np.testing.assert_allclose(found.objective, by_gradients.objective, rtol=1e-10)
    assert (gaps(x, y, l1_ratio, strengths, found.params["coefficients"]) <= 1e-11 + 1e-14).all()
    assert jnp.sum(found.steps) < jnp.sum(by_gradients.steps)


def test_lanes_are_single_paths():
    x, y = data()
    strengths = jnp.asarray(grid(x, y, 0.5))
    losses = [gram(x, y), gram(x[:120], y[:120]), gram(x, y * 2)]
    lanes = jax.tree.map(lambda *leaves: jnp.stack(leaves), *losses)
    found, steps = jax.jit(jax.vmap(lambda loss: starts_on_faces(loss, 0.5, strengths, 1e-7, 1000)))(lanes)
    for lane, loss in enumerate(losses):
        one, taken = jax.jit(lambda loss=loss: starts_on_faces(loss, 0.5, strengths, 1e-7, 1000))()
        np.testing.assert_allclose(found[lane], one, atol=1e-4)
        assert abs(int(steps[lane].sum()) - int(taken.sum())) <= 20
    ratios = jnp.array([0.3, 0.9])

    def scores(l1_ratio):
        penalty = partial(elastic_net, l1_ratio=l1_ratio, mask=MASK)
        return cross_validate(MODEL, penalty, MODEL.start(x), x, y, folds=3, strengths=strengths, tolerance=1e-9)

    both = jax.jit(jax.vmap(scores))(ratios)
    assert both.converged.all()
    single = jax.jit(lambda: scores(0.9))()
    np.testing.assert_allclose(both.scores[1], single.scores, rtol=1e-3)


def test_strengths_in_any_order_equal_ones_and_zero_are_solved_as_well():
    x, y = data()
    top = float(grid(x, y, 0.5)[0])
    strengths = top * jnp.array([0.01, 0.5, 0.5, 0.1, 0.2, 2.0, 0.0, 0.05])
    penalty = partial(elastic_net, l1_ratio=0.5, mask=MASK)
    found = jax.jit(lambda: path(MODEL, penalty, MODEL.start(x), x, y, strengths=strengths, tolerance=1e-8))()
    kept = np.arange(8) != 6
    assert found.converged[kept].all()
    assert gaps(x, y, 0.5, strengths[kept], found.params["coefficients"][kept]).max() <= 1e-8
    np.testing.assert_array_equal(found.params["coefficients"][5], 0)
    exact = np.linalg.lstsq(centred(x), centred(y))[0]
    np.testing.assert_allclose(found.params["coefficients"][6], exact, atol=1e-3)


def test_a_tolerance_out_of_reach_ends_within_the_steps():
    x, y = data()
    strengths = jnp.asarray(grid(x, y, 0.5))
    for max_steps in (1, 7, 40):
        penalty = partial(elastic_net, l1_ratio=0.5, mask=MASK)
        found = path(
            MODEL, penalty, MODEL.start(x), x, y, strengths=strengths, tolerance=0, max_steps=max_steps
        )  # fmt: skip
        assert not found.converged[-1]
        assert (found.steps <= max_steps + 10).all()
        assert np.isfinite(found.params["coefficients"]).all()


def test_slopes_with_respect_to_the_strength_are_differences():
    x, y = data(60, 8)
    strengths = jnp.asarray(grid(x, y, 0.5, 4, 0.1))

    def total(factor):
        penalty = partial(elastic_net, l1_ratio=0.5, mask=MASK)
        found = path(MODEL, penalty, MODEL.start(x), x, y, strengths=factor * strengths, tolerance=1e-13)
        return jnp.sum(found.params["coefficients"][2:] @ jnp.arange(8.0))

    slope = jax.jit(jax.grad(total))(1.0)
    value = jax.jit(total)
    np.testing.assert_allclose(slope, (value(1 + 1e-5) - value(1 - 1e-5)) / 2e-5, rtol=1e-4)
