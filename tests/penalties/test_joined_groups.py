"""Groups over several leaves: values and proximal operators of concatenated vectors, in NumPy and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import brentq

import regopt
from regopt import penalties

HEADS = {"*/q": 1, "*/k": 1, "*/v": 1, "*/o": 0}


def attention(seed=0):
    """Two blocks with four heads of width 2 in a model of width 5."""
    rng = np.random.default_rng(seed)
    sizes = {name: np.array([2.0, 0.1, 1.0, 0.3]) for name in "qkvo"}
    return {
        block: {
            name: rng.normal(size=(4, 2, 5) if name == "o" else (5, 4, 2))
            * sizes[name].reshape((4, 1, 1) if name == "o" else (1, 4, 1))
            for name in "qkvo"
        }
        | {"scale": rng.normal(size=5)}
        for block in ("b0", "b1")
    }


def head(tree, block, h):
    """All entries of a head as one vector."""
    part = tree[block]
    return np.concatenate([np.ravel(np.asarray(part[n])[:, h]) for n in "qkv"] + [np.ravel(np.asarray(part["o"])[h])])


def reference(w, reach, l1=0.0):
    """``argmin_u sum_i (u_i - w_i)**2 / (2 reach_i) + |u|_2 + l1 |u|_1`` by bisection for the norm."""
    reach = np.broadcast_to(reach, w.shape)
    w = np.sign(w) * np.maximum(np.abs(w) - reach * l1, 0)

    def excess(n):
        return np.sum((w / (n + reach)) ** 2) - 1

    if excess(0.0) <= 0:
        return np.zeros_like(w)
    n = brentq(excess, 0.0, np.linalg.norm(w), xtol=1e-15, rtol=1e-14)
    return w * n / (n + reach)


def check_heads(penalty, strength, steps, weight=1.0, l1_ratio=0.0):
    """The prox of each head, for a step or a tree of steps."""
    params = attention()
    spread = jax.tree.map(lambda w, s: np.broadcast_to(s, w.shape), params, steps)
    after = penalty.prox(params, steps)
    dead = 0
    for block in ("b0", "b1"):
        for h in range(4):
            share = strength * (1 - l1_ratio) * weight
            expected = reference(head(params, block, h), share * head(spread, block, h), strength * l1_ratio / share)
            np.testing.assert_allclose(head(after, block, h), expected, rtol=1e-9, atol=1e-12)
            dead += np.all(expected == 0)
            assert np.all(head(after, block, h) == 0) == np.all(expected == 0)
        np.testing.assert_array_equal(after[block]["scale"], params[block]["scale"])
    assert 0 < dead < 8


def spread_steps(kind):
    rng = np.random.default_rng(1)
    if kind == "one":
        return jax.tree.map(lambda _: 0.7, attention())
    if kind == "by leaf":
        return jax.tree.map(lambda _: rng.uniform(0.3, 1.5), attention())
    return jax.tree.map(lambda w: rng.uniform(0.3, 1.5, w.shape), attention())


@pytest.mark.parametrize("kind", ["one", "by leaf", "by entry"])
def test_the_prox_is_that_of_the_concatenated_heads(kind):
    with jax.enable_x64(True):
        check_heads(penalties.group_lasso(2.0, groups=HEADS), 2.0, spread_steps(kind))
        penalty = penalties.group_lasso(0.4, groups=HEADS, weighted=True)
        check_heads(penalty, 0.4, spread_steps(kind), weight=np.sqrt(40))
        penalty = penalties.sparse_group_lasso(1.5, 0.2, groups=HEADS)
        check_heads(penalty, 1.5, spread_steps(kind), l1_ratio=0.2)


def test_a_number_as_a_step_and_the_value():
    with jax.enable_x64(True):
        params, penalty = attention(), penalties.group_lasso(2.0, groups=HEADS)
        norms = [np.linalg.norm(head(params, block, h)) for block in ("b0", "b1") for h in range(4)]
        np.testing.assert_allclose(penalty.value(params), 2 * np.sum(norms), rtol=1e-12)
        after = penalty.prox(params, 0.7)
        expected = penalty.prox(params, jax.tree.map(lambda _: 0.7, params))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), after, expected)
        np.testing.assert_allclose(penalty.strength_max(params), max(norms), rtol=1e-12)
        sizes = [np.abs(head(params, block, h)).sum() for block in ("b0", "b1") for h in range(4)]
        mixed = penalties.sparse_group_lasso(2.0, 0.3, groups=HEADS, weighted=True)
        value = 2 * (0.3 * np.sum(sizes) + 0.7 * np.sqrt(40) * np.sum(norms))
        np.testing.assert_allclose(mixed.value(params), value, rtol=1e-12)
        largest = float(mixed.strength_max(params))
        for strength, zero in ((largest * 1.001, True), (largest * 0.999, False)):
            after = penalties.sparse_group_lasso(strength, 0.3, groups=HEADS, weighted=True).prox(params, 1.0)
            assert all(np.all(head(after, block, h) == 0) for block in ("b0", "b1") for h in range(4)) == zero


def test_a_unit_with_its_bias_and_outgoing_weights():
    rng = np.random.default_rng(2)
    params = {"in": {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)}, "out": rng.normal(size=(4, 2))}
    params["in"]["kernel"][:, 1] *= 0.1
    params["in"]["bias"][1] = params["out"][1, 0] = 0.1
    params["out"][1, 1] = 0.0
    groups = {"in/kernel": 1, "in/bias": 0, "out": 0}
    with jax.enable_x64(True):
        after = penalties.group_lasso(1.0, groups=groups).prox(params, 0.5)
        for unit in range(4):
            joined = [
                np.concatenate([t["in"]["kernel"][:, unit], t["in"]["bias"][unit : unit + 1], t["out"][unit]])
                for t in (params, after)
            ]
            np.testing.assert_allclose(joined[1], reference(joined[0], 0.5), rtol=1e-9)
        assert np.all(after["in"]["kernel"][:, 1] == 0)
        assert np.all(after["in"]["kernel"][:, 0] != 0)


def test_groups_by_index():
    """Two query heads share a key, and heads lie side by side in one kernel."""
    rng = np.random.default_rng(3)
    params = {"q": rng.normal(size=(3, 4)), "k": rng.normal(size=(2, 3)), "packed": rng.normal(size=6)}
    groups = {"q": (-1, [0, 0, 1, 1]), "k": 0, "packed": (0, [1, 0, 1, 0, 1, 1])}
    with jax.enable_x64(True):
        penalty = penalties.group_lasso(0.8, groups=groups, weighted=True)
        steps = jax.tree.map(lambda w: rng.uniform(0.3, 1.5, w.shape), params)
        after, value = penalty.prox(params, steps), 0.0
        for g, (columns, entries) in enumerate((([0, 1], [1, 3]), ([2, 3], [0, 2, 4, 5]))):

            def vector(t, columns=columns, entries=entries, g=g):
                return np.concatenate([np.ravel(t["q"][:, columns]), t["k"][g], t["packed"][np.array(entries)]])

            weight = np.sqrt(len(vector(params)))
            value += 0.8 * weight * np.linalg.norm(vector(params))
            expected = reference(vector(params), 0.8 * weight * vector(steps))
            np.testing.assert_allclose(vector(after), expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(penalty.value(params), value, rtol=1e-12)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_the_groups_of_many_indices_may_be_given_as_an_array(array):
    rng = np.random.default_rng(5)
    ids = np.append(rng.integers(0, 7, 40), 8)  # not sorted, of different sizes, and group 7 is empty
    params = {"w": rng.normal(size=(2, 41))}
    with jax.enable_x64(True):
        penalty = penalties.group_lasso(0.8, groups={"w": (1, array(ids))})
        after = jax.jit(penalty.prox)(params, 0.5)["w"]
    for group in (0, 1, 2, 3, 4, 5, 6, 8):
        expected = reference(params["w"][:, ids == group].ravel(), 0.4)
        np.testing.assert_allclose(after[:, ids == group].ravel(), expected, rtol=1e-9, atol=1e-12)


def test_training_in_adams_metric_ends_at_the_solution():
    """The slope of the loss is -strength w_g / |w_g|, or at most the strength where w_g is 0."""
    rng = np.random.default_rng(4)
    x, groups = rng.normal(size=(60, 8)), {"a": 1, "b": 0}
    y = x @ np.array([1.0, 0.1, 0.0, 0.8, 0.05, 0.02, 1.0, -0.7])

    def loss(params):
        return jnp.mean((x @ jnp.concatenate([params["a"].ravel(), params["b"].ravel()]) - y) ** 2) / 2

    with jax.enable_x64(True):
        optimizer = regopt.regularize(regopt.adam(0.01), penalties.group_lasso(0.3, groups=groups), "proximal")
        start = {"a": jnp.full((1, 4), 0.3), "b": jnp.full((4, 1), 0.3)}

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        params = jax.lax.scan(step, (start, optimizer.init(start)), length=4000)[0][0]
        w = np.concatenate([params["a"], params["b"].T])
        slope = np.concatenate([jax.grad(loss)(params)["a"], jax.grad(loss)(params)["b"].T])
        norms = np.linalg.norm(w, axis=0)
        kept = norms > 0
        assert 0 < kept.sum() < 4
        np.testing.assert_allclose(slope[:, kept], -0.3 * w[:, kept] / norms[kept], atol=1e-7)
        assert np.linalg.norm(slope[:, ~kept], axis=0).max() <= 0.3


def test_lanes_slopes_strengths_and_dtypes():
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), attention())

    def after(strength):
        return penalties.group_lasso(strength, groups=HEADS).prox(params, 0.5)

    lanes = jax.jit(jax.vmap(after))(jnp.array([0.5, 2.0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-5, atol=1e-6), lanes, after(2.0))
    slope = jax.grad(lambda s: penalties.group_lasso(s, groups=HEADS).value(jax.tree.map(jnp.zeros_like, params)))(1.0)
    assert slope == 0
    by_layer = penalties.group_lasso({"b0/**": 0.0, "b1/**": jnp.array([0.0, 9.0, 0.0, 0.0])}, groups=HEADS)
    found = by_layer.prox(params, 1.0)
    np.testing.assert_allclose(found["b0"]["q"], params["b0"]["q"])
    assert [np.all(head(found, "b1", h) == 0) for h in range(4)] == [False, True, False, False]
    half = jax.tree.map(lambda w: w.astype(jnp.bfloat16), params)
    assert {w.dtype.name for w in jax.tree.leaves(penalties.group_lasso(1.0, groups=HEADS).prox(half, 0.5))} == {
        "bfloat16"
    }


def test_the_table_and_the_mask_name_the_leaves():
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2), "other": jnp.ones((2, 2))}
    penalty = penalties.group_lasso(0.5, groups={"kernel": 1, "bias": 0})
    assert penalty.mask(params) == {"kernel": True, "bias": True, "other": False}
    assert str(penalties.explain(params, penalty)).splitlines()[1:] == [
        "bias    (2,)    yes                                       0.5       () with kernel",
        "kernel  (3, 2)  yes                                       0.5       (0,) with bias",
        "other   (2, 2)  no, left out by the mask or the strength",
    ]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"*/q": 1, "*/k": 0}, "joins 'b0/k' with 5 groups and 'b0/q' with 4"),
        ({"*/q": 3}, r"groups has axis 3 for 'b0/q', which has shape \(5, 4, 2\)"),
        ({"*/query": 1}, r"matches nothing, '\*/query'; the nearest paths are"),
        ({"*/q": (1, [0, 0, 1])}, "must number each of the 4 indices of 'b0/q', got 3 numbers"),
        ([{"*/q": 1}, {"b0/q": 1}], "groups has 'b0/q' twice"),
    ],
)
def test_groups_that_do_not_fit_are_named(groups, message):
    penalty = penalties.group_lasso(0.5, groups=groups)
    with pytest.raises(ValueError, match=message):
        penalty.value(attention())


@pytest.mark.parametrize(
    "groups", ["heads", {}, [], {"q": "1"}, {"q": True}, {"q": (1, [0.5])}, {"q": (1, [-1, 0])}, {1: 1}]
)
def test_wrong_kinds_of_groups_are_refused_at_once(groups):
    with pytest.raises(ValueError, match="groups must map path patterns to an axis"):
        penalties.group_lasso(0.5, groups=groups)


def test_what_groups_leaves_no_room_for():
    for given in ({"axis": 0}, {"unit_axis": 1}, {"mask": None}):
        with pytest.raises(ValueError, match=f"so {next(iter(given))} must be left out"):
            penalties.group_lasso(0.5, groups=HEADS, **given)
    with pytest.raises(ValueError, match="strength must be one number for the leaves of one group, b0/q, b0/k"):
        penalties.group_lasso({"*/q": 0.5, "**": 1.0}, groups=HEADS).value(attention())
    sums = penalties.total(penalties.group_lasso(0.5, groups=HEADS), penalties.l1(0.1))
    with pytest.raises(ValueError, match="the prox of this sum of penalties on the same parameters is not known"):
        sums.prox(attention(), 1.0)
    squared = penalties.total(penalties.group_lasso(0.5, groups=HEADS), penalties.l2(0.1, mask=None))
    assert np.all(np.isfinite(squared.prox(attention(), 1.0)["b0"]["q"]))
