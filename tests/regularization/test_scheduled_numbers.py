"""A number that may be a schedule: constant it is the number, otherwise each step has the value at its count."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import penalties
from regopt._core.types import NumberOrSchedule, ScheduledNumber
from regopt.testing import CATALOGUE

PARAMS = {"kernel": np.array([[1.0, -2.0, 0.7, 0.4], [0.5, 3.0, -0.6, 0.2], [0.3, 0.8, -1.1, 0.9]]), "bias": np.ones(4)}
PARAMS["twin"] = np.linspace(-1.0, 1.0, 4)
TYPES = (ScheduledNumber, ScheduledNumber | None, NumberOrSchedule)
SCHEDULABLE = [
    (row, name)
    for row in CATALOGUE
    if row.kind in ("transform", "penalty") and not row.variant
    for name, parameter in inspect.signature(row.factory).parameters.items()
    if parameter.annotation in TYPES and len(row.numbers.get(name, ())) > 1
]
IDS = [f"{row.name}-{name}" for row, name in SCHEDULABLE]
STEPS = 4
PULLS = (0.1, -0.9, 0.4, -0.2)  # of the gradient in each step: its signs change
WITHOUT_EFFECT = {  # what the second value does not change in these steps; in all others a schedule is seen to act
    ("accumulate", "every"),  # its count is that of the steps
    ("box", "upper"),
    ("lion", "b2"),  # only signs of the moment show; a longer run by hand is in test_schedules_by_hand.py
    ("scale_by_lion", "b2"),
    ("reduce_on_plateau", "factor"),  # the scale is at its smallest before
    ("reduce_on_plateau", "rtol"),
    ("reduce_on_plateau", "atol"),
    ("reduce_on_plateau", "cooldown"),
}


def falling(first, second, calls=1):
    """The first value for two steps and then the second one; a step has several calls where the row makes them."""
    return lambda count: jnp.where(count < 2 * calls, jnp.float64(first), jnp.float64(second))


def optimizer_of(row, **numbers):
    if row.kind == "transform":
        return row.make(**numbers)
    penalty = penalties.tie("bias", "twin", **numbers) if row.factory is penalties.tie else row.make(**numbers)
    return regopt.regularize(regopt.sgd(0.5), penalty, "proximal" if penalty.has_prox else "gradient")


def path(optimizers):
    """The parameters after each step; step k is taken by the k-th optimizer, and all have one form of state."""
    params = jax.tree.map(lambda x: jnp.asarray(x, float), PARAMS)
    state, found = optimizers[0].init(params), []
    steps = {id(optimizer): jax.jit(functools.partial(step, optimizer)) for optimizer in optimizers}
    for optimizer, pull in zip(optimizers, PULLS, strict=True):
        params, state, final = steps[id(optimizer)](params, state, pull)
        found.append(final)
    return found


def step(optimizer, params, state, pull):
    grads = jax.tree.map(lambda w: 0.3 * w + pull, params)
    updates, state = optimizer.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    return params, state, regopt.final_params(params, state)


def assert_same(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), found, expected)


def differ(found, others):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(others), strict=True)
    return any(not np.allclose(a, b, rtol=1e-8, atol=1e-10) for a, b in pairs)


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("row", "name"), SCHEDULABLE, ids=IDS)
def test_each_step_has_the_value_at_its_count(row, name):
    first, second = row.numbers[name][:2]
    numbers = [first, first, second, second]
    if row.factory in (regopt.nesterov, regopt.rmsprop_nesterov) and name == "momentum":
        numbers = [first, second, second, second]  # in this form a step ends at the point of the next gradient
    if row.factory is regopt.accumulate and name == "every":
        numbers = [first] * STEPS  # its schedule is of the steps, of which two calls make one
    calls = 8 if row.factory is regopt.transforms.reduce_on_plateau else 1  # its row feeds eight values to an update
    with jax.enable_x64(True):
        usual = optimizer_of(row, **{name: first})
        constant = path([optimizer_of(row, **{name: lambda _: jnp.float64(first)})] * STEPS)
        assert_same(constant, path([usual] * STEPS))
        changing = path([optimizer_of(row, **{name: falling(first, second, calls)})] * STEPS)
        each = {number: optimizer_of(row, **{name: number}) for number in numbers}
        assert_same(changing, path([each[number] for number in numbers]))
    assert differ(changing, constant) == ((row.factory.__name__, name) not in WITHOUT_EFFECT)


@pytest.mark.parametrize(
    "make",
    [
        lambda number: regopt.newton(regularization=number),
        lambda number: regopt.diagonal_newton(regularization=number),
        lambda number: regopt.newton_cg(forcing=number),
    ],
    ids=["newton", "diagonal_newton", "newton_cg"],
)
def test_a_number_of_a_second_order_optimizer_has_the_value_at_its_count(make):
    def loss(w):
        scales = jnp.array([1.0, 3.0, 9.0, 27.0], w.dtype)
        return jnp.sum(scales * jnp.cosh(w - 0.3)) + jnp.sum(w) ** 2

    def run(optimizers):
        w = jnp.array([1.0, -0.7, 0.2, 0.9])
        state = optimizers[0].init(w)
        for optimizer in optimizers:
            grad = jax.grad(loss)(w)
            updates, state = optimizer.update(grad, state, w, value=loss(w), grad=grad, value_fn=loss)
            w = optax.apply_updates(w, updates)
        return w

    with jax.enable_x64(True):
        changing = run([make(falling(0.9, 0.1))] * STEPS)
        constants = [make(lambda _, number=number: jnp.float64(number)) for number in (0.9, 0.9, 0.1, 0.1)]
        np.testing.assert_allclose(changing, run(constants), rtol=1e-12)
        assert not np.allclose(changing, run([make(0.9)] * STEPS), rtol=1e-6)


def test_a_number_that_belongs_to_no_step_takes_no_schedule():
    for make in (lambda **numbers: regopt.adagrad(0.1, **numbers), regopt.optimizers.scale_by_adagrad):
        with pytest.raises(ValueError, match=r"^initial_accumulator must be a number in \[0, inf\)[^\n]*$"):
            make(eps=lambda _: 0.1, initial_accumulator=lambda count: 0.1 * count)


def test_most_numbers_may_be_schedules():
    assert len(SCHEDULABLE) > 90
    names = {name for _, name in SCHEDULABLE}
    assert {"learning_rate", "momentum", "decay", "b1", "b2", "eps", "weight_decay", "strength", "l1_ratio"} <= names


def warming(count):
    """A strength that grows by a half in each step."""
    return 0.05 * (jnp.asarray(count, float) + 1)


@pytest.mark.parametrize("how", ["gradient", "decoupled", "proximal"])
@pytest.mark.parametrize("make", [regopt.adam, lambda rate: regopt.heavy_ball(rate, 0.9)], ids=["adam", "heavy_ball"])
def test_a_strength_by_schedule_in_each_way(how, make):
    def optimizer(strength):
        return regopt.regularize(make(0.1), penalties.total(penalties.l1(strength), penalties.l2(0.1)), how)

    with jax.enable_x64(True):
        assert_same(path([optimizer(warming)] * STEPS), path([optimizer(warming(count)) for count in range(STEPS)]))


def test_a_radius_by_schedule():
    def optimizer(radius):
        return regopt.regularize(
            regopt.heavy_ball(0.1, 0.9), penalties.l2(mask={"kernel": True, "*": False}), "constraint", radius=radius
        )

    with jax.enable_x64(True):
        radii = [2.0 - 0.25 * count for count in range(STEPS)]
        found = path([optimizer(lambda count: 2.0 - 0.25 * jnp.asarray(count, float))] * STEPS)
        assert_same(found, path([optimizer(radius) for radius in radii]))
        sizes = [float(jnp.linalg.norm(params["kernel"])) for params in found]
        assert np.all(np.array(sizes) <= np.array(radii) * (1 + 1e-12))
        np.testing.assert_allclose([sizes[0], sizes[3]], [radii[0], radii[3]], rtol=1e-12)


def test_what_a_penalty_with_a_schedule_has_and_lacks():
    params = jax.tree.map(jnp.asarray, PARAMS)
    penalty = penalties.scaled(penalties.group_lasso({"kernel": warming, "*": 0.0}), 2.0)
    assert penalty.has_prox
    assert penalty.mask(params) == {"kernel": True, "bias": False, "twin": True}
    with pytest.raises(ValueError, match=r"is a schedule, so it has no value without a count: .* penalty.at\(count\)"):
        penalty.value(params)
    now = penalties.scaled(penalties.group_lasso({"kernel": 0.2, "*": 0.0}), 2.0)
    np.testing.assert_allclose(penalty.now(jnp.int32(3)).value(params), now.value(params), rtol=1e-6)
    assert now.now(jnp.int32(3)) is now


def test_a_scan_over_a_schedule_has_a_closed_carry_and_lanes():
    def train(rate):
        optimizer = regopt.regularize(
            regopt.adam(rate, b1=lambda count: 0.9 - warming(count)),
            penalties.l1(lambda count: rate * warming(count)),
            "proximal",
        )
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), PARAMS)

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(params, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=3)[0][0]

    lanes = jax.jit(jax.vmap(train))(jnp.array([0.1, 0.3]))
    assert_same(jax.tree.map(lambda x: x[1].astype(float), lanes), jax.tree.map(lambda x: x.astype(float), train(0.3)))
