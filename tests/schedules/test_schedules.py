"""Schedules against optax and against NumPy in double precision, with Python numbers and with traced ones."""

from typing import Any

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from regopt import schedules

LAST = 2**31 - 1  # the largest count of an int32
COUNTS = (0, 1, 2, 3, 5, 6, 7, 9, 10, 12, 16, 17, 20, 37, 40, 41, 59, 82, 1000, LAST)


def of_optax(factory):
    """The optax schedule as a function of counts and numbers, in double precision."""

    def reference(counts, **numbers):
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            schedule = factory(**numbers)
            return np.array([float(schedule(int(count))) for count in counts])

    return reference


def inverse_time_reference(counts, init_value, decay_rate, transition_steps=1):
    return init_value / (1 + decay_rate * counts / transition_steps)


def power_reference(counts, init_value, exponent, offset=1.0):
    return init_value * (counts + offset) ** -exponent


def piecewise_reference(counts, values, boundaries):
    return np.array(values)[np.searchsorted(boundaries, counts, side="right")]


CONSTANT = (schedules.constant, of_optax(optax.constant_schedule))
LINEAR = (schedules.linear, of_optax(optax.linear_schedule))
EXPONENTIAL = (schedules.exponential, of_optax(optax.exponential_decay))
COSINE = (schedules.cosine, of_optax(optax.cosine_decay_schedule))
WARMUP_COSINE = (schedules.warmup_cosine, of_optax(optax.warmup_cosine_decay_schedule))
INVERSE_TIME = (schedules.inverse_time, inverse_time_reference)
POWER = (schedules.power, power_reference)
PIECEWISE = (schedules.piecewise_constant, piecewise_reference)
ONE_CYCLE = (schedules.one_cycle, of_optax(optax.cosine_onecycle_schedule))

CASES: list[tuple[Any, Any, dict[str, Any]]] = [
    (*CONSTANT, {"value": 0.37}),
    (*LINEAR, {"init_value": 0.8, "end_value": 0.05, "transition_steps": 7}),
    (*LINEAR, {"init_value": -0.3, "end_value": 1.7, "transition_steps": 41}),
    (*EXPONENTIAL, {"init_value": 1.3, "decay_rate": 0.9, "transition_steps": 1}),
    (*EXPONENTIAL, {"init_value": 0.7, "decay_rate": 0.35, "transition_steps": 6}),
    (*EXPONENTIAL, {"init_value": 0.7, "decay_rate": 0.35, "transition_steps": 6, "end_value": 0.2}),
    (*EXPONENTIAL, {"init_value": 0.2, "decay_rate": 1.4, "transition_steps": 2.5, "end_value": 3.0}),
    (*EXPONENTIAL, {"init_value": 0.7, "decay_rate": 0.35, "transition_steps": 6, "staircase": True}),
    (*EXPONENTIAL, {"init_value": 0.7, "decay_rate": 0.35, "transition_steps": 41, "staircase": True}),
    (*COSINE, {"init_value": 0.6, "decay_steps": 9}),
    (*COSINE, {"init_value": 0.6, "decay_steps": 41, "alpha": 0.15, "exponent": 1.7}),
    (*COSINE, {"init_value": 1.3, "decay_steps": 12, "alpha": 0.2, "exponent": 0.3}),
    (*WARMUP_COSINE, {"init_value": 0.1, "peak_value": 0.9, "warmup_steps": 5, "decay_steps": 41}),
    (
        *WARMUP_COSINE,
        {
            "init_value": 0.4,
            "peak_value": 1.1,
            "warmup_steps": 3,
            "decay_steps": 17,
            "end_value": 0.05,
            "exponent": 0.4,
        },
    ),
    (*INVERSE_TIME, {"init_value": 0.9, "decay_rate": 0.3}),
    (*INVERSE_TIME, {"init_value": 0.9, "decay_rate": 2.3, "transition_steps": 7}),
    (*POWER, {"init_value": 0.9, "exponent": 0.5}),
    (*POWER, {"init_value": 0.9, "exponent": 1.3, "offset": 2.5}),
    (*PIECEWISE, {"values": (0.9, 0.3, 0.5, 0.02), "boundaries": (3, 7, 41)}),
    (*ONE_CYCLE, {"transition_steps": 20, "peak_value": 0.8}),
    (
        *ONE_CYCLE,
        {
            "transition_steps": 41,
            "peak_value": 1.2,
            "pct_start": 0.45,
            "div_factor": 10.0,
            "final_div_factor": 50.0,
        },
    ),
]
EACH_CASE = pytest.mark.parametrize(("factory", "reference", "numbers"), CASES)


def split(numbers):
    """The numbers as arrays of the default float dtype, and what is static."""
    static = {name: value for name, value in numbers.items() if isinstance(value, bool)}
    traced = {
        name: jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(float)), value)
        for name, value in numbers.items()
        if name not in static
    }
    return traced, static


def assert_close(actual, expected):
    # rate**periods loses about periods * eps; the other formulas a few eps
    eps = float(jnp.finfo(jnp.result_type(float)).eps)
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=128 * eps, atol=8 * eps)


@EACH_CASE
def test_python_numbers_agree_with_the_reference(factory, reference, numbers):
    schedule = factory(**numbers)
    expected = reference(np.array(COUNTS), **numbers)
    assert_close([schedule(count) for count in COUNTS], expected)
    compiled = jax.jit(schedule)  # a compiled x / 41 is x * (1 / 41), which rounds otherwise
    assert_close([compiled(jnp.int32(count)) for count in COUNTS], expected)


@EACH_CASE
def test_traced_numbers_agree_with_the_reference(factory, reference, numbers):
    traced, static = split(numbers)

    @jax.jit
    def values(traced, counts):
        return jax.vmap(lambda count: factory(**traced, **static)(count))(counts)

    assert_close(values(traced, jnp.array(COUNTS, jnp.int32)), reference(np.array(COUNTS), **numbers))


@pytest.mark.parametrize("pct_start", [0.1, 0.29, 0.3, 0.53, 0.57, 0.9])
def test_one_cycle_turns_at_the_step_where_optax_turns(pct_start):
    # double precision, because the floor of a single-precision 0.53 * 100 is 52
    with jax.enable_x64(True):
        ours = jax.jit(jax.vmap(schedules.one_cycle(100, 0.7, pct_start)))(jnp.arange(120))
    reference = of_optax(optax.cosine_onecycle_schedule)
    expected = reference(range(120), transition_steps=100, peak_value=0.7, pct_start=pct_start)
    np.testing.assert_allclose(ours, expected, rtol=1e-13)


def test_piecewise_constant_agrees_with_optax_and_takes_arrays():
    reference = of_optax(optax.piecewise_constant_schedule)
    expected = reference(COUNTS, init_value=0.8, boundaries_and_scales={4: 0.5, 12: 0.25, 40: 3.0})

    def values(values, boundaries):
        return jax.vmap(schedules.piecewise_constant(values, boundaries))(jnp.array(COUNTS))

    arguments = jnp.array([0.8, 0.4, 0.1, 0.3]), jnp.array([4, 12, 40])
    assert_close(values(*arguments), expected)
    assert_close(jax.jit(values)(*arguments), expected)
    assert_close(values(tuple(arguments[0]), tuple(arguments[1].astype(float))), expected)
    assert schedules.piecewise_constant([0.3], [])(5) == jnp.asarray(0.3)


def test_the_exponent_of_cosine_keeps_its_digits_next_to_the_end():
    # (1 + cos) / 2 is 2e-12 there, below the rounding of 1 + cos in single precision
    actual = schedules.cosine(1.0, 2**20, exponent=0.25)(2**20 - 1)
    np.testing.assert_allclose(actual, np.sin(np.pi / 2 / 2**20) ** 0.5, rtol=1e-5)


# join


def join_both(boundaries):
    pieces = [
        (schedules.linear(0.1, 0.8, 6), optax.linear_schedule(0.1, 0.8, 6)),
        (schedules.cosine(0.8, 9, 0.3, 1.4), optax.cosine_decay_schedule(0.8, 9, 0.3, 1.4)),
        (schedules.exponential(0.5, 0.7, 3), optax.exponential_decay(0.5, 3, 0.7)),
    ]
    ours, theirs = zip(*pieces, strict=True)
    return schedules.join(ours, boundaries), lambda: optax.join_schedules(theirs, boundaries)


@pytest.mark.parametrize("boundaries", [(6, 16), (3, 37), (0, 5), (7, 7)])
def test_join_agrees_with_optax(boundaries):
    _, theirs = join_both(boundaries)
    expected = of_optax(theirs)(COUNTS)
    ours, _ = join_both(boundaries)
    assert_close([ours(count) for count in COUNTS], expected)
    for dtype in (jnp.int32, jnp.result_type(float)):
        values = jax.jit(lambda b: jax.vmap(join_both(b)[0])(jnp.array(COUNTS, jnp.int32)))
        assert_close(values(jnp.array(boundaries, dtype)), expected)


def test_join_takes_the_schedules_of_optax_and_keeps_counts_integers():
    table = jnp.array([0.75, 0.5, 0.625, 0.25], jnp.bfloat16)
    pieces: list[Any] = [optax.constant_schedule(0.9), lambda count: table[count]]
    schedule = schedules.join(pieces, [5])
    values = jax.vmap(schedule)(jnp.arange(3, 9))
    assert_close(values, np.array([0.9, 0.9, 0.75, 0.5, 0.625, 0.25]))
    assert values.dtype == jnp.result_type(float)
    assert schedules.join(pieces[:1], [])(3).dtype == jnp.result_type(float)
    start = 2**24 + 1  # not a float32
    late = schedules.join([schedules.constant(0.9), schedules.linear(0.8, 0.2, 4)], [start])
    assert_close([late(start - 1), late(start), late(start + 1)], np.array([0.9, 0.8, 0.65]))


def test_counts_of_any_kind_and_shape():
    schedule = schedules.warmup_cosine(0.1, 0.9, 3, 12, 0.2)
    expected = np.array([schedule(count) for count in range(15)])
    for dtype in (jnp.int32, jnp.uint32, jnp.uint8, jnp.float32):
        assert_close(schedule(jnp.arange(15).astype(dtype)), expected)
    assert_close([schedule(np.int64(count)) for count in range(15)], expected)
    assert schedules.constant(0.3)(jnp.arange(6).reshape(2, 3)).shape == (2, 3)
    assert schedules.exponential(0.4, 0.5)(-3) == jnp.asarray(0.4)  # before its start: as at its start


# dtypes, batches, compilations


@EACH_CASE
def test_the_value_has_the_default_float_dtype(factory, reference, numbers):
    traced, static = split(numbers)
    for x64 in (False, True):
        for dtype in (jnp.bfloat16, jnp.float32):
            with jax.enable_x64(x64):
                low = jax.tree.map(lambda x, dtype=dtype: np.asarray(x).astype(dtype), traced)
                value = jax.jit(lambda low, count: factory(**low, **static)(count))(low, jnp.int32(2))
                assert value.shape == ()
                assert value.dtype == (jnp.float64 if x64 else jnp.float32)
                assert not value.weak_type
            rounded = jax.tree.map(lambda x: np.asarray(x, np.float64), low)
            np.testing.assert_allclose(value, reference(np.array([2]), **rounded, **static)[0], rtol=2e-6)


HORIZONS: list[tuple[Any, str, dict[str, Any]]] = [
    (schedules.linear, "transition_steps", {"init_value": 0.8, "end_value": 0.3}),
    (schedules.exponential, "transition_steps", {"init_value": 0.8, "decay_rate": 0.6}),
    (schedules.exponential, "transition_steps", {"init_value": 0.8, "decay_rate": 0.6, "staircase": True}),
    (schedules.cosine, "decay_steps", {"init_value": 0.8, "alpha": 0.1, "exponent": 1.5}),
    (
        schedules.warmup_cosine,
        "warmup_steps",
        {"init_value": 0.2, "peak_value": 0.8, "decay_steps": 20, "end_value": 0.1},
    ),
    (
        schedules.warmup_cosine,
        "decay_steps",
        {"init_value": 0.2, "peak_value": 0.8, "warmup_steps": 3, "end_value": 0.1},
    ),
    (schedules.inverse_time, "transition_steps", {"init_value": 0.8, "decay_rate": 0.6}),
    (schedules.one_cycle, "transition_steps", {"peak_value": 0.8}),
]
EACH_HORIZON = pytest.mark.parametrize(("factory", "horizon", "others"), HORIZONS)


@EACH_HORIZON
def test_a_batch_of_horizons_is_the_loop_over_them_in_one_compilation(factory, horizon, others):
    chex.clear_trace_counter()
    counts = jnp.array([0, 1, 2, 3, 7, 8, 19, 50])

    @jax.jit
    @chex.assert_max_traces(n=1)
    def batch(steps):
        return jax.vmap(lambda x: factory(**{horizon: x}, **others)(counts))(steps)

    for steps in ([0.0, 3.0, 7.5, 50.0], [2.0, 8.0, 19.0, 1e6]):
        loop = [factory(**{horizon: x}, **others)(counts) for x in steps]
        assert_close(batch(jnp.array(steps)), np.array(loop, np.float64))
    with pytest.raises(AssertionError):  # the counter does count
        batch(jnp.ones(3))


@pytest.mark.parametrize(
    ("factory", "numbers", "expected"),
    [
        (schedules.linear, {"init_value": 0.8, "end_value": 0.3, "transition_steps": 0}, 0.3),
        (schedules.exponential, {"init_value": 0.8, "decay_rate": 0.6, "transition_steps": 0}, 0.0),
        (schedules.exponential, {"init_value": 0.8, "decay_rate": 1.0, "transition_steps": 0}, 0.8),
        (
            schedules.exponential,
            {"init_value": 0.8, "decay_rate": 0.6, "transition_steps": 0, "end_value": 0.2},
            0.2,
        ),
        (
            schedules.exponential,
            {"init_value": 0.8, "decay_rate": 1.6, "transition_steps": 0, "end_value": 2.5},
            2.5,
        ),
        (schedules.cosine, {"init_value": 0.8, "decay_steps": 0, "alpha": 0.25}, 0.2),
        (
            schedules.warmup_cosine,
            {"init_value": 0.2, "peak_value": 0.8, "warmup_steps": 0, "decay_steps": 1e6},
            0.8,
        ),
        (
            schedules.warmup_cosine,
            {"init_value": 0.2, "peak_value": 0.8, "warmup_steps": 0, "decay_steps": 0, "end_value": 0.1},
            0.1,
        ),
        (schedules.inverse_time, {"init_value": 0.8, "decay_rate": 0.6, "transition_steps": 0}, 0.0),
        (
            schedules.one_cycle,
            {"transition_steps": 0, "peak_value": 0.8, "div_factor": 4.0, "final_div_factor": 2.0},
            0.1,
        ),
        (schedules.piecewise_constant, {"values": (0.8, 0.4), "boundaries": (0,)}, 0.4),
    ],
)
def test_a_schedule_without_time_is_at_its_end_at_once(factory, numbers, expected):
    traced, _ = split(numbers)
    values = jax.jit(lambda traced, counts: factory(**traced)(counts))
    for count in (0, 1):
        np.testing.assert_allclose(factory(**numbers)(count), expected, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(values(traced, jnp.int32(count)), expected, rtol=1e-6, atol=1e-12)


def test_the_end_is_exact_at_the_horizon_and_for_a_horizon_next_to_zero():
    for steps in (41, 47, 55, 107, 0.0, 1e-30):  # compiled in single precision, 41 * (1 / 41) is below 1
        count = jnp.int32(steps)
        assert jax.jit(schedules.linear(0.7, 0.3, steps))(count) == jnp.asarray(0.3)
        assert jax.jit(schedules.cosine(0.7, steps, exponent=0.1))(count) == 0


def test_a_warmup_as_long_as_the_schedule_ends_behind_it():
    schedule = schedules.warmup_cosine(0.2, 0.8, warmup_steps=4, decay_steps=4, end_value=0.1)
    assert_close([schedule(count) for count in (0, 2, 3, 4, 5)], np.array([0.2, 0.5, 0.65, 0.1, 0.1]))


def test_a_peak_of_zero_still_ends_at_end_value():
    schedule = schedules.warmup_cosine(0.2, 0.0, warmup_steps=2, decay_steps=6, end_value=0.1)
    assert_close([schedule(count) for count in (1, 2, 4, 6)], np.array([0.1, 0.0, 0.05, 0.1]))


def test_exponential_is_finite_where_the_power_overflows():
    largest = jnp.finfo(jnp.result_type(float)).max
    assert schedules.exponential(0.5, 3.0)(LAST) == largest / 2
    assert jax.grad(lambda rate: schedules.exponential(0.5, rate)(LAST))(3.0) == 0
    assert schedules.exponential(0.0, 3.0)(LAST) == 0
    assert schedules.exponential(0.7, 3.0, end_value=2.5)(LAST) == 2.5
    assert schedules.exponential(0.7, 0.0)(0) == jnp.asarray(0.7)
    assert schedules.exponential(0.7, 0.0)(1) == 0
    assert schedules.exponential(0.7, 1.0, end_value=0.2)(9) == jnp.asarray(0.7)


# slopes

HARD: list[tuple[Any, dict[str, Any]]] = [
    (schedules.linear, {"init_value": 0.0, "end_value": 0.3, "transition_steps": 0.0}),
    (schedules.linear, {"init_value": 0.0, "end_value": 0.3, "transition_steps": 7.0}),
    (schedules.linear, {"init_value": 0.5, "end_value": 0.3, "transition_steps": 1e-30}),
    (schedules.exponential, {"init_value": 0.0, "decay_rate": 0.0}),
    (schedules.exponential, {"init_value": 0.8, "decay_rate": 0.0, "transition_steps": 7.0}),
    (schedules.exponential, {"init_value": 0.8, "decay_rate": 0.0, "transition_steps": 0.0}),
    (schedules.exponential, {"init_value": 0.8, "decay_rate": 1.0, "transition_steps": 7.0}),
    (schedules.exponential, {"init_value": 0.8, "decay_rate": 1.0, "transition_steps": 0.0}),
    (
        schedules.exponential,
        {"init_value": 0.8, "decay_rate": 0.6, "transition_steps": 0.0, "staircase": True},
    ),
    (schedules.exponential, {"init_value": 0.8, "decay_rate": 1.0, "end_value": 0.8}),
    (schedules.exponential, {"init_value": 0.8, "decay_rate": 1.5, "end_value": 3.0}),
    (schedules.exponential, {"init_value": 0.8, "decay_rate": 0.0, "end_value": 0.2}),
    (  # the power is 1.3e38 at count 1, within float32, but its slopes are not
        schedules.exponential,
        {"init_value": 0.8, "decay_rate": 2.0, "transition_steps": 0.0079, "end_value": 3.0},
    ),
    (
        schedules.exponential,
        {"init_value": 0.8, "decay_rate": 1000.0, "transition_steps": 0.0781, "end_value": 3.0},
    ),
    (schedules.cosine, {"init_value": 0.8, "decay_steps": 7.0, "alpha": 0.0, "exponent": 0.3}),
    (schedules.cosine, {"init_value": 0.0, "decay_steps": 7.0, "alpha": 0.0, "exponent": 0.5}),
    (schedules.cosine, {"init_value": 0.8, "decay_steps": 7.0, "alpha": 1.0, "exponent": 0.0}),
    (schedules.cosine, {"init_value": 0.8, "decay_steps": 0.0, "alpha": 0.1, "exponent": 0.3}),
    (
        schedules.warmup_cosine,
        {
            "init_value": 0.0,
            "peak_value": 0.8,
            "warmup_steps": 0.0,
            "decay_steps": 7.0,
            "end_value": 0.0,
            "exponent": 0.3,
        },
    ),
    (
        schedules.warmup_cosine,
        {
            "init_value": 0.0,
            "peak_value": 0.0,
            "warmup_steps": 7.0,
            "decay_steps": 7.0,
            "end_value": 0.1,
            "exponent": 0.3,
        },
    ),
    (schedules.inverse_time, {"init_value": 0.0, "decay_rate": 0.0, "transition_steps": 0.0}),
    (schedules.inverse_time, {"init_value": 0.8, "decay_rate": 0.6, "transition_steps": 0.0}),
    (schedules.power, {"init_value": 0.0, "exponent": 0.0, "offset": 1.0}),
    (schedules.power, {"init_value": 0.8, "exponent": 0.5, "offset": 1e-3}),
    (schedules.piecewise_constant, {"values": (0.0, 0.4), "boundaries": (7.0,)}),
    (
        schedules.one_cycle,
        {
            "transition_steps": 7.0,
            "peak_value": 0.0,
            "pct_start": 0.0,
            "div_factor": 25.0,
            "final_div_factor": 1e4,
        },
    ),
    (
        schedules.one_cycle,
        {
            "transition_steps": 0.0,
            "peak_value": 0.8,
            "pct_start": 1.0,
            "div_factor": 25.0,
            "final_div_factor": 1e4,
        },
    ),
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("differentiate", [jax.jacrev, jax.jacfwd])
@pytest.mark.parametrize(("factory", "numbers"), HARD + [(factory, numbers) for factory, _, numbers in CASES])
def test_values_and_slopes_are_finite(factory, numbers, differentiate):
    traced, static = split(numbers)
    counts = jnp.array([0, 1, 2, 6, 7, 8, 41, 82, 1000, LAST], jnp.int32)

    def values(traced):
        return factory(**traced, **static)(counts)

    found, slopes = jax.jit(lambda traced: (values(traced), differentiate(values)(traced)))(traced)
    assert jax.tree.structure(slopes) == jax.tree.structure(traced)
    chex.assert_tree_all_finite((found, slopes))


SMOOTH: list[tuple[Any, dict[str, Any]]] = [  # horizons between the integers, so that no count is at a kink
    (schedules.constant, {"value": 0.4}),
    (schedules.linear, {"init_value": 0.8, "end_value": 0.3, "transition_steps": 7.4}),
    (schedules.exponential, {"init_value": 0.8, "decay_rate": 0.6, "transition_steps": 3.3}),
    (
        schedules.exponential,
        {"init_value": 0.8, "decay_rate": 0.6, "transition_steps": 3.3, "end_value": 0.3},
    ),
    (
        schedules.exponential,
        {"init_value": 0.8, "decay_rate": 1.3, "transition_steps": 3.3, "end_value": 2.3},
    ),
    (
        schedules.exponential,
        {"init_value": 0.8, "decay_rate": 0.6, "transition_steps": 3.3, "staircase": True},
    ),
    (schedules.cosine, {"init_value": 0.8, "decay_steps": 7.4, "alpha": 0.2, "exponent": 0.3}),
    (schedules.cosine, {"init_value": 0.8, "decay_steps": 7.4, "alpha": 0.2, "exponent": 1.7}),
    (
        schedules.warmup_cosine,
        {
            "init_value": 0.1,
            "peak_value": 0.8,
            "warmup_steps": 2.6,
            "decay_steps": 7.4,
            "end_value": 0.2,
            "exponent": 0.6,
        },
    ),
    (schedules.inverse_time, {"init_value": 0.8, "decay_rate": 0.6, "transition_steps": 3.3}),
    (schedules.power, {"init_value": 0.8, "exponent": 0.7, "offset": 1.8}),
    (schedules.piecewise_constant, {"values": (0.8, 0.3, 0.4), "boundaries": (2.6, 7.4)}),
    (
        schedules.one_cycle,
        {
            "transition_steps": 7.4,
            "peak_value": 0.8,
            "pct_start": 0.45,
            "div_factor": 5.0,
            "final_div_factor": 3.0,
        },
    ),
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("factory", "numbers"), SMOOTH)
def test_slopes_agree_with_central_differences(factory, numbers):
    with jax.enable_x64(True):
        traced, static = split(numbers)
        flat, unflatten = jax.flatten_util.ravel_pytree(traced)

        @jax.jit
        def values(flat):
            return factory(**unflatten(flat), **static)(jnp.array([0, 1, 3, 5, 7, 8, 30]))

        slopes = jax.jacrev(values)(flat)
        h = 1e-6
        steps = h * jnp.eye(flat.size)
        differences = jnp.stack([(values(flat + e) - values(flat - e)) / (2 * h) for e in steps], axis=1)
        np.testing.assert_allclose(slopes, differences, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(jax.jacfwd(values)(flat), slopes, rtol=1e-12, atol=1e-15)


def test_the_slope_in_a_decay_rate_of_zero_is_that_of_the_monomial():
    slope = jax.grad(lambda rate, count: schedules.exponential(0.7, rate, 2.0)(count))
    slopes = [slope(0.0, count) for count in (0, 1, 2, 3, 4)]  # 0.7 * rate**(count / 2); infinite at 1
    assert_close(slopes, np.array([0.0, 0.0, 0.7, 0.0, 0.0]))


def test_a_slope_passes_a_schedule_that_is_infinite_before_its_start():
    def value(start):
        schedule = schedules.join([schedules.constant(0.3), jnp.log1p], [start])  # log1p(-1) is -inf
        return schedule(jnp.array([2, 3, 5]))

    assert_close(jax.jacrev(value)(3.0), np.array([0.0, -1.0, -1 / 3]))


# inside optax


def test_a_traced_horizon_inside_sgd_in_a_scan():
    gradients = jnp.array([0.5, -1.5, 2.0, 0.3, 1.1, -0.7])

    @jax.jit
    def train(horizon):
        transform = optax.sgd(schedules.linear(0.4, 0.1, horizon), momentum=0.6)
        params = jnp.zeros(())

        def step(carry, gradient):
            params, state = carry
            updates, state = transform.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        return jax.lax.scan(step, (params, transform.init(params)), gradients)[1]

    def by_hand(horizon):
        params, trace, path = 0.0, 0.0, []
        for count, gradient in enumerate(np.asarray(gradients, np.float64)):
            trace = gradient + 0.6 * trace
            params -= (0.4 - 0.3 * min(count / horizon, 1)) * trace
            path.append(params)
        return path

    horizons = [2.0, 3.5, 100.0]
    assert_close(jax.vmap(train)(jnp.array(horizons)), np.array([by_hand(x) for x in horizons]))


def test_inject_hyperparams_reports_the_schedule():
    schedule = schedules.warmup_cosine(0.1, 0.8, 2, 6, 0.05)

    @jax.jit
    def rates() -> Any:
        transform: Any = optax.inject_hyperparams(optax.sgd)(learning_rate=schedule)
        params = jnp.ones(3)

        def step(state, _):
            updates, state = transform.update(jnp.full(3, 2.0), state, params)
            return state, (state.hyperparams["learning_rate"], updates)

        return jax.lax.scan(step, transform.init(params), length=8)[1]

    learning_rates, updates = rates()
    expected = np.array([schedule(count) for count in range(8)], np.float64)
    assert_close(learning_rates, expected)
    assert_close(updates, -2 * expected[:, None] * np.ones(3))


# errors


OUT_OF_RANGE = [
    (lambda: schedules.constant(np.inf), "value must lie in (-inf, inf), got inf"),
    (lambda: schedules.linear(0.1, np.nan, 5), "end_value must lie in (-inf, inf), got nan"),
    (lambda: schedules.linear(0.1, 0.2, -5), "transition_steps must lie in [0, inf), got -5"),
    (lambda: schedules.exponential(0.1, -0.5), "decay_rate must lie in [0, inf), got -0.5"),
    (lambda: schedules.exponential(0.1, 0.5, -1), "transition_steps must lie in [0, inf), got -1"),
    (
        lambda: schedules.exponential(0.1, 0.5, end_value=np.inf),
        "end_value must lie in (-inf, inf), got inf",
    ),
    (lambda: schedules.cosine(np.nan, 5), "init_value must lie in (-inf, inf), got nan"),
    (lambda: schedules.cosine(0.1, np.inf), "decay_steps must lie in [0, inf), got inf"),
    (lambda: schedules.cosine(100, 0.1), "decay_steps must be 0 or at least 1, a number of steps, got 0.1"),
    (
        lambda: schedules.linear(1.0, 0.5, 0.4),
        "transition_steps must be 0 or at least 1, a number of steps, got 0.4",
    ),
    (
        lambda: schedules.warmup(schedules.constant(0.1), 0.5),
        "warmup_steps must be 0 or at least 1, a number of steps, got 0.5",
    ),
    (lambda: schedules.one_cycle(0.9, 5), "transition_steps must be 0 or at least 1, a number of steps, got 0.9"),
    (
        lambda: schedules.warmup_cosine(0, 9, 9, 0.1),
        "decay_steps must be 0 or at least 1, a number of steps, got 0.1",
    ),
    (lambda: schedules.cosine(0.1, 5, alpha=1.5), "alpha must lie in [0, 1], got 1.5"),
    (lambda: schedules.cosine(0.1, 5, exponent=-2), "exponent must lie in [0, inf), got -2"),
    (lambda: schedules.warmup_cosine(0, 0.1, -3, 9), "warmup_steps must lie in [0, inf), got -3"),
    (lambda: schedules.warmup_cosine(0, 0.1, 3, -9), "decay_steps must lie in [0, inf), got -9"),
    (lambda: schedules.warmup_cosine(0, np.nan, 3, 9), "peak_value must lie in (-inf, inf), got nan"),
    (lambda: schedules.inverse_time(0.1, -0.5), "decay_rate must lie in [0, inf), got -0.5"),
    (lambda: schedules.power(0.1, -0.5), "exponent must lie in [0, inf), got -0.5"),
    (lambda: schedules.power(0.1, 0.5, offset=0), "offset must lie in (0, inf), got 0"),
    (lambda: schedules.one_cycle(-2, 0.1), "transition_steps must lie in [0, inf), got -2"),
    (lambda: schedules.one_cycle(9, 0.1, 1.25), "pct_start must lie in [0, 1], got 1.25"),
    (lambda: schedules.one_cycle(9, 0.1, div_factor=0), "div_factor must lie in (0, inf), got 0"),
    (
        lambda: schedules.one_cycle(9, 0.1, final_div_factor=-1),
        "final_div_factor must lie in (0, inf), got -1",
    ),
    (
        lambda: schedules.piecewise_constant([0.1, np.nan], [5]),
        "values must lie in (-inf, inf), got nan",
    ),
    (
        lambda: schedules.piecewise_constant([0.1, 0.2], [-5]),
        "boundaries must lie in [0, inf), got -5",
    ),
    (
        lambda: schedules.piecewise_constant([0.1, 0.2], [5, 7]),
        "values must be one more than boundaries, got 2 and 2",
    ),
    (
        lambda: schedules.join([schedules.constant(0.1)], [5]),
        "schedules must be one more than boundaries, got 1 and 1",
    ),
]


@pytest.mark.parametrize(("make", "message"), OUT_OF_RANGE)
def test_an_argument_out_of_range_is_named(make, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        make()
    assert str(error.value) == message
