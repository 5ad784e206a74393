"""The first-order rules against their sources, step by step in float64 NumPy, and against optax where it is the same.

The problem has what makes slips show: gradients near 1e-5, coordinates whose gradient is always or sometimes
exactly zero, three leaves, and gradients that change from step to step.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import schedules

STEPS = 60
START = np.random.default_rng(11).normal(size=9)
CURVATURE = np.array([0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 1.0, 0.3, 3.0])
SIZE = np.array([1.0, 1.0, 1e-5, 1.0, 0.0, 1.0, 1e-5, 1e3, 1.0])
DECAYING = schedules.inverse_time(0.05, 0.2)


def decaying(t):
    """The same schedule at the t-th step, t = 1, 2, ...; counts start at 0."""
    return 0.05 / (1 + 0.2 * (t - 1))


def gradient(w, step):
    """The slope of an ill-conditioned quadratic, perturbed; the last entry is zero in every third step."""
    sizes = SIZE * np.where(np.arange(9) == 8, step % 3 != 0, 1)
    return sizes * (CURVATURE * w + 0.3 * np.sin(step + np.arange(9)))


def as_tree(flat):
    """Nine entries as the parameters of two layers."""
    x = jnp.asarray(flat)
    return {"hidden": {"kernel": x[:4].reshape(2, 2), "bias": x[4:6]}, "out": {"kernel": x[6:]}}


def as_flat(params):
    """The inverse of ``as_tree``."""
    hidden, out = params["hidden"], params["out"]
    return np.concatenate([np.ravel(x) for x in (hidden["kernel"], hidden["bias"], out["kernel"])])


def trajectory(optimizer, points=False, steps=STEPS):
    """The model after each step, in float64; or the points at which the next gradient is asked."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # optax mixes its count with floats
        params = as_tree(START)
        state = optimizer.init(params)
        update = jax.jit(optimizer.update)
        path, asked = [], []
        for step in range(steps):
            point = as_flat(regopt.evaluation_params(params, state))
            updates, state = update(as_tree(gradient(point, step)), state, params)
            params = optax.apply_updates(params, updates)
            path.append(as_flat(regopt.final_params(params, state)))
            asked.append(as_flat(regopt.evaluation_params(params, state)))
        return np.array(asked if points else path)


def by_hand(rule, *memory):
    """The parameters after each step of ``rule(w, gradient_at, t, *memory) -> w, *memory``, t = 1, 2, ..."""
    w, path = START, []
    for step in range(STEPS):
        w, *memory = rule(w, lambda point, step=step: gradient(point, step), step + 1, *memory)
        path.append(w)
    return np.array(path)


def first_step(optimizer, g):
    """What is subtracted from the parameters in the first step with these gradients, in float64."""
    with jax.enable_x64(True):
        params = jnp.zeros(len(g), jnp.float64)
        updates, _ = optimizer.update(jnp.asarray(g, jnp.float64), optimizer.init(params), params)
        return -np.asarray(updates)


def test_ema_momentum_is_a_moving_average_times_the_rate():
    def rule(w, gradient_at, t, m):
        m = 0.7 * m + 0.3 * gradient_at(w)
        return w - decaying(t) * m, m

    np.testing.assert_allclose(trajectory(regopt.ema_momentum(DECAYING, 0.7)), by_hand(rule, 0.0), rtol=1e-12)


def test_ema_momentum_is_heavy_ball_with_the_rate_times_one_minus_decay():
    average = trajectory(regopt.ema_momentum(1e-3, 0.9))
    np.testing.assert_allclose(average, trajectory(regopt.heavy_ball(1e-3 * (1 - 0.9), 0.9)), rtol=1e-12)
    ratio = first_step(regopt.heavy_ball(1e-3, 0.9), START) / first_step(regopt.ema_momentum(1e-3, 0.9), START)
    np.testing.assert_allclose(ratio, 10, rtol=1e-12)  # the same number is not the same step


EXPLICIT = pytest.mark.parametrize("explicit_point", [False, True])


@EXPLICIT
def test_nesterov_is_algorithm_8_3_on_its_own_iterate(explicit_point):
    def rule(w, gradient_at, t, v):
        v = 0.7 * v - decaying(t) * 1e-2 * gradient_at(w + 0.7 * v)
        return w + v, v

    optimizer = regopt.nesterov(lambda count: 1e-2 * DECAYING(count), 0.7, explicit_point=explicit_point)
    np.testing.assert_allclose(trajectory(optimizer), by_hand(rule, 0.0), rtol=1e-12)


@EXPLICIT
def test_the_evaluation_point_of_nesterov_is_the_iterate_of_optax_for_a_constant_rate(explicit_point):
    optimizer = regopt.nesterov(5e-4, 0.7, explicit_point=explicit_point)
    theirs = trajectory(optax.sgd(5e-4, momentum=0.7, nesterov=True))
    np.testing.assert_allclose(trajectory(optimizer, points=True), theirs, rtol=1e-11)
    assert np.abs(trajectory(optimizer) - theirs).max() > 1e-3  # but not the iterate itself


def test_nesterov_in_a_compiled_loop_with_traced_momentum_finds_its_point_through_a_chain():
    start = jnp.array([1.0, -2.0])

    def train(momentum):
        optimizer = optax.chain(optax.identity(), regopt.nesterov(0.1, momentum, explicit_point=True))

        def step(carry, _):
            params, state = carry
            point = regopt.evaluation_params(params, state)
            updates, state = optimizer.update(point, state, params)  # the slope of |w|^2 / 2
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (start, optimizer.init(start)), length=20)[0][0]

    def by_loop(momentum):
        w, v = np.array([1.0, -2.0]), np.zeros(2)
        for _ in range(20):
            v = momentum * v - 0.1 * (w + momentum * v)
            w = w + v
        return w

    ends = jax.jit(jax.vmap(train))(jnp.array([0.5, 0.9]))
    np.testing.assert_allclose(ends, [by_loop(0.5), by_loop(0.9)], rtol=2e-5)  # 20 steps of float32


def test_nesterov_keeps_the_dtypes_of_16_bit_parameters():
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), as_tree(START.astype(np.float32)))
    optimizer, explicit = regopt.nesterov(0.1, 0.9), regopt.nesterov(0.1, 0.9, explicit_point=True)
    updates, state = explicit.update(params, explicit.init(params), params)
    results = [updates, state.velocity, regopt.evaluation_params(params, state)]
    updates, state = optimizer.update(params, optimizer.init(params), params)
    for result in (*results, updates, state.ahead, regopt.final_params(params, state)):
        assert {x.dtype for x in jax.tree.leaves(result)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    "optimizer",
    [
        regopt.sgd,
        lambda rate: regopt.heavy_ball(rate, 0.7),
        lambda rate: regopt.nesterov(rate, 0.7),
        lambda rate: regopt.adam(rate, b1=0.8, b2=0.95),
    ],
    ids=["sgd", "heavy_ball", "nesterov", "adam"],
)
@pytest.mark.parametrize(
    "rates",
    [
        {"hidden": 0.02, "out": 3e-4},
        {"hidden": DECAYING, "out": 3e-4},
        {"hidden": {"kernel": 0.02, "bias": DECAYING}, "out": 3e-4},
    ],
    ids=["numbers", "a schedule and a number", "a deeper prefix"],
)
def test_a_learning_rate_by_layer_is_an_optimizer_for_each_layer(optimizer, rates):
    one_for_each = [trajectory(optimizer(rate)) for rate in (0.02, DECAYING, 3e-4)]  # each on all coordinates
    hidden = (
        rates["hidden"] if isinstance(rates["hidden"], dict) else {"kernel": rates["hidden"], "bias": rates["hidden"]}
    )
    which = [(0.02, DECAYING, 3e-4).index(rate) for rate in (hidden["kernel"], hidden["bias"], rates["out"])]
    expected = [one_for_each[i][:, part] for i, part in zip(which, np.split(np.arange(9), [4, 6]), strict=True)]
    np.testing.assert_allclose(trajectory(optimizer(rates)), np.concatenate(expected, axis=1), rtol=1e-12)


def test_adagrad_is_algorithm_8_4():
    def rule(w, gradient_at, t, r):
        g = gradient_at(w)
        r = r + g * g
        return w - decaying(t) / (1e-3 + np.sqrt(r + 1e-7)) * g, r

    np.testing.assert_allclose(trajectory(regopt.adagrad(DECAYING, 1e-3, 1e-7, 0.3)), by_hand(rule, 0.3), rtol=1e-12)


def test_adagrad_with_the_constant_inside_the_root_is_optax():
    ours = trajectory(regopt.adagrad(0.05, eps=0.0, eps_root=1e-7, initial_accumulator=0.1))
    np.testing.assert_allclose(ours, trajectory(optax.adagrad(0.05, 0.1, 1e-7)), rtol=1e-10)


def test_adagrad_has_one_root():
    """With a second one, the inverse fourth root of the sum, a step would depend on the gradient's size."""
    np.testing.assert_allclose(first_step(regopt.adagrad(0.05, eps=0.0), [4.0, -0.01]), [0.05, -0.05], rtol=1e-12)


def test_rmsprop_is_algorithm_8_5():
    def rule(w, gradient_at, t, r):
        g = gradient_at(w)
        r = 0.8 * r + 0.2 * g * g
        return w - decaying(t) / (1e-3 + np.sqrt(1e-7 + r)) * g, r

    np.testing.assert_allclose(trajectory(regopt.rmsprop(DECAYING, 0.8, 1e-3, 1e-7)), by_hand(rule, 0.0), rtol=1e-12)


@pytest.mark.parametrize("centered", [False, True], ids=["", "centered"])
@pytest.mark.parametrize("inside", [False, True], ids=["outside the root", "inside"])
def test_rmsprop_is_optax_with_the_constant_on_either_side(centered, inside):
    constants = {"eps": 0.0, "eps_root": 1e-7} if inside else {"eps": 1e-7, "eps_root": 0.0}
    ours = trajectory(regopt.rmsprop(DECAYING, 0.8, **constants, centered=centered))
    theirs = optax.rmsprop(DECAYING, 0.8, 1e-7, centered=centered, eps_in_sqrt=inside)
    np.testing.assert_allclose(ours, trajectory(theirs), rtol=1e-8)  # their variance loses digits to cancellation


def test_where_the_constant_of_rmsprop_stands_decides_small_gradients():
    """Inside the root by default, as in the book."""
    np.testing.assert_allclose(first_step(regopt.rmsprop(1.0), [1e-4]), 1e-4 / np.sqrt(1e-6 + 1e-9), rtol=1e-12)
    outside = first_step(regopt.rmsprop(1.0, eps=1e-6, eps_root=0.0), [1e-4])
    np.testing.assert_allclose(outside, 1e-4 / (1e-6 + np.sqrt(1e-9)), rtol=1e-12)
    assert outside[0] / first_step(regopt.rmsprop(1.0), [1e-4])[0] == pytest.approx(30.67, abs=0.005)


def test_centered_rmsprop_keeps_a_small_variance_beside_a_large_mean_in_float32():
    """The mean square less the squared mean has no correct digit there: rounding alone is 0.06, the variance 0.005."""
    grads = 1000 + 0.1 * np.sin(np.arange(400)).astype(np.float32)
    direction = regopt.optimizers.scale_by_rmsprop(0.9, eps_root=0.0, centered=True)
    params = jnp.zeros(1, jnp.float32)
    state, update = direction.init(params), jax.jit(direction.update)
    for g in grads:
        _, state = update(jnp.full(1, g), state)
    weights = 0.1 * 0.9 ** np.arange(399, -1, -1)
    mean = np.sum(weights * grads.astype(np.float64))
    expected = np.sum(weights * (grads.astype(np.float64) - mean) ** 2)  # the weights sum to 1 but for 5e-19
    np.testing.assert_allclose(state.nu, expected, rtol=0.01)  # the mean itself is off by 6e-5


@EXPLICIT
def test_rmsprop_nesterov_is_algorithm_8_6_with_a_constant(explicit_point):
    def rule(w, gradient_at, t, r, v):
        g = gradient_at(w + 0.7 * v)
        r = 0.8 * r + 0.2 * g * g
        v = 0.7 * v - decaying(t) / (1e-3 + np.sqrt(r + 1e-7)) * g
        return w + v, r, v

    ours = trajectory(regopt.rmsprop_nesterov(DECAYING, 0.8, 0.7, 1e-3, 1e-7, explicit_point=explicit_point))
    np.testing.assert_allclose(ours, by_hand(rule, 0.0, 0.0), rtol=1e-11)


def test_adadelta_is_zeiler():
    def rule(w, gradient_at, t, r, x):
        g = gradient_at(w)
        r = 0.8 * r + 0.2 * g * g
        d = -np.sqrt(x + 1e-4) / np.sqrt(r + 1e-4) * g
        return w + decaying(t) * d, r, 0.8 * x + 0.2 * d * d

    ours = trajectory(regopt.adadelta(DECAYING, 0.8, 1e-4))
    np.testing.assert_allclose(ours, by_hand(rule, 0.0, 0.0), rtol=1e-12)
    np.testing.assert_allclose(ours, trajectory(optax.adadelta(DECAYING, 0.8, 1e-4)), rtol=1e-11)


ADAM = {"b1": 0.8, "b2": 0.95, "eps": 1e-6, "eps_root": 1e-9}


def moments_by_hand(m, v, g):
    """The moving averages of Adam and its variants, with the decays above."""
    return 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g


def test_adam_with_eps_root_alone_is_the_form_with_the_constant_inside_the_root():
    def rule(w, gradient_at, t, m, v):
        m, v = moments_by_hand(m, v, gradient_at(w))
        return w - decaying(t) * m / (1 - 0.8**t) / np.sqrt(v / (1 - 0.95**t) + 1e-8), m, v

    ours = trajectory(regopt.adam(DECAYING, 0.8, 0.95, eps=0.0, eps_root=1e-8))
    np.testing.assert_allclose(ours, by_hand(rule, 0.0, 0.0), rtol=1e-12)
    np.testing.assert_allclose(first_step(regopt.adam(1e-3, eps=0.0, eps_root=1e-8), [1e-5]), 9.9504e-5, rtol=1e-4)
    np.testing.assert_allclose(first_step(regopt.adam(1e-3, eps=1e-8), [1e-5]), 9.9900e-4, rtol=1e-4)


def test_nadam_is_dozat_with_constant_momentum_and_optax():
    def rule(w, gradient_at, t, m, v):
        g = gradient_at(w)
        m, v = moments_by_hand(m, v, g)
        ahead = 0.8 * m / (1 - 0.8 ** (t + 1)) + 0.2 * g / (1 - 0.8**t)
        return w - decaying(t) * ahead / (np.sqrt(v / (1 - 0.95**t) + 1e-9) + 1e-6), m, v

    ours = trajectory(regopt.nadam(DECAYING, **ADAM))
    np.testing.assert_allclose(ours, by_hand(rule, 0.0, 0.0), rtol=1e-11)
    np.testing.assert_allclose(ours, trajectory(optax.nadam(DECAYING, **ADAM)), rtol=1e-10)


def test_amsgrad_is_reddi_kale_and_kumar():
    def rule(w, gradient_at, t, m, v, v_max):
        m, v = moments_by_hand(m, v, gradient_at(w))
        v_max = np.maximum(v_max, v)
        return w - decaying(t) * m / (np.sqrt(v_max + 1e-9) + 1e-6), m, v, v_max

    ours = trajectory(regopt.amsgrad(DECAYING, **ADAM))
    np.testing.assert_allclose(ours, by_hand(rule, 0.0, 0.0, 0.0), rtol=1e-12)
    theirs = optax.scale_by_amsgrad(**ADAM, bias_correction_mu=False, bias_correction_nu=False)
    theirs = trajectory(optax.chain(theirs, optax.scale_by_learning_rate(DECAYING)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    assert np.abs(ours - trajectory(optax.amsgrad(DECAYING, **ADAM))).max() > 1e-3  # which corrects both


def test_adamax_is_kingma_and_ba_without_a_constant():
    def rule(w, gradient_at, t, m, u):
        g = gradient_at(w)
        m, u = 0.8 * m + 0.2 * g, np.maximum(0.95 * u, np.abs(g))
        return w - decaying(t) / (1 - 0.8**t) * np.divide(m, u, out=np.zeros(9), where=u > 0), m, u

    ours = trajectory(regopt.adamax(DECAYING, 0.8, 0.95))
    np.testing.assert_allclose(ours, by_hand(rule, 0.0, 0.0), rtol=1e-11)
    theirs = trajectory(optax.adamax(DECAYING, 0.8, 0.95, eps=0.0))
    from_the_start = [0, 1, 2, 3, 5, 6, 7]  # where the first gradient is not zero, which is NaN for ever in theirs
    np.testing.assert_allclose(ours[:, from_the_start], theirs[:, from_the_start], rtol=1e-10)


def test_adamax_has_the_limit_of_the_root_of_the_moment_of_order_p():
    """``(1 - b2**p) u**p <= r <= (1 - b2**p) t u**p``, a sum of t terms whose largest is u**p."""
    grads = np.random.default_rng(3).normal(size=(40, 5))
    with jax.enable_x64(True):
        direction = regopt.optimizers.scale_by_adamax(b2=0.95)
        state = direction.init(jnp.zeros(5, jnp.float64))
        for g in grads:
            _, state = direction.update(jnp.asarray(g), state)
        u = np.asarray(state.nu)
    for p in (10, 100, 1000):
        terms = p * (np.log(np.abs(grads)) + np.log(0.95) * np.arange(39, -1, -1)[:, None])
        order_p = (np.log1p(-(0.95**p)) + np.logaddexp.reduce(terms, axis=0)) / p
        assert (np.log(u) + np.log1p(-(0.95**p)) / p <= order_p + 1e-12).all()
        assert (order_p <= np.log(u) + np.log(40) / p).all()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: regopt.adam(1e-3, eps=0.0),
        lambda: regopt.nadam(1e-3, eps=0.0),
        lambda: regopt.amsgrad(1e-3, eps=0.0),
        lambda: regopt.adamax(1e-3),
        lambda: regopt.adagrad(1e-3, eps=0.0),
        lambda: regopt.rmsprop(1e-3, eps_root=0.0),
        lambda: regopt.rmsprop(1e-3, eps_root=0.0, centered=True),
        lambda: regopt.lion(1e-3),
    ],
    ids=["adam", "nadam", "amsgrad", "adamax", "adagrad", "rmsprop", "centered rmsprop", "lion"],
)
def test_steps_do_not_depend_on_the_scale_of_the_gradient(optimizer):
    """Without the root they would be inversely proportional to it."""
    plain = trajectory(optimizer())
    scaled = trajectory(optax.chain(optax.scale(1000.0), optimizer()))
    np.testing.assert_allclose(scaled, plain, rtol=1e-10)


def test_adam_stays_near_the_minimum():
    """Without the root of the second moment it leaves 1e-4 for as far as 5."""

    def descend(carry, _):
        x, state = carry
        updates, state = optimizer.update(x, state, x)  # the slope of x^2 / 2
        return (x + updates, state), x

    optimizer = regopt.adam(1e-3)
    start = jnp.full(1, 1e-4)
    _, path = jax.lax.scan(descend, (start, optimizer.init(start)), length=500)
    assert np.abs(path).max() < 1e-3


def test_lion_is_chen_and_others_with_a_masked_decay():
    def rule(w, gradient_at, t, m):
        g = gradient_at(w)
        decay = 0.3 * np.array([1, 1, 1, 1, 0, 0, 1, 1, 1])  # not the bias
        return w - decaying(t) * (np.sign(0.8 * m + 0.2 * g) + decay * w), 0.95 * m + 0.05 * g

    ours = trajectory(regopt.lion(DECAYING, 0.8, 0.95, weight_decay=0.3))
    np.testing.assert_allclose(ours, by_hand(rule, 0.0), rtol=1e-11)
    everywhere = trajectory(regopt.lion(DECAYING, 0.8, 0.95, weight_decay=0.3, mask=None))
    theirs = optax.lion(DECAYING, 0.8, 0.95, weight_decay=0.3)
    np.testing.assert_allclose(everywhere, trajectory(theirs), rtol=1e-10)


def test_defaults_are_those_of_the_sources():
    def defaults(factory):
        parameters = inspect.signature(factory).parameters.values()
        return {x.name: x.default for x in parameters if isinstance(x.default, float)}

    adam = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0}
    assert defaults(regopt.adam) == defaults(regopt.nadam) == defaults(regopt.amsgrad) == adam
    assert defaults(regopt.adamax) == {"b1": 0.9, "b2": 0.999, "eps": 0.0}
    assert defaults(regopt.adagrad) == {"eps": 1e-7, "eps_root": 0.0, "initial_accumulator": 0.0}
    assert defaults(regopt.rmsprop) == {"decay": 0.9, "eps": 0.0, "eps_root": 1e-6}
    assert defaults(regopt.adadelta) == {"learning_rate": 1.0, "decay": 0.95, "eps_root": 1e-6}
    assert defaults(regopt.lion) == {"b1": 0.9, "b2": 0.99, "weight_decay": 1e-3}


WITHOUT_CONSTANTS = {
    "adam": lambda rate: regopt.adam(rate, eps=0.0),
    "nadam": lambda rate: regopt.nadam(rate, eps=0.0),
    "amsgrad": lambda rate: regopt.amsgrad(rate, eps=0.0),
    "adamax": lambda rate: regopt.adamax(rate),
    "lion": lambda rate: regopt.lion(rate, weight_decay=0.0),
    "adagrad": lambda rate: regopt.adagrad(rate, eps=0.0),
    "rmsprop": lambda rate: regopt.rmsprop(rate, 0.8, eps_root=0.0),
    "centered rmsprop": lambda rate: regopt.rmsprop(rate, 0.8, eps_root=0.0, centered=True),
    "rmsprop_nesterov": lambda rate: regopt.rmsprop_nesterov(rate, 0.8, 0.7, eps_root=0.0),
    "adadelta": lambda rate: regopt.adadelta(rate, 0.8, eps_root=0.0),
}
without_constants = pytest.mark.parametrize("optimizer", WITHOUT_CONSTANTS.values(), ids=WITHOUT_CONSTANTS)


@without_constants
def test_a_zero_gradient_is_a_zero_step_without_any_constant(optimizer):
    path = trajectory(optimizer(0.01))
    assert np.isfinite(path).all()
    np.testing.assert_array_equal(path[:, 4], START[4])  # where the gradient is always zero


@without_constants
def test_slopes_in_the_gradient_are_finite_without_any_constant(optimizer):
    params, grads = jnp.zeros(6), jnp.array([0.0, 1e-5, -1.0, 1e-12, 1e-30, 1e5])

    def third_step(grads):
        state = optimizer(0.01).init(params)
        updates = grads
        for scale in (1.0, 0.0, 2.0):
            updates, state = optimizer(0.01).update(scale * grads, state, params)
        return updates

    slopes = jax.jacobian(third_step)(grads)
    assert np.isfinite(slopes).all()


def test_errors_name_argument_range_and_value():
    cases = [
        (lambda: regopt.ema_momentum(0.1, 1.0), r"decay must lie in \[0, 1\), got 1.0"),
        (lambda: regopt.nesterov(0.1, -0.5), r"momentum must lie in \[0, 1\), got -0.5"),
        (lambda: regopt.nesterov({"out": -0.1}, 0.5), r"learning_rate must lie in \[0, inf\), got -0.1"),
        (
            lambda: regopt.adagrad(0.1, initial_accumulator=-1.0),
            r"initial_accumulator must lie in \[0, inf\), got -1.0",
        ),
        (lambda: regopt.rmsprop(0.1, 1.5), r"decay must lie in \[0, 1\), got 1.5"),
        (lambda: regopt.rmsprop(0.1, eps_root=-1.0), r"eps_root must lie in \[0, inf\), got -1.0"),
        (lambda: regopt.rmsprop_nesterov(0.1, momentum=1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda: regopt.adadelta(decay=-0.1), r"decay must lie in \[0, 1\), got -0.1"),
        (lambda: regopt.adamax(0.1, eps=float("nan")), r"eps must lie in \[0, inf\), got nan"),
        (lambda: regopt.nadam(0.1, b1=1.0), r"b1 must lie in \[0, 1\), got 1.0"),
        (lambda: regopt.amsgrad(0.1, b2=2.0), r"b2 must lie in \[0, 1\), got 2.0"),
        (lambda: regopt.lion(0.1, weight_decay=-2.0), r"weight_decay must lie in \[0, inf\), got -2.0"),
    ]
    for build, message in cases:
        with pytest.raises(ValueError, match=message):
            build()
