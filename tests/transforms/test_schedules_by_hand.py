"""Schedules of numbers that act over several steps, against loops written by hand in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import transforms

RNG = np.random.default_rng(3)
START = RNG.normal(size=3)
GRADS = RNG.normal(size=(24, 3))


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # counts meet floats, as in schedules of optax
        yield


def path(optimizer, grads=GRADS, model=lambda params, _: params):
    """The model after each call, and the last state; one program serves all calls."""

    def step(carry, grad):
        params, state = carry
        updates, state = optimizer.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), model(params, state)

    start = jnp.asarray(START)
    (_, state), found = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), jnp.asarray(grads)))()
    return np.asarray(found), state


def growing(count):
    """1, 1, 2, 2, 3, 3 and so on."""
    return 1 + count // 2


def test_accumulate_collects_what_the_schedule_says_at_the_number_of_steps():
    w, steps, collected, expected = START, 0, [], []
    for grad in GRADS:
        collected.append(grad)
        if len(collected) >= growing(steps):
            w, steps, collected = w - 0.1 * np.mean(collected, axis=0), steps + 1, []
        expected.append(w)
    found, state = path(regopt.accumulate(regopt.sgd(0.1), growing))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert steps == int(state.steps) == 8
    theirs, _ = path(optax.MultiSteps(regopt.sgd(0.1), growing).gradient_transformation())
    np.testing.assert_allclose(found, theirs, rtol=1e-6)  # it divides by its count in float32


def warming(count):
    """The decay of an average that is short at the start: 0, 1/4, 2/5, 3/6 and so on."""
    return count / (3.0 + count)


@pytest.mark.parametrize("decay", [warming, lambda count: 0.9 - 0.8 * warming(count)], ids=["rising", "falling"])
def test_an_average_of_a_scheduled_decay_has_weights_that_sum_to_one(decay):
    iterates = START - 0.1 * np.cumsum(GRADS, axis=0)
    expected = []
    for t in range(1, len(GRADS) + 1):
        rates = np.array([decay(float(count)) for count in range(t)])
        weights = [(1 - rate) * np.prod(rates[i + 1 :]) for i, rate in enumerate(rates)]
        expected.append(np.average(iterates[:t], axis=0, weights=weights))
    found, _ = path(regopt.average_params(regopt.sgd(0.1), decay), model=regopt.final_params)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_an_average_of_a_constant_schedule_is_that_of_the_number():
    scheduled, _ = path(regopt.average_params(regopt.sgd(0.1), lambda _: 0.8), model=regopt.final_params)
    constant, _ = path(regopt.average_params(regopt.sgd(0.1), 0.8), model=regopt.final_params)
    np.testing.assert_allclose(scheduled, constant, rtol=1e-12)


def test_an_average_whose_decay_starts_at_one_waits_at_the_start():
    """Such a schedule gives no iterate a weight before it falls: then the average begins, with the bias corrected."""
    optimizer = regopt.average_params(regopt.sgd(0.1), lambda count: jnp.where(count < 4, 1.0, 0.5))
    found, _ = path(optimizer, model=regopt.final_params)
    iterates = START - 0.1 * np.cumsum(GRADS, axis=0)
    np.testing.assert_array_equal(found[:4], np.tile(START, (4, 1)))
    expected = [np.average(iterates[4:t], axis=0, weights=0.5 ** np.arange(t - 4)[::-1]) for t in range(5, 25)]
    np.testing.assert_allclose(found[4:], expected, rtol=1e-12)


def test_lookahead_synchronises_after_the_period_at_the_number_of_calls():
    fast, slow, since, expected = START, START, 0, []
    for count, grad in enumerate(GRADS):
        fast, since = fast - 0.1 * grad, since + 1
        if since >= 1 + count // 4:
            fast = slow = slow + 0.3 * (fast - slow)
            since = 0
        expected.append(slow)
    found, _ = path(regopt.lookahead(regopt.sgd(0.1), lambda count: 1 + count // 4, 0.3), model=regopt.final_params)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def lion(b2):
    """The iterates of Lion with b1 = 0.6 in NumPy."""
    w, moment = START, np.zeros(3)
    for count, grad in enumerate(GRADS):
        w = w - 0.1 * np.sign(0.6 * moment + 0.4 * grad)
        moment = b2(count) * moment + (1 - b2(count)) * grad
        yield w


def test_the_moment_of_lion_decays_by_the_schedule():
    expected = list(lion(lambda count: 0.95 - 0.03 * count))
    assert np.any(np.abs(np.subtract(expected, list(lion(lambda count: 0.95)))) > 0.1)
    found, _ = path(regopt.lion(0.1, 0.6, lambda count: 0.95 - 0.03 * count, weight_decay=0.0))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_plateau_goes_by_the_numbers_at_the_count_of_the_call():
    values = np.concatenate([np.linspace(3, 1, 6), np.ones(18) + 0.1 * np.abs(np.sin(np.arange(18)))])
    best, bad, scale, expected = np.inf, 0, 1.0, []
    for count, value in enumerate(values):
        better = value < best - (0.02 * abs(best) if np.isfinite(best) else 0)
        best, bad = (value, 0) if better else (best, bad + 1)
        if bad >= 2 + count // 8:
            scale, bad = max(scale * (0.9 - 0.03 * count), 0.01), 0
        expected.append(scale)
    rule = transforms.reduce_on_plateau(
        lambda count: 0.9 - 0.03 * count, lambda count: 2 + count // 8, rtol=0.02, min_scale=0.01
    )

    def step(state, value):
        update, state = rule.update(jnp.ones(()), state, value=value)
        return state, update

    found = jax.jit(lambda: jax.lax.scan(step, rule.init(jnp.ones(())), jnp.asarray(values))[1])()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert len(set(expected)) > 4


def residual(w, xp=jnp):
    return xp.stack([10.0 * (w[1] - w[0] ** 2), 1.0 - w[0], 0.3 * w[0] * w[1]])  # Rosenbrock's function and one more


def jacobian(w):
    return np.array([[-20.0 * w[0], 10.0], [-1.0, 0.0], [0.3 * w[1], 0.3 * w[0]]])


def damping(count):
    return 0.05 / (1.0 + count)


def test_levenberg_marquardt_takes_the_damping_of_a_schedule_and_grows_it_where_a_step_fails():
    w, mu, growth, expected, accepted = np.array([-1.2, 1.0]), None, 2.0, [], []
    for count in range(12):
        r, j = residual(w, np), jacobian(w)
        square, slope = j.T @ j, j.T @ r
        if mu is None:
            mu = damping(count) * np.max(np.diag(square))
        step = -np.linalg.solve(square + mu * np.eye(2), slope)
        accepted.append(np.sum(residual(w + step, np) ** 2) < np.sum(r**2))
        if accepted[-1]:
            w, mu, growth = w + step, None, 2.0
        else:
            mu, growth = growth * mu, 2 * growth
        expected.append(w)
    assert {*accepted} == {True, False}

    optimizer = regopt.levenberg_marquardt(damping)
    w, found = jnp.array([-1.2, 1.0]), []
    state = optimizer.init(w)
    for _ in range(12):
        updates, state = optimizer.update(w, state, w, residual_fn=residual)
        w = w + updates
        found.append(np.asarray(w))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_newton_cg_does_as_many_products_as_the_schedule_allows():
    scales = jnp.array([1.0, 3.0, 9.0])

    def loss(w):
        return jnp.sum(scales * jnp.cosh(w - 0.3)) + jnp.sum(w) ** 2

    optimizer = regopt.newton_cg(lambda count: 1 + count, forcing=0.0)
    w = jnp.asarray(START)
    state = optimizer.init(w)
    for count in range(3):
        alone = regopt.newton_cg(1 + count, forcing=0.0)
        expected, _ = alone.update(jax.grad(loss)(w), alone.init(w), w, value_fn=loss)
        updates, state = optimizer.update(jax.grad(loss)(w), state, w, value_fn=loss)
        np.testing.assert_allclose(updates, expected, rtol=1e-10)
        assert int(state.inner[0].products) == 1 + count
        w = w + updates
