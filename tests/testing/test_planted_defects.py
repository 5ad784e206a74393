"""Defects that are planted in optimizers, penalties, schedules and so on: the public checks find each of them."""

import math

import jax
import jax.numpy as jnp
import optax
import pytest

from regopt import testing
from regopt.penalties import Penalty

RATE = {"learning_rate": (0.1, 0.01)}
STRENGTH = {"numbers": {"strength": (0.3, 1.7)}, "ends": {"strength": (0.0,)}}
NO_STATE = optax.EmptyState()


def at_least_0(name, value):
    """The check that a factory makes of a concrete number."""
    if not isinstance(value, jax.Array) and not value >= 0:
        raise ValueError(f"{name} must lie in [0, inf), got {value}")


def like(number, leaf):
    return jnp.asarray(number).astype(leaf.dtype)


def momentum(
    learning_rate,
    *,
    init=jnp.zeros_like,
    scale=like,
    root=lambda g: g,
    checked=True,
    static=lambda rate: rate,
    extra=True,
):
    """An optimizer with places for defects; as it stands it has none."""
    if checked:
        at_least_0("learning_rate", learning_rate)

    def start(params):
        return jax.tree.map(init, params)

    def update(grads, state, params=None, **extra_args):
        rate = static(learning_rate)
        state = jax.tree.map(lambda m, g: scale(0.5, m) * m + root(g.astype(m.dtype)), state, grads)
        return jax.tree.map(lambda m, p: (-scale(rate, m) * m).astype(p.dtype), state, params), state

    kind = optax.GradientTransformationExtraArgs if extra else optax.GradientTransformation
    return kind(start, update)


def widening(learning_rate):
    """A state that becomes float32 when the number is a tracer."""
    at_least_0("learning_rate", learning_rate)

    def update(grads, state, params=None, **extra_args):
        with jax.numpy_dtype_promotion("standard"):
            state = jax.tree.map(lambda m, g: m + learning_rate * g.astype(m.dtype), state, grads)
        return jax.tree.map(lambda m, p: (-m).astype(p.dtype), state, params), state

    return optax.GradientTransformationExtraArgs(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def crossing_lanes(learning_rate):
    """The rate of a lane is divided by the largest of all lanes."""
    at_least_0("learning_rate", learning_rate)

    def update(grads, state, params=None, **extra_args):
        @jax.custom_batching.custom_vmap
        def scaled(g):
            return g

        @scaled.def_vmap
        def _(size, batched, g):
            return g + jnp.sum(g, axis=0, keepdims=True) * 1e-3, True

        return jax.tree.map(lambda g, p: (-like(learning_rate, g) * scaled(g)).astype(p.dtype), grads, params), state

    return optax.GradientTransformationExtraArgs(lambda params: NO_STATE, update)


OPTIMIZERS = {
    "a branch on the number": (
        lambda learning_rate: momentum(learning_rate, static=lambda rate: rate if rate > 0 else 0.0),
        "a traced number gives what the python number gives",
    ),
    "a state that widens": (widening, "the carry stays closed with traced numbers"),
    "a number that does nothing": (
        lambda learning_rate: momentum(learning_rate, static=lambda rate: 0 * rate + 0.1),
        "a number changes the result",
    ),
    "a number that recompiles": (
        lambda learning_rate: momentum(learning_rate, static=lambda rate: float(rate)),
        "a second value needs no second compile",
    ),
    "an infinite slope": (
        lambda learning_rate: momentum(learning_rate, static=lambda rate: rate + 0 * jnp.sqrt(rate - 0.01)),
        "the slope in every number is finite",
    ),
    "a root without a slope at a zero gradient": (
        lambda learning_rate: momentum(learning_rate, root=lambda g: g / jnp.sqrt(g * g)),
        "the slope in every number is finite",
    ),
    "no check of the range": (
        lambda learning_rate: momentum(learning_rate, checked=False),
        "a number outside its range is refused by name",
    ),
    "no extra arguments": (
        lambda learning_rate: momentum(learning_rate, extra=False),
        "extra arguments are accepted",
    ),
    "a state that is the parameters": (
        lambda learning_rate: momentum(learning_rate, init=lambda p: p),
        "the first state may be donated",
    ),
    "a state that needs values": (
        lambda learning_rate: momentum(learning_rate, init=lambda p: jnp.full_like(p, float(p.ravel()[0]))),
        "init works on abstract parameters",
    ),
    "a state whose shape depends on the number": (
        lambda learning_rate: momentum(learning_rate, init=lambda p: [p] if learning_rate > 0.05 else p),
        "the state does not depend on the values",
    ),
    "lanes that see each other": (crossing_lanes, "a poisoned lane changes no bit of the others"),
}


def lasso(strength, *, shift=0.0, threshold=None, zero=0.0, value_scale=1.0, dtype=None, checked=True):
    """The L1 penalty with places for defects."""
    if checked:
        at_least_0("strength", strength)

    def value(params):
        leaves = [w.astype(jnp.float64 if w.dtype == jnp.float64 else jnp.float32) for w in jax.tree.leaves(params)]
        return sum(like(value_scale, w) * like(strength, w) * jnp.sum(jnp.abs(w)) for w in leaves)

    def prox(params, step):
        def shrunk(w, step):
            t = like(step, w) * like(strength, w) if threshold is None else threshold(like(step, w), like(strength, w))
            moved = jnp.sign(w) * jnp.maximum(jnp.abs(w) - t, like(zero, w)) + like(shift, w)
            return moved.astype(dtype or w.dtype)

        return jax.tree.map(shrunk, params, jax.tree.broadcast(step, params))

    return Penalty(value, prox)


PENALTIES = {
    "a prox that forgets the step": (
        lambda strength: lasso(strength, threshold=lambda step, s: s + 0 * step),
        "not the identity",
    ),
    "a prox with half the step": (
        lambda strength: lasso(strength, threshold=lambda step, s: step * s / 2),
        "Moreau's identity",
    ),
    "a prox of twice the value": (lambda strength: lasso(strength, value_scale=0.5), "Moreau's identity"),
    "a prox that grows": (
        lambda strength: lasso(strength, threshold=lambda step, s: -50 * step * s),
        "is not optimal: another point is better",
    ),
    "a prox with one step for all leaves": (
        lambda strength: lasso(strength)._replace(
            prox=lambda params, step: jax.tree.map(lambda w: lasso(strength).prox(w, step), params)
        ),
        "fails with a step for each leaf",
    ),
    "a prox that moves zeros": (lambda strength: lasso(strength, shift=1e-3), "-prox"),
    "a prox that leaves the dtype": (
        lambda strength: lasso(strength, dtype=jnp.float32),
        "results have the dtype of the input",
    ),
    "a slope that is lost at zero": (
        lambda strength: lasso(strength)._replace(
            value=lambda params: sum(like(strength, w) * jnp.sum(jnp.sqrt(w * w)) for w in jax.tree.leaves(params))
        ),
        "finite",
    ),
    "no check of the range": (lambda strength: lasso(strength, checked=False), "is refused by name"),
}


def constant(value):
    at_least_0("value", value)
    return value


SCHEDULES = {
    "a value of the number's dtype": (
        lambda value: lambda count: constant(value) + jnp.zeros((), jnp.float32),
        "schedules have the default float dtype",
    ),
    "a slope that is infinite at 0": (
        lambda value: lambda count: jnp.sqrt(constant(value) * jnp.ones(())) + 0 * count,
        "the slope in every number is finite",
    ),
    "a branch on the count's number": (
        lambda value: lambda count: jnp.asarray(0.1 if constant(value) > 0.2 else 0.2) + 0 * count,
        "broken",
    ),
}


def half_space(bound, *, step=1.0, share=1.0):
    """Entries of at most the bound."""
    at_least_0("bound", bound)
    return lambda w: w - like(step, w) * jnp.maximum(w - like(share, w) * like(bound, w), 0)


PROJECTIONS = {
    "not far enough": (lambda bound: half_space(bound, step=0.5), "not feasible"),
    "too far": (lambda bound: half_space(bound, step=1.5), "another point of the set is nearer"),
    "a point inside moves": (lambda bound: half_space(bound, share=0.5), "a point of the set moves"),
}


def dropout(rate, *, inner=lambda x: x):
    if not isinstance(rate, jax.Array) and not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1], got {rate}")

    def apply(key, x):
        kept = jax.random.uniform(key, x.shape, jnp.float32) >= jnp.asarray(rate, jnp.float32)
        return jnp.where(kept, x * like(inner(1 - jnp.asarray(rate, jnp.float32)), x), jnp.zeros_like(x))

    return apply


NOISE = {
    "a division by zero at the end": (lambda rate: dropout(rate, inner=lambda keep: 1 / keep), "finite"),
    "a logarithm at the end": (lambda rate: dropout(rate, inner=lambda keep: keep * jnp.log(keep)), "finite"),
}


def one_line_of(call):
    """The line in which a check says what is broken."""
    with pytest.raises(AssertionError) as caught:
        call()
    line = str(caught.value)
    assert line.splitlines() == [line]
    assert ": the law '" in line
    return line


@pytest.mark.parametrize("defect", OPTIMIZERS)
def test_a_defect_of_an_optimizer_is_found(defect):
    factory, law = OPTIMIZERS[defect]
    assert law in one_line_of(lambda: testing.check_optimizer(factory, RATE, laws=[law]))


@pytest.mark.parametrize("defect", PENALTIES)
def test_a_defect_of_a_penalty_is_found(defect):
    factory, words = PENALTIES[defect]
    assert words in one_line_of(lambda: testing.check_penalty(factory, **STRENGTH))


@pytest.mark.parametrize("defect", SCHEDULES)
def test_a_defect_of_a_schedule_is_found(defect):
    factory, words = SCHEDULES[defect]
    numbers, ends = {"value": (0.3, 0.1)}, {"value": (0.0,)}
    # schedules that check their numbers when they are called
    laws = [law.name for law in testing.LAWS if "refused" not in law.name]
    assert words in one_line_of(lambda: testing.check_schedule(factory, numbers, ends=ends, laws=laws))


@pytest.mark.parametrize("defect", PROJECTIONS)
def test_a_defect_of_a_projection_is_found(defect):
    factory, words = PROJECTIONS[defect]
    check = testing.check_projection
    assert words in one_line_of(lambda: check(factory, {"bound": (0.5, 1.5)}, outside=lambda w, bound: w.max() - bound))


@pytest.mark.parametrize("defect", NOISE)
def test_a_defect_of_noise_is_found(defect):
    factory, words = NOISE[defect]
    numbers, ends = {"rate": (0.4, 0.15)}, {"rate": (0.0, 1.0)}
    assert words in one_line_of(lambda: testing.check_noise(factory, numbers, ends=ends))


def test_without_the_defects_nothing_is_found():
    testing.check_optimizer(momentum, RATE, ends={"learning_rate": (0.0,)}, refused={"learning_rate": (math.nan, -1.0)})
    testing.check_penalty(lasso, **STRENGTH)
    testing.check_projection(half_space, {"bound": (0.5, 1.5)}, outside=lambda w, bound: w.max() - bound)
    testing.check_noise(dropout, {"rate": (0.4, 0.15)}, ends={"rate": (0.0, 1.0)})


def test_the_line_names_the_law_the_number_and_the_dtype():
    law = "the carry stays closed with traced numbers"
    line = one_line_of(lambda: testing.check_optimizer(widening, RATE, laws=[law], dtypes=[jnp.bfloat16]))
    assert "widening (dtype bfloat16, gradient_dtype None)" in line
    assert "state['layer']['bias'] is bfloat16[3] and becomes float32[3]" in line
    law = "the slope in every number is finite"
    factory, _ = OPTIMIZERS["an infinite slope"]
    line = one_line_of(lambda: testing.check_optimizer(factory, RATE, laws=[law]))
    assert "(number learning_rate, size 1.0)" in line
    assert "learning_rate=0.01" in line


def test_a_law_that_there_is_not_is_refused():
    with pytest.raises(
        ValueError, match=r"laws must be among those of regopt.testing.LAWS, got \['the law of Murphy'\]"
    ):
        testing.check_schedule(constant, {"value": (0.3, 0.1)}, laws=["the law of Murphy"])
