"""Schedules of one formula: constant, and the ways to decay."""

import jax.numpy as jnp

from regopt._core.numerics import as_float, safe_power
from regopt._core.types import Number, Schedule
from regopt.schedules._counts import check, floats, fraction, mix, ratio


def constant(value: Number) -> Schedule:
    """``value`` at every count.

    Args:
        value: any finite number; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument is not finite.

    References: Goodfellow et al. (2016), Algorithm 8.1 with a fixed rate.

    >>> print(constant(0.25)(7))
    0.25
    """
    check("(-inf, inf)", value=value)
    return lambda count: jnp.broadcast_to(as_float(value), jnp.shape(count))


def linear(init_value: Number, end_value: Number, transition_steps: Number) -> Schedule:
    """``(1 - a) * init_value + a * end_value`` with ``a = min(count / transition_steps, 1)``.

    Args:
        init_value: value at count 0, any finite number; may be traced.
        end_value: value from ``transition_steps`` on, in the same unit; may be traced.
        transition_steps: in [0, inf), steps; at 0 the value is ``end_value`` at once; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), eq. 8.14.

    >>> schedule = linear(1.0, 0.5, transition_steps=4)
    >>> [float(schedule(count)) for count in (0, 1, 4, 9)]
    [1.0, 0.875, 0.5, 0.5]
    """
    check("(-inf, inf)", init_value=init_value, end_value=end_value)
    check("[0, inf)", transition_steps=transition_steps)

    def schedule(count):
        count, start, end, horizon = floats(count, init_value, end_value, transition_steps)
        return mix(start, end, fraction(count, horizon))

    return schedule


def exponential(
    init_value: Number,
    decay_rate: Number,
    transition_steps: Number = 1,
    end_value: Number | None = None,
    *,
    staircase: bool = False,
) -> Schedule:
    """``init_value * decay_rate ** (count / transition_steps)``, stopped at ``end_value``.

    The power takes 0**0 as 1 and stays at the largest float instead of overflowing.

    Args:
        init_value: value at count 0, any finite number; may be traced.
        decay_rate: in [0, inf), factor per ``transition_steps``, dimensionless; may be traced.
        transition_steps: in [0, inf), steps; at 0 the limit is reached at once; may be traced.
        end_value: the smallest value, or the largest where ``decay_rate > 1``, any finite number; may be
            traced. None for no bound.
        staircase: round ``count / transition_steps`` down, so that the value falls in jumps; static.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Zhang et al., Dive into Deep Learning, sec. 12.11 (the factor scheduler).

    >>> schedule = exponential(8.0, 0.25, transition_steps=2, end_value=1.5)
    >>> [round(float(schedule(count)), 5) for count in (0, 1, 2, 9)]
    [8.0, 4.0, 2.0, 1.5]
    """
    check("(-inf, inf)", init_value=init_value, end_value=end_value)
    check("[0, inf)", decay_rate=decay_rate, transition_steps=transition_steps)

    def schedule(count):
        count, start, rate, unit = floats(count, init_value, decay_rate, transition_steps)
        periods = ratio(count, unit)
        if staircase:
            nearest = jnp.round(periods)  # floor() alone is one short when x / 41 is compiled to x * (1 / 41)
            periods = jnp.where(nearest * unit <= count, nearest, nearest - 1)
        value = start * safe_power(rate, periods)
        if end_value is None:
            return value
        end = as_float(end_value)
        return jnp.where(jnp.where(rate > 1, value > end, value < end), end, value)

    return schedule


def cosine(init_value: Number, decay_steps: Number, alpha: Number = 0.0, exponent: Number = 1.0) -> Schedule:
    """``init_value * (alpha + (1 - alpha) * ((1 + cos(pi a)) / 2)**exponent)``.

    ``a = min(count / decay_steps, 1)`` is the fraction of the horizon.

    Args:
        init_value: value at count 0, any finite number; may be traced.
        decay_steps: in [0, inf), steps; at 0 the value is ``alpha * init_value`` at once; may be traced.
        alpha: in [0, 1], the final value as a fraction of the first, dimensionless; may be traced.
        exponent: in [0, inf), dimensionless; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Loshchilov & Hutter (2017), eq. 5, one period.

    >>> schedule = cosine(1.0, decay_steps=4, alpha=0.5)
    >>> [round(float(schedule(count)), 4) for count in (0, 1, 2, 4, 9)]
    [1.0, 0.9268, 0.75, 0.5, 0.5]
    """
    check("(-inf, inf)", init_value=init_value)
    check("[0, inf)", decay_steps=decay_steps, exponent=exponent)
    check("[0, 1]", alpha=alpha)

    def schedule(count):
        start, fraction = as_float(init_value), as_float(alpha)
        return half_cosine(start, fraction * start, decay_steps, exponent)(count)

    return schedule


def inverse_time(init_value: Number, decay_rate: Number, transition_steps: Number = 1) -> Schedule:
    """``init_value / (1 + decay_rate * count / transition_steps)``.

    Args:
        init_value: value at count 0, any finite number; may be traced.
        decay_rate: in [0, inf), per ``transition_steps``, dimensionless; may be traced.
        transition_steps: in [0, inf), steps; at 0 the limit is reached at once; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Robbins & Monro (1951); it satisfies Goodfellow et al. (2016), eq. 8.12 and 8.13, for a
    decay_rate above 0.

    >>> schedule = inverse_time(1.0, 3.0, transition_steps=4)
    >>> [float(schedule(count)) for count in (0, 4, 20)]
    [1.0, 0.25, 0.0625]
    """
    check("(-inf, inf)", init_value=init_value)
    check("[0, inf)", decay_rate=decay_rate, transition_steps=transition_steps)

    def schedule(count):
        count, start, rate, unit = floats(count, init_value, decay_rate, transition_steps)
        return start / (1 + rate * ratio(count, unit))

    return schedule


def power(init_value: Number, exponent: Number, offset: Number = 1.0) -> Schedule:
    """``init_value * (count + offset) ** (-exponent)``.

    Exponent 1 satisfies both conditions for the convergence of SGD, exponent 1/2 only the first.

    Args:
        init_value: value where ``count + offset`` is 1, any finite number; may be traced.
        exponent: in [0, inf), dimensionless; may be traced.
        offset: in (0, inf), steps; 1 counts the steps from 1; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Robbins & Monro (1951); Goodfellow et al. (2016), eq. 8.12 and 8.13; Zhang et al., Dive into
    Deep Learning, sec. 12.11 (the square-root scheduler).

    >>> schedule = power(1.0, exponent=0.5)
    >>> [round(float(schedule(count)), 4) for count in (0, 3, 15)]
    [1.0, 0.5, 0.25]
    """
    check("(-inf, inf)", init_value=init_value)
    check("[0, inf)", exponent=exponent)
    check("(0, inf)", offset=offset)

    def schedule(count):
        count, start, order, shift = floats(count, init_value, exponent, offset)
        return start * safe_power(count + shift, -order)

    return schedule


def half_cosine(start: Number, end: Number, horizon: Number, exponent: Number) -> Schedule:
    """From ``start`` to ``end`` along ``((1 + cos(pi a)) / 2)**exponent``, written as a power of a sine.

    The sine keeps its digits near the end, where ``1 + cos`` cancels.
    """

    def schedule(count):
        at, first, last, steps, order = floats(count, start, end, horizon, exponent)
        sine = jnp.sin(jnp.pi / 2 * (1 - fraction(at, steps)))
        return mix(last, first, safe_power(sine, 2 * order))

    return schedule
