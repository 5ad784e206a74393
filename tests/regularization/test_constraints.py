"""Constraints end at the constrained minimum, or are refused where the optimizer's metric would lead elsewhere."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import penalties, projections

PARAMS = {"a": jnp.full((3, 2), 0.1), "b": jnp.full(4, 0.1)}


def problem():
    """Least squares in two leaves, in float64: the matrix and the target."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 10)) * np.geomspace(0.5, 2.0, 10)
    return x, x @ rng.normal(size=10) + 0.1 * rng.normal(size=40)


def flat(params):
    return jnp.concatenate([jnp.ravel(params["a"]), params["b"]])


def loss(params):
    x, y = problem()
    return jnp.sum((x @ flat(params) - y) ** 2) / (2 * len(y))


def l1_ball(v, radius):
    if np.abs(v).sum() <= radius:
        return v
    sizes = np.sort(np.abs(v))[::-1]
    excess = (np.cumsum(sizes) - radius) / np.arange(1, len(v) + 1)
    return np.sign(v) * np.maximum(np.abs(v) - excess[np.flatnonzero(sizes > excess)[-1]], 0)


def l2_ball(v, radius):
    return v * min(1.0, radius / np.linalg.norm(v))


def simplex(v):
    sizes = np.sort(v)[::-1]
    excess = (np.cumsum(sizes) - 1) / np.arange(1, len(v) + 1)
    return np.maximum(v - excess[np.flatnonzero(sizes > excess)[-1]], 0)


SETS = {
    "l1 ball": (lambda w: projections.projection_l1_ball(w, 1.5), lambda v: l1_ball(v, 1.5)),
    "l2 ball": (lambda w: projections.projection_l2_ball(w, 0.8), lambda v: l2_ball(v, 0.8)),
    "simplex": (projections.projection_simplex, simplex),
}


def reference(project):
    """The constrained minimum, by projected gradients in NumPy."""
    x, y = problem()
    v, rate = np.full(10, 0.1), len(y) / np.linalg.norm(x, 2) ** 2
    for _ in range(20_000):
        v = project(v - rate * x.T @ (x @ v - y) / len(y))
    return v


def trained(optimizer, steps=4000):
    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jax.tree.map(lambda w: jnp.asarray(w, float), PARAMS)
    (params, state), _ = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=steps))()
    return regopt.final_params(params, state)


def by_label(first, second):
    return optax.partition({"first": first, "second": second}, {"a": "first", "b": "second"})


def in_turn(first, second):
    """Trains the leaf a in the even steps (0) or the odd ones (1), and so the leaf b."""

    def update(grads, count, params=None):
        turns = {"a": count % 2 == first, "b": count % 2 == second}
        chosen = {name: (-0.1 * g, jnp.zeros_like(g)) for name, g in grads.items()}
        return {name: jax.lax.select(turns[name], *pair) for name, pair in chosen.items()}, count + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


ALIKE = {
    "sgd": lambda: regopt.sgd(0.1),
    "heavy_ball": lambda: regopt.heavy_ball(0.05, 0.9),
    "nesterov": lambda: regopt.nesterov(0.05, 0.9),
    "a schedule": lambda: optax.sgd(optax.constant_schedule(0.05), momentum=0.9, nesterov=True),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
    "a guard": lambda: regopt.guard(regopt.sgd(0.1), 1.0),
    "every second step": lambda: regopt.accumulate(regopt.sgd(0.1), 2),
    "equal rates": lambda: by_label(optax.sgd(0.1), optax.sgd(0.1)),
}
UNLIKE = {
    "adam": (lambda: regopt.adam(0.01), "entries of a that the optimizer scales by different factors"),
    "rates by layer": (lambda: regopt.sgd({"a": 0.1, "b": 0.02}), "the leaves a, b, whose learning rates"),
    "rates by label": (lambda: by_label(optax.sgd(0.1), optax.sgd(0.02)), "the leaves a, b, whose learning rates"),
    "momentum by label": (lambda: by_label(optax.sgd(0.1, 0.9), optax.sgd(0.1, 0.5)), "the leaves a, b, whose"),
    "schedules": (lambda: by_label(optax.sgd(lambda _: 0.1), optax.sgd(lambda t: 0.1 / (1 + t))), "the leaves a, b"),
    "leaves in turn": (lambda: in_turn(0, 1), "the leaves a, b, whose learning rates"),
    "a frozen leaf": (lambda: by_label(optax.sgd(0.1), optax.set_to_zero()), "a, b, not all of which are trained"),
}


@pytest.mark.parametrize(("alike", "name"), [*zip(ALIKE, [*SETS] * 3, strict=False)])
def test_with_one_step_for_all_coordinates_the_end_is_the_constrained_minimum(alike, name):
    ours, theirs = SETS[name]
    with jax.enable_x64(True):
        found = trained(regopt.regularize(ALIKE[alike](), how="constraint", constraint=ours))
        np.testing.assert_allclose(flat(found), reference(theirs), atol=1e-6)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("unlike", UNLIKE)
def test_a_set_that_couples_coordinates_with_other_steps_is_refused(name, unlike):
    make, named = UNLIKE[unlike]
    optimizer = regopt.regularize(make(), how="constraint", constraint=SETS[name][0])
    with pytest.raises(ValueError, match=f"would not end at the constrained minimum: the projection couples .*{named}"):
        optimizer.init(PARAMS)


@pytest.mark.parametrize(("count", "named"), [(3, "the leaves a, b, c, whose"), (4, "the leaves a, b, c, ..., whose")])
def test_of_many_coupled_leaves_three_are_named_and_dots_stand_for_more(count, named):
    params = dict.fromkeys("abcd"[:count], jnp.ones(2))
    rates = {name: 0.1 * place for place, name in enumerate(params, 1)}
    optimizer = regopt.regularize(regopt.sgd(rates), how="constraint", constraint=SETS["l2 ball"][0])
    with pytest.raises(ValueError, match=re.escape(f"couples {named} learning rates")):
        optimizer.init(params)


@pytest.mark.parametrize("unlike", UNLIKE)
def test_the_ball_of_a_penalty_is_a_set_like_others(unlike):
    optimizer = regopt.regularize(UNLIKE[unlike][0](), penalties.l1(mask=None), "constraint", radius=1.5)
    with pytest.raises(ValueError, match=r'take sgd or momentum with one learning rate.*how="proximal"'):
        optimizer.init(PARAMS)


def test_a_set_for_each_entry_goes_with_every_metric():
    with jax.enable_x64(True):
        expected = reference(lambda v: np.clip(v, -0.2, 0.3))
        for make in (regopt.adam, lambda rate: by_label(regopt.adam(rate), regopt.sgd(10 * rate))):
            optimizer = regopt.regularize(
                make(0.01), how="constraint", constraint=lambda w: projections.projection_box(w, -0.2, 0.3)
            )
            np.testing.assert_allclose(flat(trained(optimizer)), expected, atol=1e-6)


def test_leaves_that_move_by_the_same_steps_may_be_coupled_whatever_is_added_to_their_gradients():
    decayed = optax.add_decayed_weights(0.1, mask={"a": True, "b": False})
    for optimizer in (optax.chain(decayed, optax.sgd(0.1)), in_turn(1, 1)):
        regopt.regularize(optimizer, how="constraint", constraint=SETS["l2 ball"][0]).init(PARAMS)


def test_what_a_projection_leaves_alone_may_have_another_metric():
    def only_a(params):
        return {**params, "a": projections.projection_l2_ball(params["a"], 0.3)}

    for optimizer in (by_label(optax.sgd(0.1), optax.adam(0.1)), by_label(optax.sgd(0.1), optax.set_to_zero())):
        regopt.regularize(optimizer, how="constraint", constraint=only_a).init(PARAMS)
    with pytest.raises(ValueError, match="entries of a that"):
        regopt.regularize(optax.adam(0.1), how="constraint", constraint=only_a).init(PARAMS)


def test_traced_rates_of_one_optimizer_are_one_rate():
    def step(rate):
        optimizer = regopt.regularize(regopt.heavy_ball(rate, 0.9), penalties.l1(mask=None), "constraint", radius=0.5)
        params: Any = PARAMS
        updates: Any = optimizer.update(params, optimizer.init(params), params)[0]
        return updates

    lanes = jax.jit(jax.vmap(step))(jnp.array([0.1, 0.3]))
    np.testing.assert_allclose(lanes["a"][1], step(0.3)["a"], rtol=1e-6)

    def two(rates):
        optimizer = regopt.regularize(
            regopt.sgd({"a": rates[0], "b": rates[1]}), penalties.l1(mask=None), "constraint", radius=0.5
        )
        return optimizer.init(PARAMS)

    with pytest.raises(ValueError, match="whose learning rates are not known to be the same"):
        jax.jit(two)(jnp.array([0.1, 0.3]))


@pytest.mark.parametrize(
    ("penalty", "named"),
    [
        (penalties.nuclear(0.1), "the prox of nuclear wants one step for each matrix"),
        (penalties.total(penalties.total_variation(0.1), penalties.l1(0.1)), "not known for a step for each entry"),
        (penalties.total(penalties.group_lasso(0.1), penalties.l2_norm(0.1)), "not known for a step for each entry"),
    ],
)
def test_a_prox_that_does_not_take_the_metric_is_refused_by_init(penalty, named):
    with pytest.raises(ValueError, match=named):
        regopt.regularize(regopt.adam(0.1), penalty, "proximal").init(jnp.ones((3, 2)))
    regopt.regularize(regopt.heavy_ball(0.1, 0.9), penalty, "proximal").init(jnp.ones((3, 2)))
