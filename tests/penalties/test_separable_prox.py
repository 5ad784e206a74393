"""Penalties on single entries: values from the formulas of their sources, prox by brute force, the laws of a prox."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import ElasticNet

from regopt import penalties
from support import prox_laws
from support.prox_laws import penalty_case, strength

WIDE = st.floats(0.25, 3.0, width=32)
CASES = [
    penalty_case("l1", penalties.l1, {"strength": strength}, lambda strength: {"strength": 2 * strength}),
    penalty_case("l2", penalties.l2, {"strength": strength}, lambda strength: {"strength": strength}),
    penalty_case("elastic net", penalties.elastic_net, {"strength": strength, "l1_ratio": st.floats(0, 1, width=32)}),
    penalty_case(
        "huber",
        penalties.huber,
        {"strength": strength, "delta": WIDE},
        lambda strength, delta: {"strength": strength, "delta": 2 * delta},
    ),
    penalty_case(
        "mcp",
        penalties.mcp,
        {"strength": strength, "gamma": WIDE},
        lambda strength, gamma: {"strength": 2 * strength, "gamma": gamma},
        convex=False,
    ),
    penalty_case(
        "scad",
        penalties.scad,
        {"strength": strength, "gamma": st.floats(1.25, 4, width=32)},
        lambda strength, gamma: {"strength": 2 * strength, "gamma": gamma},
        convex=False,
    ),
    penalty_case(
        "log sum",
        penalties.log_sum,
        {"strength": strength, "eps": WIDE},
        lambda strength, eps: {"strength": 4 * strength, "eps": 2 * eps},
        convex=False,
    ),
    penalty_case("l0", penalties.l0, {"strength": strength}, lambda strength: {"strength": 4 * strength}, convex=False),
    penalty_case(
        "box",
        penalties.box,
        {"lower": st.floats(-2, 0, width=32), "upper": st.floats(0, 3, width=32)},
        lambda lower, upper: {"lower": 2 * lower, "upper": 2 * upper},
        odd=False,
        finite=False,
    ),
    penalty_case("non-negative", penalties.non_negative, {}, dict, odd=False, finite=False),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", prox_laws.DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@prox_laws.settings
@hypothesis.given(st.data())
def test_laws(case, dtype, data):
    prox_laws.check(case, dtype, data)


def spline(w, strength, gamma):
    """SCAD as Fan & Li (2001) give it, by the integral of its slope, (2.7)."""
    size = np.abs(w)
    middle = (2 * gamma * strength * size - size**2 - strength**2) / (2 * (gamma - 1))
    return np.where(
        size <= strength, strength * size, np.where(size <= gamma * strength, middle, strength**2 * (gamma + 1) / 2)
    )


def minimax(w, strength, gamma):
    """MCP by its pieces, Zhang (2010)."""
    inner = strength * np.abs(w) - w**2 / (2 * gamma)
    return np.where(np.abs(w) <= gamma * strength, inner, gamma * strength**2 / 2)


FORMULAS = [
    (penalties.l2, {"strength": 0.7}, lambda w, strength: strength * w**2 / 2),
    (penalties.l1, {"strength": 0.7}, lambda w, strength: strength * np.abs(w)),
    (
        penalties.elastic_net,
        {"strength": 0.7, "l1_ratio": 0.3},
        lambda w, strength, l1_ratio: strength * (l1_ratio * np.abs(w) + 0.5 * (1 - l1_ratio) * w**2),
    ),
    (
        penalties.huber,
        {"strength": 0.7, "delta": 0.6},
        lambda w, strength, delta: strength * np.where(np.abs(w) <= delta, w**2 / 2, delta * (np.abs(w) - delta / 2)),
    ),
    (penalties.mcp, {"strength": 0.7, "gamma": 2.5}, minimax),
    (penalties.mcp, {"strength": 0.7, "gamma": 0.4}, minimax),  # below the steps: the prox jumps
    (penalties.scad, {"strength": 0.7, "gamma": 3.7}, spline),
    (penalties.scad, {"strength": 0.7, "gamma": 1.3}, spline),
    (
        penalties.log_sum,
        {"strength": 0.7, "eps": 1.5},
        lambda w, strength, eps: strength * np.log(1 + np.abs(w) / eps),
    ),
    (
        penalties.log_sum,
        {"strength": 0.7, "eps": 0.05},
        lambda w, strength, eps: strength * np.log(1 + np.abs(w) / eps),
    ),
    (penalties.l0, {"strength": 0.7}, lambda w, strength: strength * (w != 0)),
]
each_formula = pytest.mark.parametrize(("make", "numbers", "formula"), FORMULAS)


@each_formula
def test_the_value_and_its_slope_are_those_of_the_formula(make, numbers, formula):
    with jax.enable_x64(True):
        w = np.random.default_rng(0).uniform(-4, 4, 40)
        penalty = make(**numbers)
        assert penalty.value(jnp.asarray(w)) == pytest.approx(formula(w, **numbers).sum(), rel=1e-13)
        h = 1e-6  # central differences; none of these points is within 1e-6 of a kink
        slopes = (formula(w + h, **numbers) - formula(w - h, **numbers)) / (2 * h)
        np.testing.assert_allclose(jax.grad(penalty.value)(jnp.asarray(w)), slopes, rtol=1e-6, atol=1e-8)
        np.testing.assert_array_equal(jax.grad(penalty.value)(jnp.zeros(3)), 0.0)


@each_formula
def test_the_prox_is_the_global_minimum_on_a_grid(make, numbers, formula):
    """Both to 1e-6: a grid of spacing 1e-3 around 0 and w, and one of 1e-7 around its best point."""
    rng = np.random.default_rng(1)
    w, steps = rng.uniform(-4, 4, 60), rng.choice([0.3, 0.9, 2.6, 6.0], 60)
    with jax.enable_x64(True):
        found = np.asarray(make(**numbers).prox(jnp.asarray(w), jnp.asarray(steps)))
    for w_i, step, u in zip(w, steps, found, strict=True):

        def objective(u, w_i=w_i, step=step):
            return (u - w_i) ** 2 / 2 + step * formula(u, **numbers)

        coarse = np.append(np.linspace(-1, 5, 6001) * np.sign(w_i), 0.0)
        best = coarse[np.argmin(objective(coarse))]
        fine = np.append(best + np.linspace(-1e-3, 1e-3, 20001), 0.0)
        best = fine[np.argmin(objective(fine))]
        assert objective(u) <= objective(best) + 1e-12
        assert abs(u - best) <= 1e-6 or abs(objective(u) - objective(best)) < 1e-9


@pytest.mark.parametrize("gamma", [0.4, 3.0])
def test_mcp_and_scad_leave_large_entries_alone_and_l1_does_not(gamma):
    large = jnp.array([5.0, -7.5])
    for penalty in (penalties.mcp(0.5, gamma), penalties.scad(0.5, gamma + 1), penalties.l0(0.5)):
        np.testing.assert_array_equal(penalty.prox(large, 1.0), large)
    np.testing.assert_allclose(penalties.l1(0.5).prox(large, 1.0), [4.5, -7.0])


def test_limits_of_one_penalty_in_another():
    w = jnp.array([1.5, -0.25, 0.5, 0.0])
    np.testing.assert_array_equal(penalties.elastic_net(0.5, 1.0).prox(w, 0.75), penalties.l1(0.5).prox(w, 0.75))
    np.testing.assert_array_equal(penalties.elastic_net(0.5, 0.0).prox(w, 0.75), penalties.l2(0.5).prox(w, 0.75))
    np.testing.assert_allclose(penalties.mcp(0.5, 1e9).prox(w, 0.75), penalties.l1(0.5).prox(w, 0.75), atol=1e-6)
    np.testing.assert_allclose(penalties.huber(0.5, 1e9).prox(w, 0.75), penalties.l2(0.5).prox(w, 0.75), rtol=1e-6)


@pytest.mark.parametrize("l1_ratio", [0.5, 0.9])
def test_scikit_learns_elastic_net_is_a_fixed_point_of_the_proximal_gradient_step(l1_ratio):
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        x, n = rng.normal(size=(40, 8)), 40
        y = x @ np.array([2.0, -1.5, 0, 0, 0.8, 0, 0, 0]) + 0.3 * rng.normal(size=n)
        model = ElasticNet(alpha=0.3, l1_ratio=l1_ratio, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(x, y)
        w, gradient = model.coef_, x.T @ (x @ model.coef_ - y) / n
        after = penalties.elastic_net(0.3, l1_ratio).prox(jnp.asarray(w - 0.1 * gradient), 0.1)
        np.testing.assert_allclose(after, w, atol=1e-8)
        np.testing.assert_array_equal(np.asarray(after) == 0, w == 0)
        assert 0 < np.sum(w == 0) < 8


@pytest.mark.parametrize(
    "penalty",
    [lambda s: penalties.l1(s), lambda s: penalties.elastic_net(s, 0.4), lambda s: penalties.log_sum(s, 0.3)],
)
def test_strength_max_is_where_zero_stops_being_a_fixed_point(penalty):
    gradient = {"kernel": jnp.array([[0.5, -1.25]]), "bias": jnp.array([9.0])}
    start = jax.tree.map(jnp.zeros_like, gradient)
    smallest = float(penalty(1.0).strength_max(gradient))
    step = 1e-3  # small, so that a nonconvex penalty counts where it is near 0
    for factor, stays in ((1.001, True), (0.999, False)):
        after = penalty(smallest * factor).prox(jax.tree.map(lambda w, g: w - step * g, start, gradient), step)
        assert bool(jnp.all(after["kernel"] == 0)) == stays
    assert not penalties.l2(1.0).has_strength_max
    assert penalties.elastic_net(1.0, 0.0).strength_max(gradient) == jnp.inf


def test_a_box_projects_16_bit_parameters_inside():
    w = jnp.array([-3.0, 0.1, 3.0], jnp.bfloat16)
    penalty = penalties.box(-0.3, 0.3)
    assert penalty.value(w) == jnp.inf
    assert penalty.value(penalty.prox(w, 1.0)) == 0
    assert penalties.non_negative().value({"kernel": w[1:], "bias": w}) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: penalties.elastic_net(1.0, 1.5), r"l1_ratio must lie in \[0, 1\], got 1.5"),
        (lambda: penalties.huber(1.0, 0.0), r"delta must lie in \(0, inf\), got 0.0"),
        (lambda: penalties.mcp(1.0, -1.0), r"gamma must lie in \(0, inf\), got -1.0"),
        (lambda: penalties.scad(1.0, 1.0), r"gamma must lie in \(1, inf\), got 1.0"),
        (lambda: penalties.log_sum(1.0, 0.0), r"eps must lie in \(0, inf\), got 0.0"),
        (lambda: penalties.l0(-1.0), r"strength must lie in \[0, inf\), got -1.0"),
        (lambda: penalties.box(1.0, -1.0), r"lower must be at most upper, got 1.0 and -1.0"),
    ],
)
def test_a_wrong_number_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
