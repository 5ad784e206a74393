"""Each optimizer against its paper, step by step in float64 NumPy, and against optax where it computes the same."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import penalties, regularization, schedules

RNG = np.random.default_rng(7)
START = RNG.normal(size=6)
CURVATURE = np.array([0.1, 0.5, 1.0, 2.0, 4.0, 8.0])


def gradient(w, step):
    """The slope of an ill-conditioned quadratic, with a perturbation that differs from step to step."""
    return CURVATURE * w + 0.3 * np.sin(step + np.arange(6))


def trajectory(optimizer, steps=25):
    """The parameters after each step, in float64."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # optax mixes its count with floats
        params = {"kernel": jnp.asarray(START)}
        state = optimizer.init(params)
        update = jax.jit(optimizer.update)
        path = []
        for step in range(steps):
            grads = {"kernel": jnp.asarray(gradient(np.asarray(params["kernel"]), step))}
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
            path.append(np.asarray(params["kernel"]))
        return np.array(path)


def by_hand(rule, steps=25):
    """The parameters after each step of ``rule(w, g, memory, t) -> w, memory``, t = 1, 2, ..."""
    w, memory, path = START, None, []
    for step in range(steps):
        w, memory = rule(w, gradient(w, step), memory, step + 1)
        path.append(w)
    return np.array(path)


def decaying(t):
    """The schedule used here, at the t-th step, t = 1, 2, ...; counts start at 0."""
    return 0.05 / (1 + 0.2 * (t - 1))


DECAYING = schedules.inverse_time(0.05, 0.2)


def test_sgd_is_algorithm_8_1():
    path = by_hand(lambda w, g, _, t: (w - decaying(t) * g, None))
    np.testing.assert_allclose(trajectory(regopt.sgd(DECAYING)), path, rtol=1e-13)


def test_only_a_schedule_makes_gradient_descent_count_its_updates():
    """A count for each lane of a sweep would be a kernel of its own."""
    assert not jax.tree.leaves(regopt.sgd(0.1).init(jnp.ones(2)))
    optimizer = regopt.sgd({"w": DECAYING, "b": 0.1})
    params = {"w": jnp.ones(2), "b": jnp.ones(1)}
    _, state = optimizer.update(params, optimizer.init(params), params)
    assert state.count == 1


def test_heavy_ball_is_algorithm_8_2_and_a_schedule_does_not_rescale_old_steps():
    def rule(w, g, v, t):
        v = 0.9 * (0 if v is None else v) - decaying(t) * g
        return w + v, v

    ours = trajectory(regopt.heavy_ball(DECAYING, 0.9))
    np.testing.assert_allclose(ours, by_hand(rule), rtol=1e-13)
    rescaling = trajectory(optax.sgd(DECAYING, momentum=0.9))
    assert np.abs(ours - rescaling).max() > 1e-3


def test_heavy_ball_under_a_constant_gradient_reaches_its_terminal_velocity():
    optimizer = regopt.heavy_ball(0.1, 0.9)
    params = jnp.zeros(1)
    state = optimizer.init(params)
    for _ in range(300):
        updates, state = optimizer.update(jnp.full(1, 2.0), state, params)
    np.testing.assert_allclose(updates, -0.1 * 2.0 / (1 - 0.9), rtol=1e-6)


ADAM = {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-2}


def adam_direction(g, memory, t, b1, b2, eps, eps_root):
    """Algorithm 1 of Kingma and Ba (2015)."""
    m, v = (0, 0) if memory is None else memory
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t) + eps_root) + eps), (m, v)


def test_adam_is_kingma_and_ba():
    def rule(w, g, memory, t):
        direction, memory = adam_direction(g, memory, t, **ADAM)
        return w - decaying(t) * direction, memory

    ours = trajectory(regopt.adam(DECAYING, **ADAM))
    np.testing.assert_allclose(ours, by_hand(rule), rtol=1e-12)
    np.testing.assert_allclose(ours, trajectory(optax.adam(DECAYING, **ADAM)), rtol=1e-10)


def test_adamw_is_loshchilov_and_hutter_with_the_decay_scaled_by_the_learning_rate():
    def rule(w, g, memory, t):
        direction, memory = adam_direction(g, memory, t, **ADAM)
        return w - decaying(t) * (direction + 0.3 * w), memory

    ours = trajectory(regopt.adamw(DECAYING, **ADAM, weight_decay=0.3))
    np.testing.assert_allclose(ours, by_hand(rule), rtol=1e-12)
    np.testing.assert_allclose(ours, trajectory(optax.adamw(DECAYING, **ADAM, weight_decay=0.3)), rtol=1e-10)


def test_adamw_leaves_biases_alone_unless_told_otherwise():
    params = {"kernel": jnp.full(2, 3.0), "bias": jnp.full(2, 3.0)}
    grads = jax.tree.map(jnp.zeros_like, params)

    def decayed(**options):
        optimizer = regopt.adamw(0.5, weight_decay=0.1, **options)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        return {name: float(u[0]) for name, u in updates.items()}

    assert decayed() == pytest.approx({"kernel": -0.15, "bias": 0.0})
    assert decayed(mask=None) == pytest.approx({"kernel": -0.15, "bias": -0.15})
    assert decayed(mask={"kernel": False, "bias": True}) == pytest.approx({"kernel": 0.0, "bias": -0.15})


def test_the_decay_spares_biases_under_inject_hyperparams_too():
    """optax takes every callable argument for a schedule, so the default mask must not be one."""
    params = {"kernel": jnp.ones(2), "bias": jnp.ones(2)}
    for factory in (regopt.adamw, regopt.lion):
        optimizer = optax.inject_hyperparams(factory)(learning_rate=0.5, weight_decay=0.3)
        updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
        np.testing.assert_allclose(updates["kernel"], -0.15, rtol=1e-6)
        np.testing.assert_array_equal(updates["bias"], 0.0)


def test_an_unknown_mask_is_named():
    for mask, named in (("kernels", "'kernels'"), (["w", "b/**"], "'w'")):
        with pytest.raises(ValueError, match=rf'mask must be "weights", bools .* by path pattern .* got {named}'):
            regopt.adamw(0.1, mask=mask).update(
                {"w": jnp.ones(2)}, regopt.adamw(0.1).init({"w": jnp.ones(2)}), {"w": jnp.ones(2)}
            )


@pytest.mark.parametrize("b2", [0.9, 0.999, 0.99999, 0.9999999])
@pytest.mark.parametrize("traced", [False, True], ids=["static", "traced"])
def test_the_first_step_of_adam_is_the_learning_rate(b2, traced):
    def first_step(b2):
        optimizer = regopt.adam(0.01, b2=b2, eps=0.0)
        params = jnp.zeros(2)
        return optimizer.update(jnp.array([3.0, -1e-5]), optimizer.init(params), params)[0]

    steps = jax.jit(first_step)(jnp.float32(b2)) if traced else first_step(b2)
    np.testing.assert_allclose(steps, [-0.01, 0.01], rtol=4e-7)  # a few roundings of float32


def test_eps_stands_outside_the_root_and_eps_root_inside():
    def first_step(**eps):
        optimizer = regopt.adam(1.0, **eps)
        return -float(optimizer.update(jnp.array([1e-5]), optimizer.init(jnp.zeros(1)), jnp.zeros(1))[0][0])

    assert first_step(eps=1e-8) == pytest.approx(1e-5 / (1e-5 + 1e-8), rel=1e-5)
    assert first_step(eps=0.0, eps_root=1e-8) == pytest.approx(1e-5 / np.sqrt(1e-10 + 1e-8), rel=1e-5)


def test_adam_stays_put_where_the_gradient_is_zero_even_without_eps():
    optimizer = regopt.adam(0.1, eps=0.0)
    params = jnp.ones(2)
    updates, _ = optimizer.update(jnp.array([0.0, 1.0]), optimizer.init(params), params)
    np.testing.assert_allclose(updates, [0.0, -0.1], rtol=1e-6)


def test_the_second_moment_moves_in_bfloat16():
    """In bfloat16 itself 0.999 * v + 0.001 * g**2 would round back to v."""
    optimizer = regopt.adam(0.1, b2=0.999)
    params = jnp.ones(1, jnp.bfloat16)
    state = optimizer.init(params)
    for _ in range(100):
        _, state = optimizer.update(jnp.full(1, 2.0, jnp.bfloat16), state, params)
    np.testing.assert_allclose(state[0].nu, 4 * (1 - 0.999**100), rtol=1e-4)


def test_l2_in_the_gradient_and_decoupled_are_one_for_gradient_descent():
    penalty = penalties.l2(0.3)
    in_gradient = trajectory(regopt.regularize(regopt.sgd(DECAYING), penalty))
    decoupled = trajectory(regopt.regularize(regopt.sgd(DECAYING), penalty, "decoupled", learning_rate=DECAYING))
    np.testing.assert_allclose(in_gradient, decoupled, rtol=1e-13)
    path = by_hand(lambda w, g, _, t: ((1 - decaying(t) * 0.3) * w - decaying(t) * g, None))
    np.testing.assert_allclose(in_gradient, path, rtol=1e-12)


def test_decoupled_l2_on_adam_is_adamw_and_l2_in_its_gradient_is_not():
    penalty = penalties.l2(0.3)
    adamw = trajectory(regopt.adamw(0.02, weight_decay=0.3))
    decoupled = regopt.regularize(regopt.adam(0.02), penalty, "decoupled", learning_rate=0.02)
    np.testing.assert_allclose(trajectory(decoupled), adamw, rtol=1e-12)
    assert np.abs(trajectory(regopt.regularize(regopt.adam(0.02), penalty)) - adamw).max() > 1e-3


def test_regularize_takes_an_optimizer_of_optax():
    ours = trajectory(regopt.regularize(optax.sgd(0.02, momentum=0.5), penalties.l1(0.2)))

    def rule(w, g, v, _):
        v = g + 0.2 * np.sign(w) + 0.5 * (0 if v is None else v)
        return w - 0.02 * v, v

    np.testing.assert_allclose(ours, by_hand(rule), rtol=1e-12)


def test_errors_name_argument_range_and_value():
    cases = [
        (lambda: regopt.sgd(-0.1), r"learning_rate must lie in \[0, inf\), got -0.1"),
        (lambda: regopt.heavy_ball(0.1, 1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda: regopt.adam(0.1, b1=1.5), r"b1 must lie in \[0, 1\), got 1.5"),
        (lambda: regopt.adam(0.1, b2=-0.5), r"b2 must lie in \[0, 1\), got -0.5"),
        (lambda: regopt.adam(0.1, eps=float("nan")), r"eps must lie in \[0, inf\), got nan"),
        (lambda: regopt.adam(0.1, eps_root=-1.0), r"eps_root must lie in \[0, inf\), got -1.0"),
        (lambda: regopt.adamw(0.1, weight_decay=-2.0), r"weight_decay must lie in \[0, inf\), got -2.0"),
        (
            lambda: regularization.add_penalty_gradient(penalties.l2(), jnp.inf),
            r"scale must lie in \(-inf, inf\), got inf",
        ),
        (
            lambda: regopt.regularize(regopt.sgd(0.1), penalties.l2(), "weight decay"),  # pyright: ignore
            'how must be "gradient", "decoupled", "proximal" or "constraint", got \'weight decay\'',
        ),
    ]
    for build, message in cases:
        with pytest.raises(ValueError, match=message):
            build()


def test_a_penalty_without_parameters_says_what_to_do():
    optimizer = regopt.regularize(regopt.sgd(0.1), penalties.l2(0.5))
    params = {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"call update\(grads, state, params\)"):
        optimizer.update(params, optimizer.init(params))


def test_the_evaluation_point_is_the_parameters_unless_a_state_says_otherwise():
    params = {"w": jnp.ones(2)}
    for optimizer in (regopt.adam(0.1), regopt.heavy_ball(0.1, 0.9), optax.adamw(0.1)):
        assert regopt.evaluation_params(params, optimizer.init(params)) is params

    class Ahead(optax.EmptyState):
        def evaluation_params(self, params):
            return jax.tree.map(lambda w: w + 1, params)

    ahead = optax.GradientTransformation(lambda _: Ahead(), lambda u, s, _=None: (u, s))
    state = optax.chain(optax.clip(1.0), regopt.regularize(optax.chain(ahead), penalties.l2(0.1))).init(params)
    np.testing.assert_array_equal(regopt.evaluation_params(params, state)["w"], 2.0)
    with pytest.raises(ValueError, match="got Ahead and Ahead"):
        regopt.evaluation_params(params, optax.chain(ahead, ahead).init(params))
