"""Averages, lookahead, schedule-free methods, SAM and accumulation: the papers' algorithms in NumPy, and optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import penalties, schedules

RNG = np.random.default_rng(11)
START = {"kernel": RNG.normal(size=(3, 2)), "bias": RNG.normal(size=2)}
SCALES = {"kernel": np.array([[0.1, 4.0], [1.0, 0.5], [2.0, 1e-5]]), "bias": np.array([0.0, 3.0])}
STEPS = 60


def slope(w, t):
    """An ill-conditioned bowl that shakes; one entry has gradients near 1e-5, one none at all."""
    return {
        name: SCALES[name] * (w[name] + 0.5 * np.sin(t + np.arange(w[name].size)).reshape(w[name].shape)) for name in w
    }


def trees(rule, *args):
    return {name: rule(*(arg[name] for arg in args)) for name in START}


def trajectory(optimizer, steps=STEPS, point=regopt.evaluation_params, model=lambda params, _: params, micro=1):
    """The model after each step, in float64; ``micro`` calls see one step's gradient at the point of each call."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        params = jax.tree.map(jnp.asarray, START)
        state = optimizer.init(params)
        update = jax.jit(optimizer.update)
        path = []
        for t in range(steps):
            for _ in range(micro):
                at = jax.tree.map(np.asarray, point(params, state))
                updates, state = update(jax.tree.map(jnp.asarray, slope(at, t)), state, params)
                params = optax.apply_updates(params, updates)
            path.append(jax.tree.map(np.asarray, model(params, state)))
        return path


def assert_same(ours, theirs, rtol=1e-11):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for name in START:
            np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=1e-14)


def differ(ours, theirs):
    return max(np.abs(a[name] - b[name]).max() for a, b in zip(ours, theirs, strict=True) for name in START)


def descent(rate=0.1):
    """Iterates of gradient descent in NumPy."""
    w, path = START, []
    for t in range(STEPS):
        w = trees(lambda w, g: w - rate * g, w, slope(w, t))
        path.append(w)
    return path


def test_without_decay_the_model_is_the_mean_of_all_iterates():
    ours = trajectory(regopt.average_params(regopt.sgd(0.1)), model=regopt.final_params)
    iterates = descent()
    means = [trees(lambda *ws: np.mean(ws, axis=0), *iterates[: t + 1]) for t in range(STEPS)]
    assert_same(ours, means)
    assert_same(trajectory(regopt.average_params(regopt.sgd(0.1))), iterates)  # the steps are the optimizer's


@pytest.mark.parametrize("decay", [0.0, 0.7, 0.99])
def test_with_decay_it_is_the_moving_average_with_its_bias_corrected(decay):
    ours = trajectory(regopt.average_params(regopt.sgd(0.1), decay), model=regopt.final_params)
    iterates = descent()
    expected, theirs = [], []
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        ema = optax.ema(decay, debias=True)
        state = ema.init(jax.tree.map(jnp.asarray, START))
        for t in range(STEPS):
            weights = decay ** np.arange(t, -1.0, -1.0)
            expected.append(trees(lambda *ws, c=weights: np.average(ws, axis=0, weights=c), *iterates[: t + 1]))
            mean, state = ema.update(jax.tree.map(jnp.asarray, iterates[t]), state)
            theirs.append(jax.tree.map(np.asarray, mean))
    assert_same(ours, expected)
    assert_same(ours, theirs, rtol=1e-9)


def test_before_the_first_step_the_average_is_the_start():
    params = jax.tree.map(jnp.float32, START)
    for optimizer in (regopt.average_params(regopt.sgd(0.1)), regopt.lookahead(regopt.sgd(0.1))):
        jax.tree.map(np.testing.assert_array_equal, regopt.final_params(params, optimizer.init(params)), params)


def test_an_average_in_bfloat16_moves_on():
    """Kept in bfloat16, it would lose c (w - a) to rounding from the two hundredth step on."""
    optimizer = regopt.average_params(regopt.sgd(1.0))
    w = jnp.zeros(2, jnp.bfloat16)
    state = optimizer.init(w)
    for t in range(400):
        updates, state = optimizer.update(jnp.full(2, -1.0 if t == 200 else 0.0, jnp.bfloat16), state, w)
        w = w + updates
    np.testing.assert_allclose(state.mean, 0.5, rtol=1e-5)
    assert regopt.final_params(w, state).dtype == jnp.bfloat16


@pytest.mark.parametrize(("period", "size"), [(5, 0.5), (3, 0.8), (1, 0.3)])
def test_lookahead_is_algorithm_1_and_optax(period, size):
    def fast_and_slow():
        fast, slow = [], []
        phi = theta = START
        for t in range(STEPS):
            theta = trees(lambda w, g: w - 0.1 * g, theta, slope(theta, t))
            if (t + 1) % period == 0:
                phi = theta = trees(lambda p, w: p + size * (w - p), phi, theta)
            fast.append(theta)
            slow.append(phi)
        return fast, slow

    fast, slow = fast_and_slow()
    optimizer = regopt.lookahead(regopt.sgd(0.1), period, size)
    assert_same(trajectory(optimizer), fast)
    assert_same(trajectory(optimizer, model=regopt.final_params), slow)

    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        theirs = optax.lookahead(optax.adam(0.1), period, size)
        params = optax.LookaheadParams.init_synced(jax.tree.map(jnp.asarray, START))
        state, path = theirs.init(params), []
        for t in range(STEPS):
            grads = jax.tree.map(jnp.asarray, slope(jax.tree.map(np.asarray, params.fast), t))
            updates, state = theirs.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            path.append(jax.tree.map(np.asarray, params.slow))
    ours = trajectory(regopt.lookahead(optax.adam(0.1), period, size), model=regopt.final_params)
    assert_same(ours, path, rtol=1e-9)


RATES = [0.05, schedules.linear(0.0, 0.05, 10)]  # constant, and a warm-up that starts with a step of zero


def rate_at(rate, t):
    with jax.enable_x64(True):
        return float(rate(t)) if callable(rate) else rate


def schedule_free(rate, b1, decay, direction):
    """Algorithm 1 of Defazio et al. (2024) by its three points; yields y and x after each step."""
    z = x = START
    total, memory = 0.0, None
    for t in range(STEPS):
        y = trees(lambda z, x: (1 - b1) * z + b1 * x, z, x)
        d, memory = direction(slope(y, t), memory, t + 1)
        r = rate_at(rate, t)
        pull = {"kernel": decay, "bias": 0.0}
        z = {name: z[name] - r * d[name] - r * pull[name] * y[name] for name in START}
        total += r**2
        c = r**2 / total if total else 0.0
        x = trees(lambda x, z, c=c: (1 - c) * x + c * z, x, z)
        yield trees(lambda z, x: (1 - b1) * z + b1 * x, z, x), x


def adam_scaling(g, v, t, b2=0.95, eps=1e-6):
    v = trees(lambda g: 0 * g, g) if v is None else v
    v = trees(lambda v, g: b2 * v + (1 - b2) * g**2, v, g)
    return trees(lambda g, v: g / (np.sqrt(v / (1 - b2**t)) + eps), g, v), v


@pytest.mark.parametrize("rate", RATES, ids=["constant", "warm-up"])
@pytest.mark.parametrize("b1", [0.9, 0.6, 0.0, 1.0])
def test_schedule_free_is_the_papers(rate, b1):
    with jax.enable_x64(True):
        sgd = regopt.schedule_free_sgd(rate, b1, weight_decay=0.1)
        adamw = regopt.schedule_free_adamw(rate, b1, 0.95, 1e-6, weight_decay=0.1)
    for optimizer, direction in ((sgd, lambda g, m, t: (g, m)), (adamw, adam_scaling)):
        ys, xs = zip(*schedule_free(rate, b1, 0.1, direction), strict=True)
        assert_same(trajectory(optimizer), ys)
        assert_same(trajectory(optimizer, model=regopt.final_params), xs)


@pytest.mark.parametrize("warmup", [None, 10])
def test_schedule_free_is_optax(warmup):
    """optax recovers x by a division by b1, and counts its schedule from 1."""

    def rate(count):
        return 0.05 * jnp.minimum((count + 1) / 10, 1.0)

    ours = [
        regopt.schedule_free_sgd(0.05 if warmup is None else rate, 0.9),
        regopt.schedule_free_adamw(0.05 if warmup is None else rate, 0.9, 0.95, 1e-6),
    ]
    with jax.numpy_dtype_promotion("standard"):
        theirs = [
            optax.contrib.schedule_free_sgd(0.05, None, 0.9),
            optax.contrib.schedule_free_adamw(0.05, None, 0.9, 0.95, 1e-6),
        ]
        if warmup:
            shifted = lambda count: rate(count - 1)  # noqa: E731 - its own count starts at 1, that of its parts at 0
            theirs = [
                optax.contrib.schedule_free(optax.sgd(rate), shifted, 0.9),
                optax.contrib.schedule_free(
                    optax.chain(
                        optax.scale_by_rms(0.95, 1e-6, eps_in_sqrt=False, bias_correction=True),
                        optax.scale_by_learning_rate(rate),
                    ),
                    shifted,
                    0.9,
                ),
            ]
    for own, other in zip(ours, theirs, strict=True):
        assert_same(trajectory(own), trajectory(other), rtol=1e-9)
        models = trajectory(other, model=lambda y, s: optax.contrib.schedule_free_eval_params(s, y))
        assert_same(trajectory(own, model=regopt.final_params), models, rtol=1e-8)


def test_schedule_free_takes_a_rate_for_each_layer():
    both = trajectory(regopt.schedule_free_sgd({"kernel": 0.05, "bias": RATES[1]}, 0.9), model=regopt.final_params)
    with jax.enable_x64(True):
        alone = [trajectory(regopt.schedule_free_sgd(rate, 0.9), model=regopt.final_params) for rate in RATES]
    assert_same(both, [{"kernel": a["kernel"], "bias": b["bias"]} for a, b in zip(*alone, strict=True)])


def ascended(w, g, rho):
    norm = np.sqrt(sum(np.sum(g[name] ** 2) for name in g))
    return trees(lambda w, g: w + rho * g / norm, w, g)


def test_sam_is_algorithm_1():
    w, path = START, []
    for t in range(STEPS):
        w = trees(lambda w, g: w - 0.1 * g, w, slope(ascended(w, slope(w, t), 0.3), t))
        path.append(w)
    for explicit in (False, True):
        assert_same(trajectory(regopt.sam(regopt.sgd(0.1), 0.3, explicit_point=explicit), micro=2), path)
    assert differ(path, descent()) > 1e-2


def test_the_model_of_sam_is_never_the_ascended_point():
    """One call at a time, against the form whose parameters are the model at all times."""
    for wrap in (lambda optimizer: optimizer, regopt.average_params, lambda o: regopt.guard(o, 2.0)):
        path, explicit = (
            trajectory(wrap(regopt.sam(regopt.adam(0.1), 0.3, explicit_point=e)), model=regopt.final_params)
            for e in (False, True)
        )
        assert_same(path, explicit, rtol=1e-9)


def test_sam_is_optax():
    """Both move the parameters to the ascended point and back."""
    for inner in (optax.adam(0.1), optax.sgd(0.1, momentum=0.8)):
        adversary = optax.chain(optax.contrib.normalize(), optax.sgd(0.3))
        theirs = trajectory(optax.contrib.sam(inner, adversary), point=lambda params, _: params, micro=2)
        assert_same(trajectory(regopt.sam(inner, 0.3), micro=2), theirs, rtol=1e-9)
        every_call = trajectory(optax.contrib.sam(inner, adversary), point=lambda params, _: params)
        assert_same(trajectory(regopt.sam(inner, 0.3)), every_call, rtol=1e-9)


def test_with_an_explicit_point_the_call_that_ascends_moves_nothing():
    optimizer = regopt.sam(regopt.adam(0.1), 0.3, explicit_point=True)
    w = jnp.array([3.0, -0.0])
    state = optimizer.init(w)
    updates, after = optimizer.update(jnp.array([3e30, 4e30]), state, w)
    assert np.asarray(w + updates).tobytes() == np.asarray(w).tobytes()
    jax.tree.map(np.testing.assert_array_equal, after.inner, state.inner)
    np.testing.assert_allclose(regopt.evaluation_params(w, after), w + 0.3 * np.array([0.6, 0.8]), rtol=1e-6)
    updates, last = optimizer.update(jnp.array([1.0, 1.0]), after, w)
    np.testing.assert_allclose(updates, -0.1, rtol=1e-6)
    np.testing.assert_array_equal(regopt.evaluation_params(w, last), w)


def test_at_a_zero_gradient_sam_does_not_ascend():
    optimizer = regopt.sam(regopt.sgd(0.1), 0.3)
    w = jnp.ones(2)
    updates, state = optimizer.update(jnp.zeros(2), optimizer.init(w), w)
    np.testing.assert_array_equal(w + updates, w)
    np.testing.assert_array_equal(regopt.final_params(w, state), w)


@pytest.mark.parametrize("argument", ["value_fn", "grad_fn"])
def test_sam_with_the_loss_takes_a_whole_step_in_each_call(argument):
    """As ``optax.contrib.sam`` in its opaque mode, also where an earlier call without the loss has ascended."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        scales, start = jnp.array([0.5, 2.0, 1.0]), jnp.array([1.0, -2.0, 0.3])

        def loss(w):
            return jnp.sum(scales * (w - 0.2) ** 2) / 2

        extra = {"value_fn": loss} if argument == "value_fn" else {"grad_fn": lambda w, _: jax.grad(loss)(w)}
        adversary = optax.chain(optax.contrib.normalize(), optax.sgd(0.3))
        theirs = optax.contrib.sam(optax.adam(0.1), adversary, opaque_mode=True)
        by_gradient = {"grad_fn": lambda w, _: jax.grad(loss)(w)}
        ours = regopt.sam(regopt.adam(0.1), 0.3)
        ends = []
        for optimizer, calls in ((ours, [extra] * 6), (ours, [{}] + [extra] * 6), (theirs, [by_gradient] * 6)):
            w, state = start, optimizer.init(start)
            for given in calls:
                updates, state = optimizer.update(jax.grad(loss)(w), state, w, **given)
                w = w + updates
            ends.append(np.asarray(w))
        np.testing.assert_allclose(ends[0], ends[2], rtol=1e-9)
        np.testing.assert_allclose(ends[1], ends[2], rtol=1e-9)


@pytest.mark.parametrize("every", [1, 3, 4])
def test_accumulated_steps_are_those_with_the_mean_gradient(every):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        grads = [jax.tree.map(lambda w: jnp.asarray(RNG.normal(size=w.shape)), START) for _ in range(12)]
        start = jax.tree.map(jnp.asarray, START)

        def path(optimizer, grads):
            params, state, points = start, optimizer.init(start), []
            for g in grads:
                updates, state = optimizer.update(g, state, params)
                params = optax.apply_updates(params, updates)
                points.append(jax.tree.map(np.asarray, params))
            return points, state

        batches = [grads[i : i + every] for i in range(0, 12, every)]
        means = [jax.tree.map(lambda *g: sum(g) / len(g), *batch) for batch in batches]
        whole, last = path(regopt.adam(0.1), means)
        points, state = path(regopt.accumulate(regopt.adam(0.1), every), grads)
        assert_same(points[every - 1 :: every], whole, rtol=1e-13)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), state.inner, last)
        theirs, _ = path(optax.MultiSteps(regopt.adam(0.1), every), grads)
        assert_same(points, theirs, rtol=1e-7)  # it divides by its count in float32
        for i in range(12):  # between steps nothing moves
            before = points[i - 1] if i else jax.tree.map(np.asarray, start)
            if (i + 1) % every:
                assert_same([points[i]], [before], rtol=0)


def test_a_bad_micro_batch_is_left_out_by_a_guard_outside_and_costs_a_step_with_one_inside():
    good, bad = jnp.ones(2), jnp.array([jnp.nan, 1.0])

    def run(optimizer, grads):
        w = jnp.zeros(2)
        state = optimizer.init(w)
        for g in grads:
            updates, state = optimizer.update(g, state, w)
            w = w + updates
        return w

    outside = regopt.guard(regopt.accumulate(regopt.sgd(0.1), 2))
    np.testing.assert_allclose(run(outside, [good, bad, good]), -0.1, rtol=1e-6)
    inside = regopt.accumulate(regopt.guard(regopt.sgd(0.1)), 2)
    np.testing.assert_allclose(run(inside, [good, bad]), 0.0)
    np.testing.assert_allclose(run(inside, [good, bad, good, good]), -0.1, rtol=1e-6)


def test_a_traced_count_may_change_on_the_way():
    def train(every):
        w, optimizer = jnp.zeros(2), regopt.accumulate(regopt.sgd(1.0), every)
        state, path = optimizer.init(w), []
        for i in range(6):
            updates, state = optimizer.update(jnp.full(2, 1.0 + i), state, w)
            w = w + updates
            path.append(w[0])
        return jnp.stack(path)

    lanes = jax.jit(jax.vmap(train))(jnp.array([1.0, 2.0, 2.5]))
    np.testing.assert_allclose(lanes[0], -np.cumsum([1, 2, 3, 4, 5, 6]))
    np.testing.assert_allclose(lanes[1], [0, -1.5, -1.5, -5, -5, -10.5])
    np.testing.assert_allclose(lanes[2], [0, 0, -2, -2, -2, -7])  # a step once at least 2.5 are there


WRAPPERS = {
    "average_params": regopt.average_params(regopt.sgd(0.1)),
    "lookahead": regopt.lookahead(regopt.sgd(0.1)),
    "sam": regopt.sam(regopt.sgd(0.1)),
    "schedule-free": regopt.schedule_free_sgd(0.1),
    "guard": regopt.guard(regopt.sgd(0.1)),
    "accumulate": regopt.accumulate(regopt.sgd(0.1), 2),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_no_two_arrays_of_parameters_and_state_share_memory(name):
    """Or a program could not be given both as its own."""
    params = {"w": jnp.ones(3), "b": jnp.zeros(2)}
    state = WRAPPERS[name].init(params)
    step = jax.jit(lambda params, state: WRAPPERS[name].update(params, state, params), donate_argnums=(0, 1))
    jax.block_until_ready(step(params, state))


@pytest.mark.parametrize("name", ["average_params", "lookahead", "sam", "schedule-free"])
def test_an_update_without_parameters_says_what_to_do(name):
    params = {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match=r"needs? the parameters: call update\(grads, state, params\)"):
        WRAPPERS[name].update(params, WRAPPERS[name].init(params))


def test_two_models_are_one_too_many():
    params = {"w": jnp.ones(2)}
    both = regopt.average_params(regopt.lookahead(regopt.sgd(0.1)))
    with pytest.raises(ValueError, match="give the final model, got AverageParamsState and LookaheadState"):
        regopt.final_params(params, both.init(params))
    points = regopt.sam(regopt.nesterov(0.1, 0.9, explicit_point=True), explicit_point=True)
    names = "ExplicitSamState and ExplicitNesterovState"
    with pytest.raises(ValueError, match=f"choose the evaluation point, got {names}"):
        regopt.evaluation_params(params, points.init(params))


def test_an_average_of_part_of_the_tree():
    parts = {"averaged": regopt.average_params(regopt.sgd(0.1)), "plain": regopt.sgd(0.1)}
    halfway = optax.partition(parts, {"kernel": "averaged", "bias": "plain"})
    averaged = trajectory(regopt.average_params(regopt.sgd(0.1)), model=regopt.final_params)
    expected = [{"kernel": a["kernel"], "bias": b["bias"]} for a, b in zip(averaged, descent(), strict=True)]
    assert_same(trajectory(halfway, model=regopt.final_params), expected)


def test_penalties_inside_sam_are_taken_at_the_ascended_point():
    inside = regopt.sam(regopt.regularize(regopt.sgd(0.1), penalties.l2(0.3, mask=None)), 0.2)
    outside = regopt.regularize(regopt.sam(regopt.sgd(0.1), 0.2), penalties.l2(0.3, mask=None))
    w, path = START, []
    for t in range(STEPS):
        point = ascended(w, trees(lambda g, w: g + 0.3 * w, slope(w, t), w), 0.2)
        w = trees(lambda w, g, p: w - 0.1 * (g + 0.3 * p), w, slope(point, t), point)
        path.append(w)
    assert_same(trajectory(outside, micro=2), path)
    assert differ(trajectory(inside, micro=2), path) > 1e-4


def test_errors_name_argument_range_and_value():
    sgd = regopt.sgd(0.1)
    cases = [
        (lambda: regopt.average_params(sgd, 1.0), r"decay must lie in \[0, 1\), got 1.0"),
        (lambda: regopt.lookahead(sgd, 0), r"sync_period must lie in \[1, inf\), got 0"),
        (lambda: regopt.lookahead(sgd, 5, 1.5), r"slow_step_size must lie in \[0, 1\], got 1.5"),
        (lambda: regopt.sam(sgd, -0.1), r"rho must lie in \[0, inf\), got -0.1"),
        (lambda: regopt.accumulate(sgd, 0.5), r"every must lie in \[1, inf\), got 0.5"),
        (lambda: regopt.schedule_free_sgd(-0.1), r"learning_rate must lie in \[0, inf\), got -0.1"),
        (lambda: regopt.schedule_free_sgd(0.1, 1.5), r"b1 must lie in \[0, 1\], got 1.5"),
        (lambda: regopt.schedule_free_adamw(0.1, b2=1.0), r"b2 must lie in \[0, 1\), got 1.0"),
        (lambda: regopt.schedule_free_adamw(0.1, eps=-1.0), r"eps must lie in \[0, inf\), got -1.0"),
        (lambda: regopt.schedule_free_adamw(0.1, weight_decay=-1.0), r"weight_decay must lie in \[0, inf\), got -1.0"),
    ]
    for build, message in cases:
        with pytest.raises(ValueError, match=message):
            build()


HYPERPARAMETERS = {
    "decay": (0.8, lambda x: regopt.average_params(regopt.adam(0.1), x)),
    "slow_step_size": (0.4, lambda x: regopt.lookahead(regopt.adam(0.1), 3, x)),
    "rho": (0.3, lambda x: regopt.sam(regopt.adam(0.1), x)),
    "schedule-free rate": (0.1, lambda x: regopt.schedule_free_adamw(x, 0.8, weight_decay=0.1)),
    "schedule-free b1": (0.8, lambda x: regopt.schedule_free_adamw(0.1, x, weight_decay=0.1)),
    "schedule-free b2": (0.9, lambda x: regopt.schedule_free_adamw(0.1, 0.8, x)),
    "accumulated rate": (0.1, lambda x: regopt.accumulate(regopt.adam(x), 3)),
    "guarded max_norm": (0.5, lambda x: regopt.guard(regopt.heavy_ball(0.1, 0.8), x)),
}


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_slopes_of_a_trained_model_are_central_differences(name):
    """With a unit that never learns (no slope at all) and one that starts at zero."""
    value, build = HYPERPARAMETERS[name]
    with jax.enable_x64(True):
        targets, scales = jnp.array([1.0, -2.0, 0.0, 3.0]), jnp.array([1.0, 0.3, 0.0, 2.0])

        def loss(w):
            return jnp.sum(scales * (w - targets) ** 2)

        def trained(x):
            optimizer, w = build(x), jnp.array([0.0, 1.0, 0.5, 0.0])
            state = optimizer.init(w)
            for _ in range(8):
                updates, state = optimizer.update(jax.grad(loss)(regopt.evaluation_params(w, state)), state, w)
                w = w + updates
            return loss(regopt.final_params(w, state))

        slope = jax.jit(jax.grad(trained))(value)
        ahead, behind = map(jax.jit(trained), (value + 1e-5, value - 1e-5))
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-6)
        assert abs(slope) > 1e-3
