"""Proximal steps and projections after an optimizer's step: solutions of the regularised problem, rules by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Lasso

import regopt
from regopt import layers, losses, penalties, projections, transforms
from regopt._core.types import Penalty
from regopt.solvers import lasso_path

STRENGTHS = (0.05, 0.2)


def decaying(rate):
    return lambda count: rate / (1 + count / 2000)


SOLVERS = {  # each with its learning rate and the steps it takes
    "sgd": (regopt.sgd, 0.2, 2000),
    "heavy_ball": (lambda r: regopt.heavy_ball(r, 0.9), 0.05, 2000),
    "nesterov": (lambda r: regopt.nesterov(r, 0.9), 0.05, 1500),
    "ema_momentum": (lambda r: regopt.ema_momentum(r, 0.9), 0.2, 2000),
    "adagrad": (regopt.adagrad, 0.3, 2000),
    "rmsprop": (regopt.rmsprop, 0.01, 4000),
    "rmsprop_nesterov": (lambda r: regopt.rmsprop_nesterov(r, 0.9, 0.5), 0.005, 3000),
    "adam": (regopt.adam, 0.01, 4000),
    "adam, decaying": (regopt.adam, decaying(0.01), 6000),
    "nadam": (regopt.nadam, 0.01, 4000),
    "amsgrad": (regopt.amsgrad, 0.01, 3000),
    "adamax": (regopt.adamax, 0.01, 4000),
    "adadelta": (regopt.adadelta, 0.2, 4000),
    "centered rmsprop": (lambda r: regopt.rmsprop(r, 0.9, 0.01, centered=True), 0.002, 4000),
}


@functools.cache
def diabetes():
    x, y = load_diabetes(return_X_y=True)
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


@functools.cache
def lassos():
    """The optimum of the lasso on ``diabetes`` at each of ``STRENGTHS``; call it in 64 bit."""
    path = lasso_path(*map(jnp.asarray, diabetes()))
    return [path.at(strength) for strength in STRENGTHS]


def solve(optimizer, steps, loss, start):
    """The model and the state after so many steps."""

    def step(carry, _):
        w, state = carry
        grads = jax.grad(loss)(regopt.evaluation_params(w, state))
        updates, state = optimizer.update(grads, state, w)
        return (optax.apply_updates(w, updates), state), None

    w, state = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[0]
    return regopt.final_params(w, state), state


@pytest.mark.parametrize("name", SOLVERS)
def test_proximal_steps_end_at_the_lasso(name):
    """From a start with no zeros, two strengths in one program; the optimum is certified by the path's own knots."""
    make, rate, steps = SOLVERS[name]
    with jax.enable_x64(True):
        x, y = map(jnp.asarray, diabetes())

        def loss(w):
            return jnp.mean((x @ w - y) ** 2) / 2

        def train(strength):
            optimizer = regopt.regularize(make(rate), penalties.l1(strength), "proximal")
            return solve(optimizer, steps, loss, jnp.full(10, 0.5))

        found, states = jax.jit(jax.vmap(train))(jnp.array(STRENGTHS))
        zeros_after = optax.tree.get(states, "zeros")
        for strength, best, w, zeros in zip(STRENGTHS, lassos(), found, zeros_after, strict=True):
            excess = loss(w) + strength * jnp.abs(w).sum() - loss(best) - strength * jnp.abs(best).sum()
            assert -1e-12 <= excess <= 1e-6
            np.testing.assert_array_equal(np.asarray(w) == 0, np.asarray(best) == 0)
            assert int(zeros) == np.sum(np.asarray(best) == 0) > 0


def by_hand(name, grads, start, rate, strength):
    """The papers' rules in NumPy: a step, then the prox with the step of each coordinate."""
    w, s, r, x, v, total = start.copy(), 0.0, 0.0, 0.0, 0.0, 0.0
    b1, b2, eps = 0.8, 0.95, 1e-3
    for t, g in enumerate(grads, 1):
        s = b1 * s + (1 - b1) * g
        r = {"adagrad": r + g**2, "adamax": np.maximum(b2 * r, np.abs(g))}.get(name, b2 * r + (1 - b2) * g**2)
        x = np.maximum(x, r) if name == "amsgrad" else x
        step = rate(t - 1) * np.ones_like(w)
        total = b1 * total + (1 - b1)  # of the weights in s
        direction, weight = g, 1.0  # the weight of all gradients in the direction
        if name == "adam":
            step, direction = step / (np.sqrt(r / (1 - b2**t)) + eps), s / (1 - b1**t)
        if name == "nadam":
            ahead = b1 * s / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
            step, direction = step / (np.sqrt(r / (1 - b2**t)) + eps), ahead
            weight = b1 * total / (1 - b1 ** (t + 1)) + (1 - b1) / (1 - b1**t)
        if name == "amsgrad":
            step, direction, weight = step / (np.sqrt(x) + eps), s, total
        if name == "adamax":
            step, direction = step / (r + eps), s / (1 - b1**t)
        if name == "adagrad":
            step = step / (np.sqrt(r) + eps)
        if name == "rmsprop":
            step = step / np.sqrt(r + eps)
        if name == "adadelta":
            ratio = np.sqrt(x + eps) / np.sqrt(r + eps)
            step, x = step * ratio, b2 * x + (1 - b2) * (ratio * g) ** 2
        moved = w - step * direction + b1 * v
        reach = step * weight * strength
        after = np.sign(moved) * np.maximum(np.abs(moved) - reach, 0)
        v = after - w if name == "heavy_ball" else 0.0  # the inertia is that of the iterates
        w = after
    return w


BY_HAND = {
    "sgd": regopt.sgd,
    "heavy_ball": lambda r: regopt.heavy_ball(r, 0.8),
    "adagrad": lambda r: regopt.adagrad(r, 1e-3),
    "rmsprop": lambda r: regopt.rmsprop(r, 0.95, eps_root=1e-3),
    "adadelta": lambda r: regopt.adadelta(r, 0.95, 1e-3),
    "adam": lambda r: regopt.adam(r, 0.8, 0.95, 1e-3),
    "nadam": lambda r: regopt.nadam(r, 0.8, 0.95, 1e-3),
    "amsgrad": lambda r: regopt.amsgrad(r, 0.8, 0.95, 1e-3),
    "adamax": lambda r: regopt.adamax(r, 0.8, 0.95, 1e-3),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_sixty_steps_are_those_of_the_papers(name):
    """Changing gradients, tiny and zero ones among them; a rate by layer, one a schedule; a strength by layer."""
    rng = np.random.default_rng(0)
    sizes = {"first": np.array([1.0, 1.0, 1e-5, 0.0]), "last": np.array([3.0, 0.1])}
    grads = {layer: (0.5 + rng.normal(size=(60, size.size))) * size for layer, size in sizes.items()}
    start = {"first": np.array([1.0, -0.3, 0.7, 0.5]), "last": np.array([-2.0, 0.25])}
    rates = {"first": lambda count: 0.05 / (1 + 1.0 * count / 20.0), "last": lambda count: 0.01}
    strengths = {"first": 0.3, "last": 0.02}
    with jax.enable_x64(True):
        learning_rate = {"first": lambda count: rates["first"](count.astype(jnp.float64)), "last": 0.01}
        optimizer = regopt.regularize(BY_HAND[name](learning_rate), penalties.l1(strengths), "proximal")
        params = jax.tree.map(jnp.asarray, start)
        state, update = optimizer.init(params), jax.jit(optimizer.update)
        for t in range(60):
            updates, state = update(jax.tree.map(lambda g, t=t: jnp.asarray(g[t]), grads), state, params)
            params = optax.apply_updates(params, updates)
        for layer, w in params.items():
            expected = np.asarray(by_hand(name, grads[layer], start[layer], rates[layer], strengths[layer]))
            np.testing.assert_allclose(w, expected, rtol=1e-12, atol=1e-14)
            np.testing.assert_array_equal(np.asarray(w) == 0, expected == 0)


def mlp_problem():
    model = {
        "first": {"kernel": jax.random.normal(jax.random.key(0), (8, 6)) / 3, "bias": jnp.zeros(8)},
        "last": {"kernel": jax.random.normal(jax.random.key(1), (1, 8)) / 3, "bias": jnp.zeros(1)},
    }
    x = jax.random.normal(jax.random.key(2), (64, 6))
    y = jnp.sin(2 * x[:, :1])

    def loss(params):
        hidden = jnp.tanh(x @ params["first"]["kernel"].T + params["first"]["bias"][None])
        return jnp.mean((hidden @ params["last"]["kernel"].T + params["last"]["bias"][None] - y) ** 2)

    return model, loss


@pytest.mark.parametrize("make", [regopt.adam, lambda r: regopt.heavy_ball(r, 0.9)], ids=["adam", "heavy_ball"])
def test_a_network_gets_exact_zeros_and_the_state_reports_them(make):
    params, loss = mlp_problem()
    optimizer = regopt.regularize(make(0.01), penalties.l1(0.02), "proximal")
    after, state = jax.jit(lambda: solve(optimizer, 300, loss, params))()
    zeros = {name: sum(int(jnp.sum(layer[name] == 0)) for layer in after.values()) for name in ("kernel", "bias")}
    assert 20 < zeros["kernel"] < 56
    assert zeros["bias"] == 0
    assert state.zeros == zeros["kernel"]
    assert state.count == 300
    smallest = min(float(jnp.min(jnp.abs(w), where=w != 0, initial=1.0)) for w in jax.tree.leaves(after))
    assert smallest > jnp.finfo(jnp.float32).tiny  # no denormals
    assert loss(after) < loss(params) / 2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=lambda d: d.__name__)
def test_zero_is_zero_in_every_dtype(dtype):
    """params + (z - params) would miss a z of 0 by a rounding."""
    params = {"w": jnp.linspace(-0.37, 0.41, 60).astype(dtype)}
    grads = {"w": jnp.linspace(0.9, -0.6, 60).astype(dtype)}
    optimizer = regopt.regularize(regopt.sgd(0.3), penalties.l1(0.8), "proximal")
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    after = optax.apply_updates(params, updates)["w"]
    moved = np.asarray(params["w"], np.float64) - 0.3 * np.asarray(grads["w"], np.float64)
    assert after.dtype == dtype
    np.testing.assert_array_equal(after == 0, np.abs(moved) <= 0.3 * 0.8)
    assert state.zeros == np.sum(np.asarray(after) == 0) > 10


def test_without_strength_the_optimizer_is_itself():
    """To the rounding of one addition, and bit by bit where a mask leaves a leaf alone."""
    params, loss = mlp_problem()
    grads = jax.grad(loss)(params)
    plain = regopt.adam(0.01)
    optimizer = regopt.regularize(plain, penalties.l1(0.0), "proximal")
    state, inner = optimizer.init(params), plain.init(params)
    for _ in range(3):
        updates, state = optimizer.update(grads, state, params)
        expected, inner = plain.update(grads, inner, params)
        for layer, own in updates.items():
            np.testing.assert_array_equal(own["bias"], expected[layer]["bias"])
            w = params[layer]["kernel"]
            np.testing.assert_array_max_ulp(w + own["kernel"], w + expected[layer]["kernel"], 1)


AROUND = {
    "a chain": lambda o: optax.chain(optax.clip_by_global_norm(1e6), o),
    "a guard": lambda o: regopt.guard(o, 1e6),
    "a mask": lambda o: optax.chain(
        optax.masked(o, lambda p: jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", p)),
        optax.masked(o, lambda p: jax.tree.map_with_path(lambda path, _: path[-1].key == "bias", p)),
    ),
    "a partition": lambda o: optax.partition(
        {"kernel": o, "bias": o}, lambda p: jax.tree.map_with_path(lambda path, _: path[-1].key, p)
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    "make", [regopt.adam, lambda r: regopt.nesterov(r, 0.9, explicit_point=True)], ids=["adam", "nesterov"]
)
def test_the_metric_and_the_velocity_are_found_behind_wrappers(around, make):
    """And a guard around the proximal step, skipping a bad gradient, leaves parameters and state alone."""
    params, loss = mlp_problem()
    penalty = penalties.l1(0.02, mask=None)
    plain = regopt.regularize(make(0.01), penalty, "proximal")
    wrapped = regopt.regularize(AROUND[around](make(0.01)), penalty, "proximal")
    expected, _ = jax.jit(lambda: solve(plain, 20, loss, params))()
    found, _ = jax.jit(lambda: solve(wrapped, 20, loss, params))()
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # float32 in another order of operations
        np.testing.assert_array_equal(a == 0, b == 0)
    guarded = regopt.guard(plain)
    state = guarded.init(params)
    updates, after = guarded.update(jax.tree.map(lambda w: w * jnp.nan, params), state, params)
    moved = optax.apply_updates(params, updates)
    jax.tree.map(np.testing.assert_array_equal, (moved, after.inner), (params, state.inner))


def test_a_clip_around_a_proximal_step_is_refused_and_one_inside_ends_at_the_lasso():
    random = np.random.default_rng(0)
    x = random.standard_normal((100, 5))
    y = x @ np.array([1.0, -2.0, 0.0, 0.0, 3.0]) + 0.1 * random.standard_normal(100)
    expected = Lasso(alpha=0.5, fit_intercept=False, tol=1e-12).fit(x, y).coef_
    x, y, start = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), jnp.zeros(5)
    penalty = penalties.l1(0.5, mask=None)
    inside = regopt.regularize(regopt.guard(regopt.sgd(0.1), 0.1), penalty, "proximal")
    found, _ = jax.jit(lambda: solve(inside, 5000, lambda w: jnp.mean((x @ w - y) ** 2) / 2, start))()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    around = regopt.guard(optax.chain(regopt.regularize(regopt.sgd(0.1), penalty, "proximal")), 0.1)
    with pytest.raises(ValueError, match="put the guard inside, regularize"):
        around.init(start)
    regopt.guard(regopt.regularize(regopt.sgd(0.1), penalty, "proximal")).init(start)


def test_a_step_for_each_coordinate_is_a_weighted_prox():
    params = {"a": jnp.array([2.0, -0.5, 1.0]), "c": jnp.array([[4.0, 4.0]])}
    steps = {"a": jnp.array([1.0, 2.0, 0.5]), "c": 3.0}
    after = penalties.l1(0.5).prox(params, steps)
    np.testing.assert_allclose(after["a"], [1.5, 0.0, 0.75])
    np.testing.assert_allclose(penalties.l2(0.5).prox(params, steps)["c"], 4 / 2.5, rtol=1e-6)
    np.testing.assert_allclose(after["c"], 2.5)


def test_group_penalties_in_adams_metric_end_at_their_solution():
    """Optimality of the group lasso: the gradient is -strength w_g / |w_g|, or at most the strength where w_g is 0."""
    with jax.enable_x64(True):
        x, y = map(jnp.asarray, diabetes())
        targets = jnp.stack([y, x[:, 2] - 0.3 * y], 1)
        penalty = penalties.group_lasso(0.15, axis=-1)  # a group for each input

        def loss(w):
            return jnp.sum((x @ w - targets) ** 2) / (2 * len(x))

        optimizer = regopt.regularize(regopt.adam(0.01), penalty, "proximal")
        w, _ = jax.jit(lambda: solve(optimizer, 4000, loss, jnp.full((10, 2), 0.3)))()
        slopes, norms = np.asarray(jax.grad(loss)(w)), np.linalg.norm(w, axis=1)
        assert 0 < np.sum(norms == 0) < 10
        kept = norms > 0
        np.testing.assert_allclose(slopes[kept], -0.15 * np.asarray(w)[kept] / norms[kept][:, None], atol=1e-8)
        assert np.linalg.norm(slopes[~kept], axis=1).max() <= 0.15


@pytest.mark.parametrize("make", [regopt.sgd, lambda r: regopt.heavy_ball(r, 0.9)], ids=["sgd", "heavy_ball"])
def test_a_constraint_ends_at_the_constrained_solution(make):
    """The lasso with a strength is least squares in the l1 ball of its own solution's size."""
    with jax.enable_x64(True):
        x, y = map(jnp.asarray, diabetes())
        best = lasso_path(x, y).at(0.1)

        def train(radius):
            optimizer = regopt.regularize(make(0.05), penalties.l1(), "constraint", radius=radius)
            return solve(optimizer, 3000, lambda w: jnp.mean((x @ w - y) ** 2) / 2, jnp.zeros(10))

        found, state = jax.jit(train)(jnp.abs(best).sum())
        np.testing.assert_allclose(found, best, atol=1e-8)
        np.testing.assert_array_equal(found == 0, best == 0)
        assert 0 < state.active < state.count == 3000
        _, free = jax.jit(train)(1e3)
        assert free.active == 0


def test_any_projection_is_a_constraint_and_its_activity_is_counted():
    optimizer = regopt.regularize(
        regopt.sgd(1.0), how="constraint", constraint=lambda w: projections.projection_max_norm(w, 2.0, unit_axis=0)
    )
    params = {"kernel": jnp.array([[1.5, 0.0], [0.0, 0.5]]), "bias": jnp.array([9.0, 9.0])}
    state = optimizer.init(params)
    active = []
    for size in (0.25, 2.0, 0.1, -1.0):
        grads = {"kernel": jnp.array([[-size, 0.0], [0.0, 0.0]]), "bias": jnp.array([-1.0, 0.0])}
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        active.append(int(state.active))
    assert active == [0, 1, 2, 2]
    np.testing.assert_allclose(params["kernel"], [[1.0, 0.0], [0.0, 0.5]], rtol=1e-6)
    np.testing.assert_array_equal(params["bias"], [13.0, 9.0])


def test_an_nnx_network_in_a_sweep_of_strengths():
    """Lanes of one program; a stronger penalty leaves fewer weights."""
    from regopt import sweep
    from regopt.data import Splits

    x = jax.random.normal(jax.random.key(5), (96, 4))
    y = x[:, :1]
    task = sweep.supervised(
        model=lambda h, rngs: layers.MLP((4, 8, 1), rngs=rngs),
        loss=losses.squared_error,
        optimizer=lambda h: regopt.regularize(regopt.adam(0.01), penalties.l1(h["strength"]), "proximal"),
    )
    space = {"strength": sweep.choice([0.0, 0.01, 1.0])}
    data = Splits((x[:64], y[:64]), (x[64:], y[64:]))
    result = sweep.run(task, sweep.grid(space), data, steps=60, eval_every=60, batch_size=32)
    counts = []
    for setting in range(3):
        weights = [w for w in jax.tree.leaves(result.state(setting).params) if w.ndim == 2]
        counts.append(sum(int(np.sum(np.asarray(w) == 0)) for w in weights))
    assert counts[0] == 0 < counts[1] < counts[2] == 40


def test_errors_say_what_to_pass():
    penalty, bare = penalties.l1(0.1), Penalty(lambda w: jnp.sum(w), None, lambda w: True)
    cases = [
        (
            lambda: regopt.regularize(regopt.sgd(0.1), bare, "proximal"),
            'no prox: use how="gradient"',
        ),
        (
            lambda: regopt.regularize(regopt.sgd(0.1), penalty, "proximal", learning_rate=0.1),
            'how="proximal" takes no learning_rate: the step of the prox is read from the optimizer',
        ),
        (lambda: regopt.regularize(regopt.sgd(0.1), penalty, learning_rate=0.1), 'how="gradient" takes no learning'),
        (lambda: regopt.regularize(regopt.sgd(0.1), penalty, radius=1.0), 'how="gradient" takes no radius'),
        (
            lambda: regopt.regularize(regopt.sgd(0.1), penalty, "proximal", constraint=lambda w: w),
            'how="proximal" takes no constraint: it is for how="constraint"',
        ),
        (
            lambda: regopt.regularize(regopt.sgd(0.1), penalty, "constraint", constraint=lambda w: w),
            "a penalty with a radius, or a projection as constraint, not both",
        ),
        (lambda: regopt.regularize(regopt.sgd(0.1), how="proximal"), 'how="proximal" needs a penalty'),
        (lambda: regopt.regularize(regopt.sgd(0.1), penalty, "constraint"), "needs either a radius"),
        (lambda: regopt.regularize(regopt.sgd(0.1), bare, "constraint", radius=1.0), "no projection"),
        (
            lambda: regopt.regularize(regopt.sgd(0.1), penalty, "constraint", radius=-1.0),
            r"radius must lie in \[0, inf\)",
        ),
        (
            lambda: regopt.regularize(regopt.sgd(0.1), penalty, "decoupled", learning_rate=-0.1),
            r"learning_rate must lie in \[0, inf\), got -0.1",
        ),
    ]
    for make, message in cases:
        with pytest.raises(ValueError, match=message):
            make()
    for optimizer in (
        regopt.regularize(regopt.sgd(0.1), penalty, "proximal"),
        regopt.regularize(regopt.sgd(0.1), penalty, "constraint", radius=1.0),
    ):
        with pytest.raises(ValueError, match="needs the parameters"):
            optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


@pytest.mark.parametrize(
    ("optimizer", "how", "named"),
    [
        (regopt.lion(0.1), "proximal", "this one takes the sign of the gradient"),
        (optax.signum(0.1), "proximal", "remembers a step that is not linear in the gradient: it takes the sign"),
        (optax.chain(optax.clip(1.0), optax.rmsprop(0.1)), "proximal", "clips the entries of the gradient"),
        (optax.chain(transforms.centralize(unit_axis=0), regopt.sgd(0.1)), "proximal", "mixes the coordinates"),
        (regopt.newton(), "proximal", "evaluates the loss itself"),
        (regopt.bfgs(), "constraint", "evaluates the loss itself"),
        (regopt.sam(regopt.sgd(0.1)), "proximal", "a point beside it"),
        (
            regopt.sam(regopt.sgd(0.1), explicit_point=True),
            "proximal",
            "takes the gradient or keeps the model elsewhere",
        ),
        (regopt.average_params(regopt.sgd(0.1)), "constraint", "AverageParams takes the gradient or keeps the model"),
        (regopt.lookahead(regopt.sgd(0.1)), "proximal", "the points that the optimizer keeps"),
        (
            optax.chain(regopt.nesterov(0.1, 0.9, explicit_point=True), optax.scale(0.5)),
            "proximal",
            "nothing that scales the updates behind",
        ),
        (regopt.schedule_free_sgd(0.1), "proximal", "the points that the optimizer keeps"),
        (regopt.schedule_free_adamw(0.1), "constraint", "the points that the optimizer keeps"),
        (regopt.guard(regopt.schedule_free_sgd(0.1)), "decoupled", "the points that the optimizer keeps"),
        (optax.contrib.schedule_free_sgd(0.1), "decoupled", "the points that the optimizer keeps"),
    ],
)
def test_what_would_solve_another_problem_is_refused(optimizer, how, named):
    options = {"radius": 1.0} if how == "constraint" else {}
    wrapped = regopt.regularize(optimizer, penalties.l1(0.5), how, **options)
    with pytest.raises(ValueError, match=named):
        wrapped.init(jnp.ones((3, 2)))


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.noisy_sgd(0.1, key=jax.random.key(0)), regopt.adam(0.1)])
def test_what_goes_with_a_proximal_step_is_not_refused(optimizer):
    state = regopt.regularize(optimizer, penalties.l1(0.5), "proximal").init(jnp.ones(3))
    assert (int(state.count), int(state.zeros)) == (0, 0)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (3, 3, 2, 4)])
def test_parameters_may_be_spread_over_an_explicit_mesh(shape):
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))

    def box(params):
        return projections.projection_box(params, -0.5, 0.5)

    spread = NamedSharding(mesh, PartitionSpec(*[None] * (len(shape) - 1), "x"))
    for how, options in (("proximal", {}), ("constraint", {"constraint": box})):
        penalty = None if how == "constraint" else penalties.l1(0.5)
        optimizer = regopt.regularize(regopt.adam(0.1), penalty, how, **options)
        with jax.sharding.set_mesh(mesh):
            params = jax.device_put(jnp.ones(shape), spread)
            updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
        alone, _ = optimizer.update(jnp.ones(shape), optimizer.init(jnp.ones(shape)), jnp.ones(shape))
        np.testing.assert_allclose(updates, alone, rtol=1e-6)


def test_a_penalty_does_not_get_lost_beside_residuals():
    optimizer = regopt.regularize(regopt.gauss_newton(), penalties.l2(1.0))
    params = jnp.zeros(2)
    with pytest.raises(ValueError, match="cannot put a penalty into residuals"):
        optimizer.update(params, optimizer.init(params), params, residual_fn=lambda w: w - 3)


@pytest.mark.parametrize("how", ["gradient", "decoupled", "proximal"])
def test_a_leaf_of_integers_is_refused_unless_it_is_left_out(how):
    params = {"w": jnp.ones(3), "table": jnp.arange(3)}
    options = {"learning_rate": 0.1} if how == "decoupled" else {}
    optimizer = regopt.regularize(regopt.sgd(0.1), penalties.l1(0.1, mask=None), how, **options)
    with pytest.raises(ValueError, match=r"must be floating arrays, got 'int32' at 'table': .* optax.partition"):
        optimizer.init(params)
    labels = {"w": "trained", "table": "kept"}
    parted = optax.partition({"trained": optimizer, "kept": optax.set_to_zero()}, labels)
    updates, _ = parted.update(jax.tree.map(jnp.zeros_like, params), parted.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.01, rtol=1e-5)
    np.testing.assert_array_equal(optax.apply_updates(params, updates)["table"], params["table"])


def test_what_is_no_array_is_refused_with_its_place():
    params = {"kernel": jnp.ones((2, 2)), "activation": jax.nn.relu}
    for optimizer in (regopt.adam(0.1), regopt.regularize(regopt.sgd(0.1), penalties.l1(0.1), "proximal")):
        with pytest.raises(ValueError, match=r"got .* at 'activation': of a module of equinox give eqx.filter"):
            optimizer.init(params)


def test_complex_parameters_are_refused_without_naming_an_optimizer_that_is_there_already():
    optimizer = regopt.regularize(regopt.sgd(0.1), penalties.l1(0.1), "proximal")
    with pytest.raises(ValueError, match=r"split_real_and_imaginary\(\.\.\.\)$"):
        optimizer.init({"w": jnp.ones(2, jnp.complex64)})
    with pytest.raises(ValueError, match=r"or use sgd, heavy_ball or nesterov$"):
        regopt.adam(0.1).init({"w": jnp.ones(2, jnp.complex64)})


def test_a_set_as_a_constraint_without_a_projection_is_told_the_way():
    with pytest.raises(ValueError, match='such as box, take how="proximal"'):
        regopt.regularize(regopt.sgd(0.1), penalties.box(0.0, 1.0), "constraint")


@pytest.mark.parametrize("how", ["gradient", "decoupled", "proximal", "constraint"])
def test_gradients_of_another_structure_or_shape_are_refused_in_one_line(how):
    given = {"radius": 0.5} if how == "constraint" else {"learning_rate": 0.1} if how == "decoupled" else {}
    optimizer = regopt.regularize(regopt.sgd(0.1), penalties.l1(0.1), how, **given)
    params = {"first": {"kernel": jnp.ones((2, 3))}, "second": jnp.ones(3)}
    state = optimizer.init(params)
    wrong = [
        ({"first": params["first"]}, "structure of the parameters: there is none for 'second'"),
        (params | {"third": jnp.ones(3)}, "structure of the parameters: there is no parameter 'third'"),
        (params | {"second": jnp.ones((3, 1))}, r"got \(3, 1\) for \(3,\) at 'second'"),
    ]
    for grads, message in wrong:
        with pytest.raises(ValueError, match=message) as refusal:
            optimizer.update(grads, state, params)
        assert "\n" not in str(refusal.value)


def test_a_second_proximal_step_around_the_first_is_told_to_be_a_sum():
    def ball(params):
        return projections.projection_l2_ball(params, 0.5)

    inner = [
        regopt.regularize(regopt.sgd(0.1), penalties.l1(0.1, mask={"a": True, "b": False}), "proximal"),
        regopt.regularize(regopt.sgd(0.1), how="constraint", constraint=ball),
    ]
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    for optimizer in inner:
        for outer in (
            regopt.regularize(optimizer, penalties.group_lasso(0.1, mask={"a": False, "b": True}), "proximal"),
            regopt.regularize(regopt.guard(optimizer), how="constraint", constraint=ball),
        ):
            with pytest.raises(ValueError, match=r"into one regularize\(optimizer, penalties.total\(first, second\)"):
                outer.init(params)


def test_a_prox_without_steps_by_leaf_is_refused_with_the_way_to_write_it():
    def prox(params, step):
        return jax.tree.map(lambda w: jnp.sign(w) * jnp.maximum(jnp.abs(w) - 0.1 * step, 0), params)

    penalty = Penalty(lambda params: jnp.float32(0), prox)
    optimizer = regopt.regularize(regopt.sgd(0.1), penalty, "proximal")
    optimizer.init(jnp.ones(3))  # a single array has a single step
    with pytest.raises(ValueError, match=r"fails with a step for each leaf, .*jax.tree.broadcast\(step, params\)"):
        optimizer.init({"w": jnp.ones(3)})
    mended = penalty._replace(
        prox=lambda params, step: jax.tree.map(
            lambda w, step: jnp.sign(w) * jnp.maximum(jnp.abs(w) - 0.1 * step, 0),
            params,
            jax.tree.broadcast(step, params),
        )
    )
    params = {"w": jnp.ones((3, 2)), "bias": jnp.full(2, 0.005)}
    optimizer = regopt.regularize(regopt.sgd(0.1), mended, "proximal")
    updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.01, rtol=1e-4)
    np.testing.assert_array_equal(params["bias"] + updates["bias"], 0.0)  # a penalty without a mask covers biases
    assert state.zeros == 2
