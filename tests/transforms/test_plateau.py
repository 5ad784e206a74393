"""Reduction on a plateau against PyTorch's rule in NumPy, against optax, and as one program for many settings."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt.transforms import reduce_on_plateau


def pytorch(values, factor, patience, threshold, threshold_mode, cooldown, min_lr, mode="min"):
    """ReduceLROnPlateau of PyTorch, its step() written down, without its eps; the scale after each value."""
    best = np.inf if mode == "min" else -np.inf
    bad, cooling, scale, scales = 0, 0, 1.0, []
    for value in values:
        rel = threshold if threshold_mode == "rel" else 0.0
        shift = threshold if threshold_mode == "abs" else 0.0
        better = value < best * (1 - rel) - shift if mode == "min" else value > best * (1 + rel) + shift
        if better:
            best, bad = value, 0
        else:
            bad += 1
        if cooling > 0:
            cooling -= 1
            bad = 0
        if bad > patience:
            scale = max(scale * factor, min_lr)
            cooling, bad = cooldown, 0
        scales.append(scale)
    return np.array(scales)


def scales(values, transform):
    """The scale after each value."""

    def step(state, value):
        update, state = transform.update(jnp.ones(()), state, value=value)
        return state, update

    return jax.lax.scan(step, transform.init(jnp.ones(())), values)[1]


def run(values, transform):
    """The same for a transformation with fixed numbers, in NumPy."""
    return np.asarray(scales(jnp.asarray(values, jnp.result_type(float)), transform))


@functools.partial(jax.jit, static_argnames="mode")
def run_traced(values, mode, numbers):
    """The same with traced numbers, compiled once for all of them."""
    return scales(values, reduce_on_plateau(**numbers, mode=mode))


def noisy_descent(seed, steps=120, gaps=True):
    """Positive values that fall to a floor with noise, some of them NaN."""
    generator = np.random.default_rng(seed)
    values = 3 * np.exp(-np.arange(steps) / 30) + 0.3 + 0.4 * generator.uniform(size=steps)
    if gaps:
        values[generator.integers(5, steps, size=6)] = np.nan
    return values


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(("threshold", "threshold_mode"), [(0.03, "rel"), (0.2, "abs"), (0.0, "rel")])
def test_it_is_pytorchs_rule_with_a_patience_one_larger(threshold, threshold_mode, mode):
    reduced = set()
    with jax.enable_x64(True):
        for seed, patience, cooldown, floor in itertools.product(range(3), (0, 2, 5), (0, 1, 4), (0.0, 0.02)):
            values = noisy_descent(seed)
            values = values if mode == "min" else 5 - values
            expected = pytorch(values, 0.4, patience, threshold, threshold_mode, cooldown, floor, mode)
            rtol, atol = (threshold, 0.0) if threshold_mode == "rel" else (0.0, threshold)
            numbers = {"factor": 0.4, "rtol": rtol, "atol": atol, "cooldown": cooldown, "min_scale": floor}
            found = run_traced(jnp.asarray(values), mode, {**numbers, "patience": patience + 1})
            np.testing.assert_allclose(found, expected, rtol=1e-14)
            reduced.add(expected[-1])
    assert len(reduced) > 5  # the settings tell the rules apart


@pytest.mark.parametrize("accumulation_size", [1, 3])
def test_it_is_optaxs_rule_on_positive_finite_values(accumulation_size):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        for seed, patience, cooldown in itertools.product(range(2), (1, 4), (0, 3)):
            numbers = {
                "factor": 0.4,
                "patience": patience,
                "rtol": 0.02,
                "atol": 0.05,
                "cooldown": cooldown,
                "accumulation_size": accumulation_size,
                "min_scale": 0.01,
            }
            values = noisy_descent(seed, gaps=False)
            expected = run(values, optax.contrib.reduce_on_plateau(**numbers))
            assert expected[-1] < 1
            np.testing.assert_allclose(run(values, reduce_on_plateau(**numbers)), expected, rtol=1e-14)


def test_what_counts_as_an_improvement():
    halves = reduce_on_plateau(0.5, 1, rtol=0.1, atol=0.0)
    np.testing.assert_array_equal(run([8.0, 7.25, 7.0, 6.5, 6.0], halves), [1, 0.5, 0.5, 0.25, 0.25])
    strict = reduce_on_plateau(0.5, 1, rtol=0.0, atol=0.0)
    np.testing.assert_array_equal(run([2.0, 2.0, 1.75, np.nan, 1.5], strict), [1, 0.5, 0.5, 0.25, 0.25])
    np.testing.assert_array_equal(run([np.nan, np.inf, 3.0, 2.0], strict), [0.5, 0.25, 0.25, 0.25])


def test_a_negative_metric_must_fall_as_well():
    """``(1 - rtol) * best``, the usual bound, is above a negative best: there a worse value passes."""
    rule = reduce_on_plateau(0.5, 1, rtol=0.1)
    np.testing.assert_array_equal(run([-8.0, -7.5, -8.5, -9.0], rule), [1, 0.5, 0.25, 0.25])


def test_cooldown_counts_no_bad_evaluations_but_keeps_their_best():
    rule = reduce_on_plateau(0.5, 2, rtol=0.0, cooldown=2)
    values = [4.0, 4.0, 4.0, 2.0, 4.0, 3.0, 3.0, 3.0]
    np.testing.assert_array_equal(run(values, rule), [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25])


def test_a_nan_spoils_its_own_window_only():
    rule = reduce_on_plateau(0.5, 1, rtol=0.0, accumulation_size=2)
    values = [4.0, 2.0, np.nan, 1.0, 2.0, 3.0, 1.0, 7.0]  # means 3, NaN, 2.5, 4
    np.testing.assert_array_equal(run(values, rule), [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25])


def test_patience_and_factor_are_lanes():
    values = jnp.asarray(noisy_descent(0), jnp.result_type(float))
    patience, factor = jnp.array([2.0, 3.0, 6.0]), jnp.array([0.5, 0.3, 0.7])
    lanes = jax.vmap(lambda p, f: scales(values, reduce_on_plateau(f, p, 0.02)))(patience, factor)
    for i in range(3):
        alone = run(values, reduce_on_plateau(float(factor[i]), int(patience[i]), 0.02))
        np.testing.assert_allclose(lanes[i], alone, rtol=1e-6)  # products of at most 60 roundings in float32


def test_it_reduces_an_optimizer_behind_a_chain():
    """A step too long for the curvature 4: the loss climbs until the scale has fallen to 1/4."""
    optimizer = optax.chain(regopt.sgd(1.0), reduce_on_plateau(0.5, 1))

    def loss(w):
        return 2 * jnp.sum(jnp.square(w))

    def step(carry, _):
        w, state = carry
        value, grads = jax.value_and_grad(loss)(w)
        updates, state = optimizer.update(grads, state, w, value=value)
        return (optax.apply_updates(w, updates), state), value

    start = jnp.array([1.0, -2.0])
    (w, state), values = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=20))()
    assert values[1] > values[0]
    assert float(state[1].scale) <= 0.25
    assert float(loss(w)) < 1e-10


def test_errors_name_argument_range_and_value():
    for argument, interval, value in (
        ("factor", r"\(0, 1\]", 1.5),
        ("patience", r"\[1, inf\)", 0),
        ("rtol", r"\[0, 1\]", 2.0),
        ("atol", r"\[0, inf\)", -1.0),
        ("cooldown", r"\[0, inf\)", -1),
        ("accumulation_size", r"\[1, inf\)", 0),
        ("min_scale", r"\[0, 1\]", 1.25),
    ):
        with pytest.raises(ValueError, match=rf"{argument} must lie in {interval}, got {value}"):
            reduce_on_plateau(**{argument: value})
    with pytest.raises(ValueError, match='mode must be "min" or "max", got \'best\''):
        reduce_on_plateau(mode="best")  # pyright: ignore
    rule = reduce_on_plateau()
    with pytest.raises(ValueError, match=r"call update\(grads, state, params, value=loss\)"):
        rule.update(jnp.ones(2), rule.init(jnp.ones(2)))
