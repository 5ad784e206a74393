"""The metric that is read from an optimizer's program: what it is, which leaves are trained, which wrappers keep it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import penalties, projections, transforms
from regopt.regularization._metric import step
from regopt.regularization._reading import read, starts


def steps_of(optimizer, grads, params=None):
    """The steps of the prox after each gradient, and the updates."""
    optimizer = optax.with_extra_args_support(optimizer)
    params = jnp.full_like(grads[0], 0.5) if params is None else params
    state = optimizer.init(params)
    responses, found = starts(read(optimizer, params, state), state), []
    for count, g in enumerate(grads):
        with jax.numpy_dtype_promotion("standard"):  # for optax
            taken = step(optimizer, g, state, params, responses, {"value": jnp.ones(())}, jnp.asarray(count))
        state, responses = taken.state, taken.responses
        found.append((np.asarray(taken.steps), np.asarray(taken.updates)))
    return found


GRADS = np.random.default_rng(0).normal(size=(5, 3)) + 0.5


def adam_steps(rate, b2=0.999, eps=1e-8):
    nu, found = 0.0, []
    for t, g in enumerate(GRADS, 1):
        nu = b2 * nu + (1 - b2) * g**2
        found.append(rate / (np.sqrt(nu / (1 - b2**t)) + eps))
    return found


def momentum_steps(rate, decay):
    return [rate * (1 - decay**t) / (1 - decay) for t in range(1, 6)]


@jax.custom_jvp
def doubled(g):
    """Linear, with a derivative of its own."""
    return 2 * g


doubled.defjvp(lambda primals, tangents: (doubled(*primals), 2 * tangents[0]))


NEGATIVE = optax.stateless(lambda grads, _: jax.tree.map(jnp.negative, grads))
STEPS = {
    "sgd": (lambda: regopt.sgd(0.3), [0.3] * 5),
    "a rate that turns negative": (lambda: optax.sgd(lambda t: 0.3 - 0.2 * t), [0.3, 0.1, 0, 0, 0]),
    "a schedule": (lambda: optax.sgd(lambda t: 0.3 / (t + 1)), [0.3 / t for t in range(1, 6)]),
    "scale behind": (lambda: optax.chain(regopt.sgd(0.3), optax.scale(0.5)), [0.15] * 5),
    "momentum": (lambda: optax.sgd(0.3, momentum=0.8), momentum_steps(0.3, 0.8)),
    "heavy ball, displaced": (lambda: regopt.heavy_ball(0.3, 0.8), [0.3] * 5),
    "scaled ball": (
        lambda: optax.chain(regopt.heavy_ball(0.6, 0.8), optax.scale(0.5)),
        momentum_steps(0.3, 0.8),
    ),
    "ball behind a copy, displaced": (
        lambda: optax.chain(regopt.heavy_ball(0.3, 0.8), optax.stateless(lambda u, _: jnp.copy(u))),
        [0.3] * 5,
    ),
    "ball of the negative gradient": (  # the velocity is not the update
        lambda: optax.chain(NEGATIVE, regopt.heavy_ball(0.3, 0.8), NEGATIVE),
        momentum_steps(0.3, 0.8),
    ),
    "adam of optax": (lambda: optax.adam(0.1), adam_steps(0.1)),
    "adam": (lambda: regopt.adam(0.1), adam_steps(0.1)),
    "hyperparameters in the state": (lambda: optax.inject_hyperparams(optax.adam)(0.1), adam_steps(0.1)),
    "decay beside": (lambda: optax.adamw(0.1, weight_decay=0.5), adam_steps(0.1)),
    "every second": (lambda: optax.MultiSteps(optax.sgd(0.3), 2).gradient_transformation(), [0, 0.3, 0, 0.3, 0]),
    "accumulated": (lambda: regopt.accumulate(regopt.sgd(0.3), 2), [0, 0.3, 0, 0.3, 0]),
    "a function with a derivative of its own": (lambda: entry_by_entry(doubled), [0.2] * 5),
    "some entries": (
        lambda: entry_by_entry(lambda g: jnp.where(jnp.array([True, False, True]), g, 0.0)),
        [np.array([0.1, 0.0, 0.1])] * 5,
    ),
    "clipped": (
        lambda: optax.chain(optax.clip_by_global_norm(0.7), optax.sgd(0.3)),
        [0.3 * min(1, 0.7 / np.linalg.norm(g)) for g in GRADS],
    ),
    "clipped in a guard": (
        lambda: regopt.guard(regopt.sgd(0.3), 0.7),
        [0.3 * min(1, 0.7 / np.linalg.norm(g)) for g in GRADS],
    ),
    "a plateau": (
        lambda: optax.chain(regopt.sgd(0.3), transforms.reduce_on_plateau(0.5, 2)),
        [0.3, 0.3, 0.15, 0.15, 0.075],
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_the_step_is_what_the_update_makes_of_gradients_of_one(name):
    make, expected = STEPS[name]
    with jax.enable_x64(True):
        found = steps_of(make(), [jnp.asarray(g) for g in GRADS])
    for (steps, _), want in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.broadcast_to(steps, (3,)), np.broadcast_to(want, (3,)), rtol=2e-6)


def test_a_step_in_units_of_the_parameters_is_one_for_each_entry():
    """``-0.1 w**2 g`` is gradient descent in the metric ``1 / w**2``, whose prox of l1 shrinks by ``0.1 w**2`` each."""
    scaled = optax.stateless(lambda grads, params: jax.tree.map(lambda g, w: -0.1 * w**2 * g, grads, params))
    w = jnp.array([0.5, -2.0, 1.0])
    ((steps, _),) = steps_of(scaled, [jnp.ones(3)], w)
    np.testing.assert_allclose(steps, [0.025, 0.4, 0.1], rtol=1e-6)
    wrapped = regopt.regularize(scaled, penalties.l1(0.5, mask=None), "proximal")
    updates, _ = wrapped.update(jnp.zeros(3), wrapped.init(w), w)
    np.testing.assert_allclose(w + updates, [0.4875, -1.8, 0.95], rtol=1e-6)


def test_what_is_uniform_over_a_leaf_is_kept_as_a_number():
    params = {"w": jnp.ones((30, 20)), "b": jnp.ones(20)}
    halved = optax.stateless(lambda grads, _: jax.tree.map(lambda g: g * (0.25 * jnp.full_like(g, 2.0)), grads))
    momentum = optax.sgd(0.1, momentum=0.9)
    cases = ((regopt.adam(0.1), 2), (regopt.sgd(0.1), 0), (momentum, 2), (optax.chain(halved, momentum), 2))
    for optimizer, count in cases:
        state = regopt.regularize(optimizer, penalties.l1(0.1), "proximal").init(params)
        assert [response.shape for response in state.responses] == [()] * count


def test_a_run_of_the_program_is_the_update():
    """With calls, branches and derivatives of their own in it."""
    optimizer = regopt.guard(optax.MultiSteps(regopt.adam(0.1), 2).gradient_transformation())
    params = jnp.full(3, 0.5)
    state = optimizer.init(params)
    found = steps_of(optimizer, [jnp.asarray(g, jnp.float32) for g in GRADS], params)
    update = jax.jit(optimizer.update)
    for g, (_, updates) in zip(GRADS, found, strict=True):
        with jax.numpy_dtype_promotion("standard"):
            expected, state = update(jnp.asarray(g, jnp.float32), state, params)
        np.testing.assert_allclose(updates, expected, rtol=1e-6)


@pytest.mark.parametrize("how", ["decoupled", "proximal", "constraint"])
@pytest.mark.parametrize("penalty", [penalties.l1(0.5), penalties.box(-0.1, 0.1)], ids=["l1", "box"])
def test_what_the_optimizer_does_not_train_no_penalty_touches(how, penalty):
    params = {"train": jnp.ones(3), "freeze": jnp.ones(3)}
    labels = {"train": "train", "freeze": "freeze"}
    optimizer = optax.partition({"train": regopt.adam(0.1), "freeze": optax.set_to_zero()}, labels)
    if how == "constraint":
        wrapped = regopt.regularize(optimizer, how=how, constraint=lambda w: projections.projection_box(w, -0.1, 0.1))
    elif how == "decoupled":
        wrapped = regopt.regularize(optimizer, penalties.l2(0.5), how, learning_rate=0.1)
    else:
        wrapped = regopt.regularize(optimizer, penalty, how)
    state, update = wrapped.init(params), jax.jit(wrapped.update)
    for _ in range(3):
        updates, state = update({"train": jnp.ones(3), "freeze": jnp.ones(3)}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(params["freeze"], 1.0)
    assert np.all(params["train"] < 0.8)


def test_a_rate_of_zero_moves_nothing():
    optimizer = regopt.regularize(regopt.adam(0.0), penalties.l1(0.5), "proximal")
    params = jnp.array([1.0, -0.2])
    updates, _ = optimizer.update(jnp.ones(2), optimizer.init(params), params)
    np.testing.assert_array_equal(updates, 0)


def test_an_optimizer_that_ascends_shows_at_once():
    optimizer = regopt.regularize(optax.scale(0.1), penalties.l1(0.5), "proximal")
    updates, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))
    assert np.all(np.isnan(updates))


def test_an_optimizer_may_take_the_gradient_as_an_extra_argument():
    """Its step is read as from the gradient itself, and the prox is the soft threshold at the step times 0.5."""
    optimizer = optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), lambda grads, state, params=None, *, grad, **_: (-0.1 * grad, state)
    )
    wrapped = regopt.regularize(optimizer, penalties.l1(0.5, mask=None), "proximal")
    w, g = np.array([1.0, -0.5, 0.02]), np.array([2.0, -1.0, 0.1])
    with jax.enable_x64(True):
        updates, _ = wrapped.update(jnp.asarray(g), wrapped.init(jnp.asarray(w)), jnp.asarray(w), grad=jnp.asarray(g))
    stepped = w - 0.1 * g
    np.testing.assert_allclose(
        w + np.asarray(updates), np.sign(stepped) * np.maximum(np.abs(stepped) - 0.05, 0), atol=1e-15
    )


def test_an_update_that_evaluates_the_loss_only_when_it_can_is_refused_there():
    def update(grads, state, params=None, *, value_fn=None, **_):
        factor = 0.1 if value_fn is None else 0.1 * value_fn(params)
        return jax.tree.map(lambda g: -factor * g, grads), state

    hidden = optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), lambda g, s, p=None, **extra: update(g, s, p, value_fn=extra.get("loss_of"))
    )
    optimizer = regopt.regularize(hidden, penalties.l1(0.5), "proximal")
    state = optimizer.init(jnp.ones(2))
    with pytest.raises(ValueError, match="evaluates the loss itself"):
        optimizer.update(jnp.ones(2), state, jnp.ones(2), loss_of=lambda w: jnp.sum(w**2))


def entry_by_entry(function):
    return optax.GradientTransformation(
        lambda params: optax.EmptyState(), lambda grads, state, params=None: (function(-0.1 * grads), state)
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda g: jnp.where(g > 0.1, 0.1, g),
        lambda g: jnp.where(g == 0.1, 0.0, g),
        lambda g: jnp.where(jnp.abs(g) > 0.1, 0.1 * g, g),
        lambda g: jnp.where(g != g[::-1], g, 0.0),
        lambda g: g / (1 + jnp.abs(g)),
        lambda g: g * jnp.where(g > 0, 2.0, 1.0),
        lambda g: jnp.select([g > 0.1, g < -0.1], [0.1, -0.1], g),
    ],
)
@pytest.mark.parametrize("how", ["proximal", "constraint"])
def test_functions_of_single_entries_are_no_metric(function, how):
    """A clip that is written as a choice ended at [2, 0.5] with l1(2), where the lasso ends at [1, 0]."""
    options = {"penalty": penalties.l1(2.0, mask=None)} if how == "proximal" else {"constraint": jnp.abs}
    optimizer = regopt.regularize(entry_by_entry(function), how=how, **options)
    with pytest.raises(ValueError, match=f'how="{how}" needs an optimizer that scales each entry of the gradient'):
        optimizer.init(jnp.ones(2))


def test_a_gradient_may_be_compared_with_itself():
    """An entry that differs from itself is NaN, so the comparison holds for all numbers that are finite."""
    optimizer = entry_by_entry(lambda g: jnp.where(g != g, 0.0, g))
    regopt.regularize(optimizer, penalties.l1(0.5, mask=None), "proximal").init(jnp.ones(2))


@pytest.mark.parametrize(("error", "word"), [(ValueError("no room\nfor it"), "no room"), (TypeError(), "TypeError")])
def test_the_error_of_an_update_is_named_by_its_first_line(error, word):
    def update(grads, state, params=None):
        raise error

    broken = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
    with pytest.raises(ValueError, match=f'its update raises "{word}": mend that') as raised:
        regopt.regularize(broken, penalties.l1(0.5), "proximal").init(jnp.ones(2))
    assert "\n" not in str(raised.value)


def test_lanes_and_derivatives_pass_through_the_reading():
    def last(rate, strength):
        optimizer = regopt.regularize(regopt.adam(rate), penalties.l1(strength), "proximal")
        w, state = jnp.array([1.0, -0.6]), None
        state = optimizer.init(w)
        for _ in range(3):
            updates, state = optimizer.update(w - 0.3, state, w)
            w = w + updates
        return w

    rates, strengths = jnp.array([0.1, 0.02]), jnp.array([0.2, 0.4])
    lanes = jax.jit(jax.vmap(last))(rates, strengths)
    last = jax.jit(last)
    for lane, rate, strength in zip(lanes, rates, strengths, strict=True):
        np.testing.assert_allclose(lane, last(rate, strength), rtol=1e-6)
    with jax.enable_x64(True):
        slopes = jax.jit(jax.jacobian(last, argnums=(0, 1)))(0.1, 0.2)
        for slope, (rate, strength) in zip(slopes, ((1e-6, 0.0), (0.0, 1e-6)), strict=True):
            expected = (last(0.1 + rate, 0.2 + strength) - last(0.1 - rate, 0.2 - strength)) / 2e-6
            assert np.all(np.abs(expected) > 1e-3)
            np.testing.assert_allclose(slope, expected, rtol=1e-6)


@pytest.mark.parametrize("how", ["decoupled", "proximal"])
def test_a_state_that_changes_its_structure_is_refused_in_a_line_that_says_where(how):
    """The monitor of optax begins without measurements."""
    optimizer = optax.chain(optax.monitor({"norm": optax.tree.norm}), optax.adam(0.1))
    with pytest.raises(ValueError, match=r"keep the structure of states.* adds '0/measurements/norm'"):
        regopt.regularize(optimizer, regopt.penalties.l1(0.1), how).init({"w": jnp.ones(3)})
