"""Penalties on singular values: NumPy's values, SciPy's minimum of the prox, the laws, slopes where values repeat."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from regopt import penalties
from support import prox_laws
from support.prox_laws import penalty_case, strength


def doubled(strength):
    return {"strength": 2 * strength}


CASES = [  # a zero among others does not stay 0
    penalty_case(
        "nuclear",
        penalties.nuclear,
        {"strength": strength},
        doubled,
        odd=False,
        keeps_zeros=False,
        steps_by_entry=False,
    ),
    penalty_case(
        "spectral norm",
        penalties.spectral_norm,
        {"strength": strength},
        doubled,
        odd=False,
        keeps_zeros=False,
        steps_by_entry=False,
    ),
]
FORMULAS = [
    (penalties.nuclear, lambda w: np.linalg.norm(w, "nuc")),
    (penalties.spectral_norm, lambda w: np.linalg.norm(w, 2)),
    (penalties.orthogonality, lambda w: np.sum((w.T @ w - np.eye(w.shape[1])) ** 2) / 2),
]
each_formula = pytest.mark.parametrize(("make", "formula"), FORMULAS)


@pytest.mark.parametrize(
    ("case", "dtype"), list(zip(CASES, prox_laws.DTYPES, strict=True)), ids=["nuclear", "spectral norm"]
)
@prox_laws.settings
@hypothesis.given(st.data())
def test_laws(case, dtype, data):
    prox_laws.check(case, dtype, data)


@each_formula
def test_the_value_and_its_slope_are_those_of_the_formula(make, formula):
    with jax.enable_x64(True):
        w = np.random.default_rng(0).normal(size=(2, 2, 3))
        penalty, flat = make(0.7), w.reshape(4, 3)
        assert penalty.value(jnp.asarray(w)) == pytest.approx(0.7 * formula(flat), rel=1e-13)
        slope = np.asarray(jax.grad(penalty.value)(jnp.asarray(w))).reshape(4, 3)
        h = 1e-6
        for i in np.ndindex(4, 3):
            unit = np.zeros((4, 3))
            unit[i] = h
            difference = 0.7 * (formula(flat + unit) - formula(flat - unit)) / (2 * h)
            assert slope[i] == pytest.approx(difference, abs=1e-8)


def test_a_wide_matrix_has_orthonormal_rows_and_leaves_add_up():
    wide = jnp.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    params = {"kernel": wide, "other": 2 * wide, "bias": jnp.ones(3)}
    assert penalties.orthogonality(1.0).value(params) == pytest.approx(0.5 * 2 * 3**2, rel=1e-6)
    assert penalties.nuclear(0.5).value(params) == pytest.approx(0.5 * (2 + 4), rel=1e-6)
    assert penalties.spectral_norm(0.5).value(params) == pytest.approx(0.5 * (1 + 2), rel=1e-6)
    assert penalties.nuclear(0.5).value({"kernel": jnp.zeros((0, 3))}) == 0
    assert not penalties.orthogonality().has_prox


@pytest.mark.parametrize(("make", "order"), [(penalties.nuclear, "nuc"), (penalties.spectral_norm, 2)])
def test_the_slope_is_a_subgradient_and_all_slopes_are_finite(make, order):
    """norm(v) >= norm(w) + <slope, v - w> for all v: slope's dual norm is at most 1 and <slope, w> the norm of w."""
    points = [np.zeros((4, 3)), np.eye(4, 3), np.ones((4, 3)), np.random.default_rng(1).normal(size=(4, 3))]

    def outcome(w, strength, step):
        penalty = make(strength)
        return jnp.sum(jnp.sin(1 + penalty.prox(w, step))) + penalty.value(penalty.prox(w, step))

    with jax.enable_x64(True):
        value = make(1.0).value
        slopes = jax.jit(jax.grad(value))
        others = jax.jit(lambda w, step: (jax.grad(outcome, argnums=(0, 1, 2))(w, 0.7, step), jax.hessian(value)(w)))
        for w in points:
            slope = np.asarray(slopes(jnp.asarray(w)))
            assert np.linalg.norm(slope, 2 if order == "nuc" else "nuc") <= 1 + 1e-12
            assert np.sum(slope * w) == pytest.approx(np.linalg.norm(w, order), abs=1e-12)
            if not w.any():
                np.testing.assert_array_equal(slope, 0)
            for step in (0.0, 0.4, 5.0):
                assert all(np.isfinite(x).all() for x in jax.tree.leaves(others(jnp.asarray(w), step)))


@pytest.mark.parametrize("make", [penalties.nuclear, penalties.spectral_norm])
def test_the_slopes_of_the_prox_are_its_differences(make):
    """At the identity all singular values are equal and the vectors arbitrary."""
    direction = np.random.default_rng(2).normal(size=(3, 3))
    with jax.enable_x64(True):
        prox = jax.jit(lambda w: make(1.0).prox(w, 0.3))
        for w in (jnp.eye(3), jnp.diag(jnp.array([2.0, 1.0, 0.5]))):
            found = jax.jvp(prox, (w,), (jnp.asarray(direction),))[1]
            h = 1e-6
            difference = (prox(w + h * direction) - prox(w - h * direction)) / (2 * h)
            if make is penalties.spectral_norm and w[0, 0] == w[1, 1]:
                continue  # a kink: which of the equal ones is the largest depends on the direction
            np.testing.assert_allclose(found, difference, atol=1e-8)


def test_the_slopes_of_orthogonality_vanish_at_zero_and_at_orthonormal_matrices():
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 3)))[0]
    with jax.enable_x64(True):
        slope = jax.grad(penalties.orthogonality(0.7).value)
        np.testing.assert_array_equal(slope(jnp.zeros((4, 3))), 0)
        np.testing.assert_allclose(slope(jnp.asarray(rotation)), 0, atol=1e-14)
        w = jnp.asarray(np.random.default_rng(4).normal(size=(4, 3)))
        np.testing.assert_allclose(slope(w), 1.4 * w @ (w.T @ w - jnp.eye(3)), rtol=1e-12)


@pytest.mark.parametrize(("make", "order"), [(penalties.nuclear, "nuc"), (penalties.spectral_norm, 2)])
def test_no_general_minimizer_finds_a_better_prox(make, order):
    step, w = 0.9, np.random.default_rng(5).normal(size=(3, 2))
    with jax.enable_x64(True):
        found = np.asarray(make(0.8).prox(jnp.asarray(w), step))

    def objective(u):
        return np.sum((u.reshape(3, 2) - w) ** 2) / 2 + step * 0.8 * np.linalg.norm(u.reshape(3, 2), order)

    best = min(
        minimize(objective, start.ravel(), method="Powell", options={"xtol": 1e-9, "ftol": 1e-14}).fun
        for start in (w, w / 2, found + 0.01)
    )
    assert objective(found) <= best + 1e-12
    assert objective(found) >= best - 1e-2  # Powell stops at kinks


def test_low_rank_appears_exactly_and_the_largest_values_meet():
    w = np.diag([3.0, 2.5, 0.5])
    with jax.enable_x64(True):
        lower = np.asarray(penalties.nuclear(1.0).prox(jnp.asarray(w), 0.75))
        cut = np.asarray(penalties.spectral_norm(1.0).prox(jnp.asarray(w), 0.75))
    np.testing.assert_array_equal(np.diag(lower), [2.25, 1.75, 0.0])
    np.testing.assert_allclose(np.diag(cut), [2.375, 2.375, 0.5], rtol=1e-14)  # 0.75 taken from the two


@pytest.mark.parametrize(("make", "dual"), [(penalties.nuclear, 2), (penalties.spectral_norm, "nuc")])
def test_strength_max_is_the_dual_norm(make, dual):
    gradient = np.random.default_rng(6).normal(size=(4, 3))
    with jax.enable_x64(True):
        smallest = make(1.0).strength_max(jnp.asarray(gradient))
        assert smallest == pytest.approx(np.linalg.norm(gradient, dual), rel=1e-13)
        assert np.all(make(smallest * 1.0001).prox(jnp.asarray(-gradient), 1.0) == 0)
        assert np.any(make(smallest * 0.9999).prox(jnp.asarray(-gradient), 1.0) != 0)


def test_the_ball_of_the_nuclear_norm_is_that_of_all_leaves_together():
    rng = np.random.default_rng(7)
    with jax.enable_x64(True):
        params = {"first": jnp.asarray(rng.normal(size=(3, 2))), "second": jnp.asarray(rng.normal(size=(2, 4)))}
        project = jax.jit(penalties.nuclear(1.0).project)
        after = project(params, 1.5)
        block = np.zeros((5, 6))
        block[:3, :2], block[3:, 2:] = params["first"], params["second"]  # its singular values are those of both
        expected = project(jnp.asarray(block), 1.5)
        np.testing.assert_allclose(after["first"], expected[:3, :2], atol=1e-14)
        np.testing.assert_allclose(after["second"], expected[3:, 2:], atol=1e-14)
        assert penalties.nuclear(1.0).value(after) == pytest.approx(1.5, rel=1e-13)


def singular_vectors(w):
    u, _, vh = np.linalg.svd(w)
    return u, vh.T


def test_the_power_method_comes_from_below_and_ends_at_the_norm():
    w = np.random.default_rng(8).normal(size=(6, 4))
    exact = np.linalg.norm(w, 2)
    with jax.enable_x64(True):
        first, last = (
            jax.jit(jax.value_and_grad(penalties.spectral_norm(1.0, power_iterations=k).value)) for k in (1, 40)
        )
        assert 0.8 * exact < first(jnp.asarray(w))[0] < exact
        value, slope = last(jnp.asarray(w))
        assert value == pytest.approx(exact, rel=1e-10)
        np.testing.assert_allclose(slope, np.outer(*(x[:, 0] for x in singular_vectors(w))), atol=1e-5)
        np.testing.assert_array_equal(last(jnp.zeros((6, 4)))[1], 0)


def test_what_cannot_be_is_named():
    with pytest.raises(ValueError, match=r"the prox of nuclear wants one step for each matrix.*how=\"gradient\""):
        penalties.nuclear(1.0).prox(jnp.ones((2, 2)), jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="power_iterations must be at least 1 or None, got 0"):
        penalties.spectral_norm(1.0, power_iterations=0)
    with pytest.raises(ValueError, match=r"strength must lie in \[0, inf\), got -1.0"):
        penalties.orthogonality(-1.0)
