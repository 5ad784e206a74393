"""Ties, references, sharing, and sums of penalties: their prox against SciPy's minimizer, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

import regopt
from regopt import penalties

PARAMS = {
    "first": {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.5, -1.0])},
    "second": {"kernel": jnp.array([[0.5, 1.0], [-1.5, 2.0]]), "bias": jnp.array([2.0, 0.0])},
    "last": jnp.array([1.0, -4.0, 2.0]),
}
COUNT = sum(x.size for x in jax.tree.leaves(PARAMS))


def flat(params):
    return np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(params)])


def unflat(vector):
    return jax.flatten_util.ravel_pytree(jax.tree.map(lambda w: jnp.asarray(w, jnp.float64), PARAMS))[1](vector)


def scipy_prox(value, steps):
    """Over positive and negative parts, where ``value`` of entries and of their sizes is smooth enough."""
    w = flat(PARAMS)

    @jax.jit
    @jax.value_and_grad
    def objective(parts):
        u = parts[:COUNT] - parts[COUNT:]
        return jnp.sum((u - w) ** 2 / (2 * steps)) + value(unflat(u), unflat(parts[:COUNT] + parts[COUNT:]))

    start = np.concatenate([np.maximum(w, 0), np.maximum(-w, 0)]) + 1e-3
    options = {"maxiter": 5000, "maxfun": 10_000, "ftol": 0, "gtol": 1e-10}
    best = minimize(objective, start, jac=True, bounds=[(0, None)] * 2 * COUNT, method="L-BFGS-B", options=options)
    return best.x[:COUNT] - best.x[COUNT:]


def steps_of(kind):
    """One step, one for each layer, one for each entry; as a tree and as a vector."""
    rng = np.random.default_rng(0)
    tree = {
        "one": jax.tree.map(lambda w: 0.7, PARAMS),
        "layers": {"first": {"kernel": 0.7, "bias": 0.2}, "second": {"kernel": 1.3, "bias": 0.4}, "last": 0.9},
        "entries": jax.tree.map(lambda w: jnp.asarray(rng.uniform(0.2, 2, w.shape)), PARAMS),
    }[kind]
    vector = flat(jax.tree.map(lambda w, s: np.broadcast_to(np.asarray(s), w.shape), PARAMS, tree))
    return (0.7 if kind == "one" else tree), vector


def square(w):
    return jnp.sum(w**2) / 2


def norm(w, axis=None):
    return jnp.sum(jnp.sqrt(jnp.sum(w**2, axis=axis) + 1e-20))


def weights(tree):
    return tree["first"]["kernel"], tree["second"]["kernel"], tree["last"]


REFERENCE = jax.tree.map(lambda w: np.asarray(w, np.float64) / 3 - 0.2, PARAMS)
SUMS = {  # the penalty; its value from the entries and their sizes, another way; for which steps to check the prox
    "tie": (
        lambda: penalties.tie("first", "second", 0.8),
        lambda u, _: 0.8
        * (square(u["first"]["kernel"] - u["second"]["kernel"]) + square(u["first"]["bias"] - u["second"]["bias"])),
        "entries",
    ),
    "l2_sp": (
        lambda: penalties.l2_sp(REFERENCE, 0.8),
        lambda u, _: 0.8 * sum(square(a - b) for a, b in zip(weights(u), weights(REFERENCE), strict=True)),
        "layers",
    ),
    "two squares and entries": (
        lambda: penalties.total(penalties.l2(0.5, mask=None), penalties.l1(0.6), penalties.l2_sp(REFERENCE, 0.8)),
        lambda u, size: 0.5 * sum(square(x) for x in jax.tree.leaves(u))
        + 0.6 * sum(jnp.sum(x) for x in weights(size))
        + 0.8 * sum(square(a - b) for a, b in zip(weights(u), weights(REFERENCE), strict=True)),
        "one entries",
    ),
    "a norm and the square of a part": (
        lambda: penalties.total(penalties.l2(1.5, mask={"first": True, "second": False, "last": False}),
                                penalties.l2_norm(0.9)),
        lambda u, size: 1.5 * (square(u["first"]["kernel"]) + square(u["first"]["bias"]))
        + 0.9 * norm(jnp.concatenate([jnp.ravel(x) for x in weights(size)])),
        "one entries",
    ),
    "entries, groups and all": (
        lambda: penalties.total(penalties.l2_norm(0.3), penalties.group_lasso(0.4), penalties.l1(0.2)),
        lambda u, size: 0.2 * sum(jnp.sum(x) for x in weights(size))
        + 0.4 * (norm(size["first"]["kernel"], 0) + norm(size["second"]["kernel"], 0) + jnp.sum(size["last"]))
        + 0.3 * norm(jnp.concatenate([jnp.ravel(x) for x in weights(size)])),
        "layers",
    ),
    "entries and groups": (
        lambda: penalties.total(penalties.group_lasso(0.4), penalties.l1(0.2)),
        lambda u, size: 0.2 * sum(jnp.sum(x) for x in weights(size))
        + 0.4 * (norm(size["first"]["kernel"], 0) + norm(size["second"]["kernel"], 0) + jnp.sum(size["last"])),
        "entries",
    ),
    "on different leaves": (
        lambda: penalties.total(
            penalties.exclusive_lasso(
                0.4, mask={"first": {"kernel": True, "bias": False}, "second": False, "last": False}
            ),
            penalties.l1(0.6, mask={"first": False, "second": False, "last": True}),
        ),
        lambda u, size: 0.2 * jnp.sum(jnp.sum(size["first"]["kernel"], axis=0) ** 2) + 0.6 * jnp.sum(size["last"]),
        "entries",
    ),
    "a multiple": (
        lambda: penalties.scaled(penalties.l1({"first": 0.2, "second": 0.3, "last": 0.4}), 2.5),
        lambda u, size: 2.5 * sum(s * jnp.sum(x) for s, x in zip((0.2, 0.3, 0.4), weights(size), strict=True)),
        "layers",
    ),
}  # fmt: skip
CELLS = [(name, kind) for name, (_, _, kinds) in SUMS.items() for kind in kinds.split()]


@pytest.mark.parametrize(("name", "kind"), CELLS)
def test_the_prox_is_what_scipy_finds(name, kind):
    make, formula, _ = SUMS[name]
    step, vector = steps_of(kind)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float64), PARAMS)
        penalty = make()
        assert penalty.value(params) == pytest.approx(float(formula(params, jax.tree.map(jnp.abs, params))), rel=1e-9)
        found = jax.jit(penalty.prox)(params, step)
        expected = scipy_prox(formula, vector)
    np.testing.assert_allclose(flat(found), expected, atol=2e-5)  # SciPy at kinks


def test_the_fused_lasso_is_variation_and_then_entries():
    """SciPy's SLSQP with slack variables for both absolute values."""
    y = np.random.default_rng(1).normal(size=8) * 2
    with jax.enable_x64(True):
        penalty = penalties.total(penalties.l1(0.3), penalties.total_variation(0.7))
        found = np.asarray(jax.jit(penalty.prox)(jnp.asarray(y), 0.8))

    def objective(v):
        return np.sum((v[:8] - y) ** 2) / 2 + 0.8 * (0.7 * np.sum(v[8:15]) + 0.3 * np.sum(v[15:]))

    gradient = np.concatenate([np.zeros(8), np.full(7, 0.56), np.full(8, 0.24)])
    edges = np.concatenate([np.diff(np.eye(8), axis=0), np.eye(8)])
    bounds = np.block([[-edges, np.eye(15)], [edges, np.eye(15)]])
    best = minimize(
        objective,
        np.concatenate([y, np.abs(edges @ y)]),
        jac=lambda v: np.concatenate([v[:8] - y, np.zeros(15)]) + gradient,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda v: bounds @ v, "jac": lambda v: bounds},
        options={"maxiter": 500, "ftol": 1e-15},
    )
    np.testing.assert_allclose(found, best.x[:8], atol=1e-6)
    assert np.sum(found == 0) >= 1
    assert np.sum(np.diff(found) == 0) >= 2


def test_a_sum_that_has_no_known_prox_says_so():
    groups, entries = penalties.group_lasso(0.4), penalties.l1(0.2)
    everywhere = jnp.ones((2, 2))
    for penalty, step, words in (
        (penalties.total(penalties.huber(), entries), 1.0, "is not known:"),
        (penalties.total(groups, penalties.group_lasso(0.1, axis=-1)), 1.0, "is not known:"),
        (penalties.total(groups, penalties.total_variation()), 1.0, "is not known:"),
        (penalties.total(groups, penalties.l2_norm()), everywhere, "is not known for a step for each entry:"),
        (penalties.total(entries, penalties.total_variation()), everywhere, "is not known for a step for each entry:"),
    ):
        with pytest.raises(ValueError, match=f'{words} give them masks without common leaves, or use how="gradient"'):
            penalty.prox(everywhere, step)
    assert not penalties.total(entries, penalties.orthogonality()).has_prox
    with pytest.raises(ValueError, match="total needs at least one penalty"):
        penalties.total()


def test_value_mask_and_strength_max_of_a_sum():
    gradient = jax.tree.map(lambda w: w / 2, PARAMS)
    one, other = penalties.l1(0.3, mask={"first": False, "second": False, "last": True}), penalties.l2(0.4)
    both = penalties.total(other, one)
    assert both.value(PARAMS) == pytest.approx(float(one.value(PARAMS) + other.value(PARAMS)))
    assert both.mask(PARAMS) == penalties.l1().mask(PARAMS)
    assert penalties.total(one, penalties.l2(mask=None)).mask(PARAMS)["first"]["bias"]
    assert jax.jit(both.strength_max)(gradient) == 2.0
    assert not penalties.total(penalties.l1(), penalties.l1()).has_strength_max
    pulled = penalties.total(one, penalties.l2_sp(jax.tree.map(lambda w: 5.0, PARAMS), 2.0))
    assert jax.jit(pulled.strength_max)(gradient) == 2 * 5 + 2.0  # the pull at zero is -10 everywhere
    multiple = penalties.scaled(one, 0.5)
    assert multiple.strength_max(gradient) == 4.0
    assert penalties.scaled(one, 0.0).strength_max(gradient) == jnp.inf
    assert penalties.scaled(penalties.l1(), 3.0).has_projection


def test_an_integer_step_is_a_number_too():
    np.testing.assert_allclose(penalties.scaled(penalties.l1(0.25), 0.5).prox(jnp.array([1.0]), 1), [0.875])


def test_a_proximal_step_of_a_sum_gives_exact_zeros():
    penalty = penalties.total(penalties.l1(0.5), penalties.l2(0.1), penalties.group_lasso(0.2))
    optimizer = regopt.regularize(regopt.adam(0.1), penalty, "proximal")
    params, state = {"kernel": jnp.array([[0.3, 1.0], [-0.2, 0.01]])}, None
    target = jnp.array([[0.05, 3.0], [0.0, -0.1]])
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        grads = jax.grad(lambda p: jnp.sum((p["kernel"] - target) ** 2) / 2)(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(200):
        params, state = step(params, state)
    np.testing.assert_array_equal(params["kernel"] == 0, [[True, False], [True, True]])
    # stationary: 3 - w = 0.5 + 0.2 + 0.1 w
    np.testing.assert_allclose(params["kernel"][0, 1], 2.3 / 1.1, rtol=1e-2)


def test_from_separate_to_tied():
    apart = penalties.tie("first/kernel", lambda p: p["second"]["kernel"], 0.0).prox(PARAMS, 1.0)
    np.testing.assert_array_equal(apart["second"]["kernel"], PARAMS["second"]["kernel"])
    one = penalties.tie("first/kernel", "second/kernel", 1e8).prox(PARAMS, 1.0)
    mean = (PARAMS["first"]["kernel"] + PARAMS["second"]["kernel"]) / 2
    np.testing.assert_allclose(one["first"]["kernel"], mean, rtol=1e-6)
    np.testing.assert_allclose(one["second"]["kernel"], mean, rtol=1e-6)
    np.testing.assert_array_equal(one["first"]["bias"], PARAMS["first"]["bias"])
    mask = penalties.tie("0/w", "1/w").mask([{"w": jnp.ones(1), "v": jnp.ones(1)}, {"w": jnp.ones(1)}])
    assert mask == [{"w": True, "v": False}, {"w": True}]


def test_the_gradient_of_shared_parameters_is_the_sum():
    """Goodfellow et al. (2016), section 7.9; ``targets`` have none and keep their values."""

    def loss(params):
        hidden = jnp.tanh(params["first"]["kernel"] @ jnp.array([1.0, 2.0]) + params["first"]["bias"])
        return jnp.sum(jnp.sin(params["second"]["kernel"] @ hidden + params["second"]["bias"]) * jnp.array([1.0, 3.0]))

    shared = jax.grad(lambda params: loss(penalties.share(params, "first", "second")))(PARAMS)
    places = jax.grad(loss)(penalties.share(PARAMS, "first", "second"))
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(shared["first"][name], places["first"][name] + places["second"][name], rtol=1e-6)
        np.testing.assert_array_equal(shared["second"][name], 0)
        assert not np.allclose(shared["first"][name], places["first"][name])
    three = penalties.share([jnp.ones(2), jnp.zeros(2), jnp.zeros(2, jnp.bfloat16)], "0", "1", "2")
    assert [float(x[0]) for x in three] == [1, 1, 1]
    assert three[2].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: penalties.tie("first", "third").value(PARAMS), "'third' must be a path.*there is no 'third'"),
        (lambda: penalties.tie("first", "last").value(PARAMS), "'first' and 'last' must have the same structure"),
        (lambda: penalties.tie("first/bias", "last").value(PARAMS), r"the same shapes, got \(\(2,\), \(3,\)\)"),
        (lambda: penalties.tie("first", "first").value(PARAMS), "no two the same"),
        (lambda: penalties.share(PARAMS, "first", "last/0"), "'last/0' must be a path.*there is no '0'"),
        (
            lambda: penalties.l2_sp(jnp.ones(2)).value(jnp.ones(3)),
            r"^reference must be .* shape \(3,\), got",
        ),
        (lambda: penalties.tie("a", "b", -1.0), r"strength must lie in \[0, inf\), got -1.0"),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_square_with_a_strength_for_each_entry_shortens_each_step():
    weights = jnp.array([0.0, 9.0])
    penalty = penalties.total(penalties.l1(0.5), penalties.l2(weights))
    np.testing.assert_allclose(penalty.prox(jnp.ones(2), 1.0), [0.5, 0.05], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(penalty.prox)(jnp.ones(2), jnp.float32(1.0)), [0.5, 0.05], rtol=1e-6)
    fused = penalties.total(penalties.total_variation(0.3), penalties.l1(jnp.array([0.1, 0.7])))
    with pytest.raises(ValueError, match="not known for a strength for each entry"):
        fused.prox(jnp.ones(2), 1.0)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (lambda: penalties.l2_norm(jnp.ones(2)), r"^strength must be a number in \[0, inf\), got Array"),
        (lambda: penalties.l2_norm({"first": 1.0}), r"^strength must be a number"),
        (lambda: penalties.tie("first", "last", jnp.ones(2)), r"^strength must be a number"),
        (lambda: penalties.scaled(penalties.l1(), jnp.ones(2)), r"^factor must be a number"),
        (
            lambda: penalties.nuclear(jnp.ones((2, 3))),
            r"^strength must be one number for a leaf of shape \(2, 3\), got",
        ),
        (lambda: penalties.total_variation(jnp.ones((2, 3))), r"^strength must be one number for a leaf of shape"),
        (lambda: penalties.exclusive_lasso(jnp.ones((1, 3))), r"^strength must be one number for a leaf of shape"),
        (
            lambda: penalties.group_lasso(jnp.ones((2, 3))),
            r"^strength must be one .*, or an array of shape \(1, 3\), got",
        ),
        (lambda: penalties.sparse_group_lasso(0.5, jnp.ones((1, 3))), r"^l1_ratio must be one number for a leaf"),
        (lambda: penalties.l1(lambda count: 0.1), r"is a schedule, so it has no value without a count"),
        (lambda: penalties.box({"a": lambda count: 0.1}), r"is a schedule, so it has no value without a count"),
        (lambda: penalties.l2_norm(lambda count: 0.1), r"is a schedule, so it has no value without a count"),
        (
            lambda: penalties.l1(jnp.ones(3)),
            r"^strength must be one .*, or an array of shape \(2, 3\), got shape \(3,\)",
        ),
        (lambda: penalties.box(jnp.ones((2, 1)), 2.0), r"^lower must be one number .* got shape \(2, 1\)"),
        (lambda: penalties.box({"a": 2.0}, {"a": 1.0}), r"^lower must be at most upper, got 2.0 and 1.0"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(penalty, message):
    with pytest.raises(ValueError, match=message):
        penalty().value({"a": jnp.ones((2, 3))})


def test_a_strength_for_each_group():
    w, weights = np.array([[3.0, 0.3], [4.0, -0.4]]), np.array([[1.0, 9.0]])
    with jax.enable_x64(True):
        norms, sizes = np.array([[5.0, 0.5]]), np.array([[7.0, 0.7]])
        sparse = penalties.sparse_group_lasso(weights, 0.25)
        np.testing.assert_allclose(
            sparse.value(jnp.asarray(w)), (weights * (0.25 * sizes + 0.75 * norms)).sum(), rtol=1e-12
        )
        groups = penalties.group_lasso(0.1 * weights)
        np.testing.assert_allclose(groups.value(jnp.asarray(w)), 0.1 * (weights * norms).sum(), rtol=1e-12)
        expected = w * np.maximum(1 - 0.05 * weights / norms, 0)
        np.testing.assert_allclose(groups.prox(jnp.asarray(w), 0.5), expected, rtol=1e-12)


def test_the_operators_of_tuples_are_refused_with_the_function_to_take():
    first, second = penalties.l1(0.1), penalties.l2(0.1)
    for add in (lambda: first + second, lambda: sum([first, second])):
        with pytest.raises(TypeError, match=r"penalties.total\(first, second\)"):
            add()
    for multiply in (lambda: 2 * first, lambda: first * 0.5):
        with pytest.raises(TypeError, match=r"penalties.scaled\(penalty, factor\)"):
            multiply()


def test_exchanged_arguments_of_a_multiple_are_named():
    for factor in (2.0, lambda count: 0.1):
        with pytest.raises(ValueError, match="penalty must be a penalty"):
            penalties.scaled(factor, penalties.l1(0.1))


def test_the_terms_of_a_multiple_have_that_multiple_of_the_strength():
    w = jnp.ones((3, 2))
    ((term,),) = penalties.scaled(penalties.group_lasso(0.5), 2.5).terms(w)
    assert (term.strength, term.axes) == (1.25, (0,))
    assert penalties.scaled(penalties.Penalty(lambda w: jnp.sum(w**2)), 2.5).terms is None
