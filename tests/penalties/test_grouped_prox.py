"""Penalties on groups: values from formulas, prox by SciPy's minimizer and the laws, also in a diagonal metric."""

from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from regopt import penalties
from regopt.penalties import _norms
from regopt.penalties._norms import shrink_by_coordinate
from support import prox_laws
from support.prox_laws import penalty_case, strength

RATIO = st.floats(0, 1, width=32)


def doubled(strength):
    return {"strength": 2 * strength}


def same(strength):
    return {"strength": strength}


CASES = [
    penalty_case("l2 norm", penalties.l2_norm, {"strength": strength}, doubled),
    penalty_case("groups", penalties.group_lasso, {"strength": strength}, doubled),
    penalty_case(
        "rows", lambda strength: penalties.group_lasso(strength, axis=-1, weighted=True), {"strength": strength}
    ),
    penalty_case("sparse groups", penalties.sparse_group_lasso, {"strength": strength, "l1_ratio": RATIO}),
    penalty_case("exclusive", penalties.exclusive_lasso, {"strength": strength}, same),
    penalty_case(
        "exclusive leaf",
        lambda strength: penalties.exclusive_lasso(strength, axis=None),
        {"strength": strength},
        same,
    ),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", prox_laws.DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@prox_laws.settings
@hypothesis.given(st.data())
def test_laws(case, dtype, data):
    prox_laws.check(case, dtype, data)


def norms(w, axis):
    return jnp.sqrt((w**2).sum(axis) + 1e-24)  # smooth at 0, for SciPy's sake


FORMULAS = [
    (penalties.l2_norm(0.7), lambda w: 0.7 * norms(w, None)),
    (penalties.group_lasso(0.7), lambda w: 0.7 * norms(w, 0).sum()),
    (penalties.group_lasso(0.7, axis=-1, weighted=True), lambda w: 0.7 * 2.0 * norms(w, 1).sum()),
    (penalties.group_lasso(0.7, axis=None), lambda w: 0.7 * norms(w, None)),
    (penalties.sparse_group_lasso(0.7, 0.4), lambda w: 0.7 * (0.4 * jnp.abs(w).sum() + 0.6 * norms(w, 0).sum())),
    (penalties.exclusive_lasso(0.7, axis=1), lambda w: 0.35 * (jnp.abs(w).sum(1) ** 2).sum()),
]


@pytest.mark.parametrize(("penalty", "formula"), FORMULAS)
@pytest.mark.parametrize("steps", [0.6, np.geomspace(0.05, 3.0, 12).reshape(3, 4)], ids=["step", "steps"])
def test_the_prox_is_what_scipy_finds(penalty, formula, steps):
    """Over the positive and the negative parts of the entries, where every penalty is smooth but at zero groups."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        w = jnp.asarray(rng.normal(size=(3, 4)) * np.array([0.3, 1.0, 2.0, 0.05]))
        assert penalty.value(w) == pytest.approx(float(formula(w)), rel=1e-13)
        found = jax.jit(penalty.prox)(w, jnp.asarray(steps))

        def objective(parts):
            parts = parts.reshape(2, 3, 4)
            u = parts[0] - parts[1]
            size = parts[0] + parts[1]  # |u| at the optimum, and smooth
            return jnp.sum((u - w) ** 2 / (2 * jnp.asarray(steps))) + formula(size)

        start = jnp.stack([jnp.maximum(w, 0), jnp.maximum(-w, 0)]).ravel() + 1e-3
        best = minimize(
            jax.jit(jax.value_and_grad(objective)),
            np.asarray(start),
            jac=True,
            bounds=[(0, None)] * 24,
            method="L-BFGS-B",
            options={"maxiter": 5000, "maxfun": 10_000, "ftol": 0, "gtol": 1e-9},
        )
        ours = float(objective(jnp.stack([jnp.maximum(found, 0), jnp.maximum(-found, 0)]).ravel()))
    assert -1e-9 <= best.fun - ours <= 1e-5  # a group at 0 is a kink, where SciPy stops early
    np.testing.assert_allclose(
        best.x[:12].reshape(3, 4) - best.x[12:].reshape(3, 4), found, atol=0.008
    )  # sqrt(2 steps 1e-5)


@pytest.mark.parametrize("reach", [1e-6, 1e-4, 1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_weighted_group_ends_at_the_root_to_rounding(dtype, reach):
    """n with |w / (n + reach)| = 1 as SciPy's bracketing finds it: without, with short and with Newton's steps."""
    rng = np.random.default_rng(0)
    w = (rng.normal(size=(40, 30)) * 10.0 ** rng.uniform(-2, 1, 30)).astype(dtype)
    steps = (reach * np.exp(rng.normal(size=w.shape))).astype(dtype)
    with jax.enable_x64(dtype is np.float64):
        prox = penalties.group_lasso(1.0).prox
        found = np.asarray(prox(jnp.asarray(w), jnp.asarray(steps)), np.float64)
        for unit in (2.0**-20, 2.0**20):  # a power of two changes no rounding
            in_unit = prox(jnp.asarray(w * dtype(unit)), jnp.asarray(steps * dtype(unit)))
            np.testing.assert_array_equal(np.asarray(in_unit, np.float64), found * unit)
    w, steps = w.astype(np.float64), steps.astype(np.float64)
    for group in range(30):
        x, r = w[:, group], steps[:, group]
        if np.linalg.norm(x / r) <= 1:
            assert (found[:, group] == 0).all()
            continue
        n = brentq(lambda n, x=x, r=r: np.linalg.norm(x / (n + r)) - 1, 0, np.linalg.norm(x), xtol=1e-300, rtol=1e-15)
        room = 4 * np.finfo(dtype).eps * (1 + r.max() / n)  # n itself is worse conditioned where it is small
        np.testing.assert_allclose(found[:, group], x * n / (n + r), rtol=2 * room)


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_the_root_lies_between_the_two_interpolations(spread):
    """The secant of a concave function passes its root from the left, that of the convex one does not reach it."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=50)
    w /= np.linalg.norm(w)
    reach = 0.1 * np.exp(spread * rng.normal(size=50))

    def f(n):
        return 1 / np.linalg.norm(w / (n + reach))

    root, point = brentq(lambda n: f(n) - 1, 0, 1, xtol=1e-15), 2 - f(1)
    secant = (1 - point) * (1 - f(point)) / (f(1) - f(point))
    with jax.enable_x64(True):
        given = (jnp.asarray(each) for each in (1.0, f(1), point, True))
        _, _, after, _ = _norms._interpolate((jnp.asarray(w),), (jnp.asarray(reach),), jnp.ones(()), None, *given)
    after = float(after)
    assert 0.5 < point < after <= root < point + secant


@pytest.mark.parametrize(("reach", "spread", "passes"), [(1e-4, 1.0, 1), (0.4, 0.05, 3)])
def test_a_weighted_group_takes_few_passes_and_ends_at_the_root(monkeypatch, reach, spread, passes):
    """An error of n moves the prox by at most ``sqrt(1 - n)`` times it, less than a rounding error for a weak group.

    For a strong one, of which less than half stays, the error of a secant is about the product of the distances to its
    two points, so the second of them ends where the first has come close.
    """
    calls, f = [], _norms._f
    monkeypatch.setattr(_norms, "_f", lambda *arguments: calls.append(0) or f(*arguments))
    rng = np.random.default_rng(0)
    w = (rng.normal(size=50) / 10).astype(np.float32)
    steps = (reach * np.exp(spread * rng.normal(size=50))).astype(np.float32)
    with jax.disable_jit():  # so that every pass is a call
        (found,) = shrink_by_coordinate((jnp.asarray(w),), (jnp.asarray(steps),))
    assert len(calls) == passes
    x, r = w.astype(np.float64), steps.astype(np.float64)
    n = brentq(lambda n: np.linalg.norm(x / (n + r)) - 1, 0, np.linalg.norm(x), xtol=1e-15)
    assert (n < np.linalg.norm(x) / 2) == (passes > 1)
    np.testing.assert_allclose(found, x * n / (n + r), rtol=4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("w", [[2.0], [1.0, -1.0, 1.0, 1.0], [0.0, -4.0]])
def test_a_weighted_group_at_its_reach_is_exactly_zero(w):
    w = jnp.array(w)  # of a norm without a rounding error
    (after,) = shrink_by_coordinate((w,), (jnp.full_like(w, jnp.linalg.norm(w)),))
    np.testing.assert_array_equal(after, 0)


def test_an_empty_leaf_changes_nothing_in_a_weighted_group():
    w, steps, none = jnp.array([0.3, -2.0, 1.0]), jnp.array([0.1, 0.5, 2.0]), jnp.zeros((0, 2))
    penalty = penalties.l2_norm(0.7)
    after = penalty.prox({"kernel": w, "none": none}, {"kernel": steps, "none": none})
    assert after["none"].shape == (0, 2)
    np.testing.assert_array_equal(after["kernel"], penalty.prox({"kernel": w}, {"kernel": steps})["kernel"])
    assert penalty.prox({"none": none}, {"none": none})["none"].shape == (0, 2)


@pytest.mark.parametrize("size", [1e19, 1e25, 1e38])
@pytest.mark.parametrize("reaches", [(0.1, 0.1), (0.2, 1e-6)])
def test_a_weighted_group_whose_squares_overflow_has_the_prox_of_a_small_one(reaches, size):
    def prox(size):
        given = (jnp.float32(size * np.array(each)[None]) for each in ((0.3, 0.4), reaches))
        return np.asarray(*shrink_by_coordinate(*((each,) for each in given), (1,)), np.float64) / size

    np.testing.assert_allclose(prox(size), prox(1.0), rtol=1e-6)


def test_a_group_is_zero_as_a_whole_or_not_at_all():
    w = jax.random.normal(jax.random.key(0), (5, 40))
    after = np.asarray(penalties.group_lasso(0.5).prox(w, 4.0))
    zero = (after == 0).all(axis=0)
    assert 0 < zero.sum() < 40
    assert (after[:, ~zero] != 0).all()
    np.testing.assert_array_equal(zero, np.linalg.norm(w, axis=0) <= 2.0)


@pytest.mark.parametrize("axis", [-1, (0, 1, 2), None, "incoming"])
def test_moreau_identity_of_norms(axis):
    """prox of a sum of norms plus projection of each group onto the ball of that radius is the identity."""
    w = np.random.default_rng(3).normal(size=(2, 3, 2, 4))
    axes = {-1: (3,), None: (0, 1, 2, 3), "incoming": (0, 1, 2)}.get(axis, axis)
    size = np.sqrt((w**2).sum(axes, keepdims=True))
    projected = w * np.minimum(1, 1.5 / size)
    with jax.enable_x64(True):
        after = penalties.group_lasso(0.5, axis=axis).prox(jnp.asarray(w), 3.0)
    np.testing.assert_allclose(np.asarray(after) + projected, w, rtol=1e-12, atol=1e-12)


def test_the_norm_is_over_all_penalised_leaves_together():
    params = {"kernel": jnp.array([3.0]), "other": jnp.array([4.0]), "bias": jnp.array([100.0])}
    penalty = penalties.l2_norm(0.5)
    assert penalty.value(params) == pytest.approx(2.5)
    after = penalty.prox(params, 2.0)
    np.testing.assert_allclose([after["kernel"][0], after["other"][0], after["bias"][0]], [2.4, 3.2, 100.0], rtol=1e-6)
    by_layer = penalty.prox(params, {"kernel": 2.0, "other": 2.0, "bias": 2.0})
    np.testing.assert_allclose(by_layer["other"], 3.2, rtol=1e-6)
    assert penalties.l2_norm(0.5).value({"bias": jnp.ones(2)}) == 0
    assert penalties.l2_norm(0.5).prox({"bias": jnp.ones(2)}, 1.0)["bias"][0] == 1


def test_a_coordinate_with_step_0_stays():
    w, steps = jnp.array([1.0, 0.1, 0.2]), jnp.array([0.0, 5.0, 5.0])
    for penalty in (penalties.group_lasso(1.0, axis=None), penalties.exclusive_lasso(1.0, axis=None)):
        after = penalty.prox(w, steps)
        assert after[0] == 1
        assert jnp.all(jnp.abs(after[1:]) < w[1:])


def test_limits_of_one_penalty_in_another():
    w = jnp.array([[1.5, -0.25], [0.5, 0.0]])
    pairs = [
        (penalties.sparse_group_lasso(0.5, 1.0), penalties.l1(0.5)),
        (penalties.sparse_group_lasso(0.5, 0.0), penalties.group_lasso(0.5)),
        (penalties.exclusive_lasso(0.5, axis=()), penalties.l2(0.5)),
        (penalties.group_lasso(0.5, axis=()), penalties.l1(0.5)),
        (penalties.group_lasso(0.5, axis=None), penalties.l2_norm(0.5)),
    ]
    for one, other in pairs:
        np.testing.assert_allclose(one.prox(w, 0.75), other.prox(w, 0.75), rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.35, 1.0])
def test_strength_max_is_where_zero_stops_being_a_fixed_point(l1_ratio, weighted):
    gradient = jnp.asarray(np.random.default_rng(4).normal(size=(6, 3)))

    def make(s):
        return penalties.sparse_group_lasso(s, l1_ratio, weighted=weighted)

    smallest = make(1.0).strength_max(gradient)
    assert np.all(make(smallest * 1.0001).prox(-gradient, 1.0) == 0)
    assert not np.all(make(smallest * 0.9999).prox(-gradient, 1.0) == 0)
    if l1_ratio == 0:
        group = penalties.group_lasso(1.0, weighted=weighted).strength_max(gradient)
        np.testing.assert_allclose(smallest, group, rtol=1e-5)
    assert make(1.0).strength_max(0 * gradient) == 0
    assert not penalties.exclusive_lasso(1.0).has_strength_max


@pytest.mark.parametrize("groups", [None, {"w": 1}])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.9999])
def test_a_compiled_strength_max_of_almost_the_l1_norm_is_not_lost_to_rounding(l1_ratio, groups):
    grads = np.random.default_rng(0).normal(size=(8, 7, 1)).astype(np.float32)
    make = partial(penalties.sparse_group_lasso, 1.0, l1_ratio, groups=groups)
    found = jax.jit(jax.vmap(lambda g: make().strength_max({"w": g})))(grads)
    largest = np.abs(grads).max((1, 2))  # the penalty is at most |w|_1 and at least l1_ratio |w|_1
    assert np.all(found >= largest * (1 - 1e-6))
    assert np.all(found <= largest / l1_ratio * (1 + 1e-6))


def test_an_axis_that_a_leaf_lacks_is_named():
    with pytest.raises(ValueError, match=r"axis must fit every penalised leaf, got 2 for a leaf of shape \(3,\)"):
        penalties.group_lasso(1.0, axis=2).value(jnp.ones(3))


@pytest.mark.parametrize("make", [penalties.group_lasso, penalties.sparse_group_lasso, penalties.exclusive_lasso])
def test_a_leaf_without_penalty_needs_no_such_axis(make):
    w, bias = jnp.array([[3.0, -4.0], [0.3, 0.4]]), jnp.array([0.5, -0.5])
    penalty = make(1.0, axis=1)
    assert penalty.value({"kernel": w, "bias": bias}) == penalty.value(w)
    moved = penalty.prox({"kernel": w, "bias": bias}, 1.0)
    np.testing.assert_array_equal(moved["kernel"], penalty.prox(w, 1.0))
    np.testing.assert_array_equal(moved["bias"], bias)


def test_a_unit_axis_that_nothing_uses_is_refused():
    for factory in (penalties.group_lasso, penalties.sparse_group_lasso, penalties.exclusive_lasso):
        for axis in (0, (0, 1), None):
            with pytest.raises(ValueError, match='unit_axis is for axis="incoming"'):
                factory(0.1, axis=axis, unit_axis=1)
        params = {"first": jnp.arange(6.0).reshape(2, 3), "second": jnp.ones((2, 3))}
        mixed = factory(0.1, axis={"sec*": 0}, unit_axis=0)  # the first leaf is left to it
        assert [terms[0].axes for terms in mixed.terms(params)] == [(1,), (0,)]
