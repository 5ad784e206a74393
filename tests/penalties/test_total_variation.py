"""Total variation: its prox against SciPy's quadratic programs, its own optimality conditions, the laws, its slopes."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import lsq_linear

from regopt import penalties
from support import prox_laws
from support.prox_laws import penalty_case, strength

CASE = penalty_case(  # neighbours of a zero move it; a tie between pieces is decided by rounding, which has a sign
    "variation",
    penalties.total_variation,
    {"strength": strength},
    lambda strength: {"strength": 2 * strength},
    odd=False,
    keeps_zeros=False,
)


@pytest.mark.long  # what they say is also tested below
@prox_laws.settings
@hypothesis.given(st.data())
def test_laws(data):
    prox_laws.check(CASE, jnp.float64, data)


def signals(count, n, seed):
    """Noise, steps with noise, signals with many ties, and constants, with steps for each entry."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, n)) * 2
    jumps = np.cumsum(rng.normal(size=(count, n)) * (rng.random((count, n)) < 0.2), axis=1)
    kinds = [noise, jumps + 0.1 * noise, np.round(noise), np.ones_like(noise)]
    signals = np.stack([kinds[i % 4][i] for i in range(count)])
    steps = np.where(np.arange(count)[:, None] % 2, np.exp(rng.normal(size=(count, n)) * 1.5), 1.0)
    return signals, steps, rng.choice([0.0, 0.05, 0.3, 1.0, 4.0, 100.0], count)


@pytest.fixture(scope="module")
def denoise():
    def one(y, steps, strength):
        return penalties.total_variation(strength).prox(y, steps)

    return jax.jit(jax.vmap(one))


def test_the_prox_is_the_solution_of_the_quadratic_program(denoise):
    """SciPy's bounded least squares on the dual, ``min |S^(1/2) D'z - S^(-1/2) y|`` over ``|z| <= strength``."""
    y, steps, strengths = signals(50, 60, 0)
    with jax.enable_x64(True):
        found = np.asarray(denoise(*map(jnp.asarray, (y, steps, strengths))))
    difference = np.diff(np.eye(60), axis=0)
    for row, s, reach, u in zip(y, steps, strengths, found, strict=True):
        if reach == 0:
            np.testing.assert_array_equal(u, row)
            continue
        root = np.sqrt(s)
        dual = lsq_linear(root[:, None] * difference.T, row / root, (-reach, reach), method="bvls", tol=1e-15)
        np.testing.assert_allclose(u, row - s * (difference.T @ dual.x), rtol=0, atol=1e-8)


def test_the_optimality_conditions_hold_to_rounding(denoise):
    """``z_i = sum_{k <= i} (u_k - y_k) / step_k`` is ``strength sign(u_{i+1} - u_i)``, or less if they are equal."""
    y, steps, strengths = signals(50, 60, 1)
    with jax.enable_x64(True):
        u = np.asarray(denoise(*map(jnp.asarray, (y, steps, strengths))))
    z, jumps = np.cumsum((u - y) / steps, axis=1), np.sign(np.diff(u, axis=1))
    scale = np.sum(np.abs(y) / steps, axis=1, keepdims=True)
    assert np.all(np.abs(z[:, -1:]) <= 1e-13 * scale)
    assert np.all(np.abs(z[:, :-1]) <= strengths[:, None] + 1e-13 * scale)
    settled = (jumps != 0) & (np.abs(np.diff(u, axis=1)) > 1e-12)
    gap = np.abs(z[:, :-1] - strengths[:, None] * jumps)[settled]
    assert np.all(gap <= (1e-13 * np.broadcast_to(scale, jumps.shape))[settled])
    assert np.sum(jumps == 0) > 700  # whole pieces are equal, bit for bit
    assert np.sum(jumps != 0) > 200


def test_in_single_precision_the_objective_is_as_low(denoise):
    y, steps, strengths = signals(50, 60, 2)
    single = np.asarray(denoise(*(jnp.asarray(x, jnp.float32) for x in (y, steps, strengths))), np.float64)
    with jax.enable_x64(True):
        double = np.asarray(denoise(*map(jnp.asarray, (y, steps, strengths))))

    def objective(u):
        variation = np.abs(np.diff(u, axis=1)).sum(1)
        return np.sum((u - y) ** 2 / (2 * steps), axis=1) + strengths * variation

    slack = 1e-5 * (1 + np.sum(y**2 / (2 * steps), axis=1))  # of the sums, and of strength 100 times roundings of u
    assert np.all(objective(single) <= objective(double) + slack)


def test_the_slopes_are_differences():
    """With respect to the signal, the steps and the strength, also where entries are equal."""
    y, steps, _ = signals(2, 12, 3)
    weights = np.random.default_rng(4).normal(size=12)
    with jax.enable_x64(True):

        @jax.jit
        def outcome(y, steps, strength):
            return jnp.vdot(jnp.asarray(weights), penalties.total_variation(strength).prox(y, steps))

        at = jnp.asarray(y[1]), jnp.asarray(steps[1]), jnp.asarray(0.4)
        gradient = jax.jit(jax.grad(outcome, argnums=(0, 1, 2)))
        slopes = jax.tree.map(np.asarray, gradient(*at))
        for place in range(3):
            for i in np.ndindex(np.shape(at[place])):
                h = np.zeros(np.shape(at[place]))
                h[i] = 1e-6
                ends = [outcome(*at[:place], at[place] + sign * h, *at[place + 1 :]) for sign in (1, -1)]
                assert slopes[place][i] == pytest.approx(float(ends[0] - ends[1]) / 2e-6, abs=1e-7)
        assert all(np.isfinite(x).all() for x in gradient(at[0], 0 * at[1], at[2]))


def test_lines_are_independent_and_an_entry_with_step_0_stays(denoise):
    w = np.random.default_rng(5).normal(size=(10, 60, 5))
    lines = w.transpose(0, 2, 1).reshape(50, 60)
    with jax.enable_x64(True):
        penalty = penalties.total_variation(0.3, axis=1)
        after = jax.jit(penalty.prox)(jnp.asarray(w), 0.8)
        expected = np.asarray(denoise(jnp.asarray(lines), jnp.ones((50, 60)), jnp.full(50, 0.24)))
        np.testing.assert_allclose(after, expected.reshape(10, 5, 60).transpose(0, 2, 1), rtol=1e-13)
        assert penalty.value(jnp.asarray(w)) == pytest.approx(0.3 * np.abs(np.diff(w, axis=1)).sum(), rel=1e-13)
        steps = jnp.ones((50, 60)).at[0, 2].set(0)
        fixed = np.asarray(denoise(jnp.asarray(lines), steps, jnp.full(50, 1e4)))[0]
    np.testing.assert_allclose(fixed, lines[0, 2], rtol=1e-10)  # all follow the one that cannot move
    assert fixed[2] == lines[0, 2]
    assert penalties.total_variation(1.0).prox(jnp.ones((1, 3)), 1.0).shape == (1, 3)
    assert penalties.total_variation(1.0).prox(jnp.ones((0, 3)), 1.0).shape == (0, 3)


def test_a_large_strength_leaves_the_mean(denoise):
    y, steps = np.random.default_rng(6).normal(size=(50, 60)), np.random.default_rng(7).uniform(0.1, 3, (50, 60))
    steps[0] = 1
    with jax.enable_x64(True):
        after = np.asarray(denoise(jnp.asarray(y), jnp.asarray(steps), jnp.full(50, 1e3)))
    means = np.average(y, axis=1, weights=1 / steps)
    assert means[0] == pytest.approx(y[0].mean())
    np.testing.assert_allclose(after, np.broadcast_to(means[:, None], y.shape), rtol=0, atol=1e-14)


def test_an_axis_that_a_leaf_lacks_is_named():
    with pytest.raises(ValueError, match=r"axis must fit every penalised leaf, got 1 for a leaf of shape \(3,\)"):
        penalties.total_variation(1.0, axis=1).value(jnp.ones(3))
