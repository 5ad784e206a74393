"""The two sums of Robbins and Monro against sums of the schedules themselves, and what the lectures' schedules do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import zeta

from regopt import schedules
from regopt.schedules import robbins_monro, steps_from_epochs

# schedules whose sums are finite within so many counts that the rest is below rounding
FINITE: list[tuple[str, dict[str, Any], int]] = [
    ("constant", {"value": 0.0}, 10),
    ("linear", {"init_value": 0.7, "end_value": 0.0, "transition_steps": 40}, 100),
    ("linear", {"init_value": 1.3, "end_value": 0.0, "transition_steps": 7.5}, 100),
    ("linear", {"init_value": 1.3, "end_value": 0.0, "transition_steps": 1}, 100),
    ("exponential", {"init_value": 1.0, "decay_rate": 0.95}, 1500),
    ("exponential", {"init_value": 0.3, "decay_rate": 0.35, "transition_steps": 6}, 1000),
    ("exponential", {"init_value": 0.3, "decay_rate": 0.0}, 10),
    ("cosine", {"init_value": 0.7, "decay_steps": 40}, 100),
    ("cosine", {"init_value": 1.3, "decay_steps": 7.5}, 100),
    ("cosine", {"init_value": 1.3, "decay_steps": 1}, 100),
    ("cosine", {"init_value": 1.3, "decay_steps": 1.25}, 100),
]
DIVERGENT: list[tuple[str, dict[str, Any]]] = [
    ("constant", {"value": 0.01}),
    ("linear", {"init_value": 0.7, "end_value": 0.007, "transition_steps": 40}),
    ("exponential", {"init_value": 0.3, "decay_rate": 0.9, "end_value": 0.01}),
    ("exponential", {"init_value": 0.3, "decay_rate": 1.0}),
    ("exponential", {"init_value": 0.3, "decay_rate": 1.01, "end_value": 0.5}),
    ("cosine", {"init_value": 0.7, "decay_steps": 40, "alpha": 0.1}),
    ("inverse_time", {"init_value": 0.5, "decay_rate": 0.0}),
    ("power", {"init_value": 0.5, "exponent": 0.0}),
    ("power", {"init_value": 0.5, "exponent": 0.5}),
    ("power", {"init_value": 0.5, "exponent": 0.3, "offset": 4.0}),
]


def rates(family, numbers, counts):
    """The schedule's own values, in double precision."""
    with jax.enable_x64(True):
        return np.asarray(getattr(schedules, family)(**numbers)(jnp.asarray(counts)))


@pytest.mark.parametrize("start", [0, 1, 5, 60])
@pytest.mark.parametrize(("family", "numbers", "counts"), FINITE, ids=str)
def test_finite_sums_are_those_of_the_schedule(family, numbers, counts, start):
    values = rates(family, numbers, np.arange(start, start + counts))
    with jax.enable_x64(True):
        found = robbins_monro(family, start=start, **numbers)
    np.testing.assert_allclose(found.sum, values.sum(), rtol=1e-12, atol=1e-12)  # rounding of a sum in double
    np.testing.assert_allclose(found.sum_of_squares, (values**2).sum(), rtol=1e-12, atol=1e-12)
    assert not found.holds


@pytest.mark.parametrize(("family", "numbers"), DIVERGENT, ids=str)
def test_both_sums_diverge_where_the_squares_keep_growing(family, numbers):
    found = robbins_monro(family, start=3, **numbers)
    assert np.isinf(found.sum)
    assert np.isinf(found.sum_of_squares)
    assert not found.holds
    squares = rates(family, numbers, np.arange(1000, 64_000)) ** 2
    octaves = [squares[1000 * 2**i - 1000 : 1000 * 2 ** (i + 1) - 1000].sum() for i in range(6)]
    assert min(octaves) > 0.9 * octaves[0] > 0  # each octave of counts adds as much, or more


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize(("exponent", "offset"), [(0.6, 1.0), (0.75, 2.5), (1.0, 1.0), (1.5, 0.5), (2.0, 10.0)])
def test_powers_are_the_zeta_function(exponent, offset, start):
    with jax.enable_x64(True):
        found = robbins_monro("power", init_value=0.3, exponent=exponent, offset=offset, start=start)
    first = np.inf if exponent <= 1 else 0.3 * zeta(exponent, offset + start)
    np.testing.assert_allclose(found.sum, first, rtol=1e-12)
    np.testing.assert_allclose(found.sum_of_squares, 0.09 * zeta(2 * exponent, offset + start), rtol=1e-12)
    assert found.holds == (exponent <= 1)


def test_inverse_time_keeps_both_conditions():
    numbers = {"init_value": 0.5, "decay_rate": 0.3, "transition_steps": 4.0}
    with jax.enable_x64(True):
        found = robbins_monro("inverse_time", start=2, **numbers)
    assert found.holds
    end = 200_000
    head = (rates("inverse_time", numbers, np.arange(2, end)) ** 2).sum()
    slope = 0.3 / 4
    tail = 0.5**2 / (slope * (1 + slope * (end - 0.5)))  # an integral; its error is of third order
    np.testing.assert_allclose(found.sum_of_squares, head + tail, rtol=1e-12)


def test_what_the_lectures_schedules_do():
    """Of those they name as usual, only 1 / t keeps the two conditions that they state."""
    half = robbins_monro("power", init_value=1.0, exponent=0.5)
    assert np.isinf(half.sum)
    assert np.isinf(half.sum_of_squares)
    one = robbins_monro("power", init_value=1.0, exponent=1.0)
    assert one.holds
    np.testing.assert_allclose(one.sum_of_squares, np.pi**2 / 6, rtol=1e-6)  # float32
    factor = robbins_monro("exponential", init_value=1.0, decay_rate=0.95, start=1)
    np.testing.assert_allclose([factor.sum, factor.sum_of_squares], [19, 0.9025 / 0.0975], rtol=1e-6)
    assert not factor.holds
    to_constant = robbins_monro("linear", init_value=0.1, end_value=0.001, transition_steps=100)
    assert np.isinf(to_constant.sum_of_squares)
    assert not to_constant.holds


def test_a_slow_decay_is_not_taken_for_a_constant():
    """1 - 1e-9 is 1 in float32."""
    np.testing.assert_allclose(robbins_monro("exponential", init_value=1.0, decay_rate=1 - 1e-9).sum, 1e9, rtol=1e-6)


def test_numbers_are_traced_and_slopes_finite():
    def both(exponent, rate):
        power = robbins_monro("power", init_value=rate, exponent=exponent, start=1)
        decay = robbins_monro("exponential", init_value=rate, decay_rate=exponent)
        return power.sum_of_squares, decay.sum, power.holds

    exponents = jnp.array([0.0, 0.4, 0.75, 1.0, 1.5])
    squares, _, holds = jax.jit(jax.vmap(both, in_axes=(0, None)))(exponents, jnp.float32(0.5))
    np.testing.assert_array_equal(np.isinf(squares), [True, True, False, False, False])
    np.testing.assert_array_equal(holds, [False, False, True, True, False])
    for at in (0, 1):
        slopes_of = jax.jit(jax.jacrev(lambda *numbers: both(*numbers)[:2], at))
        for exponent in exponents:
            assert np.isfinite(slopes_of(exponent, jnp.float32(0.5))).all(), exponent
    slope = jax.grad(lambda horizon: robbins_monro("cosine", init_value=0.4, decay_steps=horizon).sum)(jnp.float32(9.5))
    numeric = np.diff([robbins_monro("cosine", init_value=0.4, decay_steps=h).sum for h in (9.25, 9.75)])[0] / 0.5
    np.testing.assert_allclose(slope, numeric, rtol=1e-2)  # the numeric slope's curvature


def test_errors_name_argument_range_and_value():
    with pytest.raises(ValueError, match=r'family must be one of "constant", "linear".*got'):
        robbins_monro("warmup")  # pyright: ignore
    with pytest.raises(ValueError, match=r"exponent must lie in \[0, inf\), got -1"):
        robbins_monro("power", init_value=1.0, exponent=-1)
    with pytest.raises(ValueError, match=r"start must lie in \[0, inf\), got -2"):
        robbins_monro("constant", start=-2, value=1.0)
    with pytest.raises(TypeError, match="decay"):
        robbins_monro("power", init_value=1.0, decay=1.0)


def test_steps_from_epochs_are_the_batches_of_so_many_passes():
    for examples, batch_size in ((100, 32), (96, 32), (7, 7), (9, 1)):
        batches = [list(range(examples))[i : i + batch_size] for i in range(0, examples, batch_size)]
        full = [batch for batch in batches if len(batch) == batch_size]
        assert steps_from_epochs(3, examples, batch_size) == 3 * len(full)
        assert steps_from_epochs(3, examples, batch_size, drop_last=False) == 3 * len(batches)
    assert isinstance(steps_from_epochs(3, 100, 32), int)
    assert steps_from_epochs(0.5, 100, 32) == 1.5
    traced = jax.jit(jax.vmap(lambda epochs: steps_from_epochs(epochs, 100, 32)))(jnp.array([1.0, 2.5]))
    np.testing.assert_array_equal(traced, [3, 7.5])
    schedule = jax.jit(lambda epochs: schedules.linear(1.0, 0.0, steps_from_epochs(epochs, 100, 32))(3))
    assert schedule(jnp.float32(2.0)) == 0.5
    with pytest.raises(ValueError, match=r"batch_size must lie in \[1, inf\), got 0"):
        steps_from_epochs(3, 100, 0)


def test_a_warm_up_composes_with_any_schedule():
    counts = np.arange(40)
    for after in (schedules.inverse_time(0.8, 0.3), schedules.cosine(0.8, 20), schedules.power(0.8, 0.5)):
        found = schedules.warmup(after, 8, init_value=0.1)(counts)
        rise = 0.1 + (0.8 - 0.1) * counts / 8
        expected = np.where(counts < 8, rise, after(np.maximum(counts - 8, 0)))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    cosine = schedules.warmup(schedules.cosine(0.8, 20), 8)
    np.testing.assert_allclose(cosine(counts), schedules.warmup_cosine(0.0, 0.8, 8, 28)(counts), rtol=1e-6, atol=1e-7)
