"""Schedules with one formula: the constant schedule and decays."""

import jax.numpy as jnp

from regopt._core.checks import check_switch
from regopt._core.numerics import as_float, safe_power
from regopt._core.types import Number, Schedule
from regopt.schedules._counts import check, check_horizon, floats, fraction, mix, ratio


def constant(value: Number) -> Schedule:
    """``value`` at every count, the constant schedule.

    Args:
        value: value of the schedule, any finite number; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument is not finite.

    Example:
        >>> from regopt.schedules import constant
        >>> print(constant(0.25)(7))
        0.25

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.1, with a constant
        learning rate.
    """
    check("(-inf, inf)", value=value)
    return lambda count: jnp.broadcast_to(as_float(value), jnp.shape(count))


def linear(init_value: Number, end_value: Number, transition_steps: Number) -> Schedule:
    """``(1 - a) * init_value + a * end_value`` with ``a = min(count / transition_steps, 1)``.

    Args:
        init_value: value at count 0, any finite number; may be traced.
        end_value: value from ``transition_steps`` on, in the same unit; may be traced.
        transition_steps: number of steps of the decay, in [0, inf); at 0 the value is ``end_value`` from count 0 on;
            may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> from regopt.schedules import linear
        >>> schedule = linear(1.0, 0.5, transition_steps=4)
        >>> [float(schedule(count)) for count in (0, 1, 4, 9)]
        [1.0, 0.875, 0.5, 0.5]

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation 8.14.
    """
    check("(-inf, inf)", init_value=init_value, end_value=end_value)
    check_horizon(transition_steps=transition_steps)

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
    """``init_value * decay_rate ** (count / transition_steps)``, bounded by ``end_value``.

    ``0**0`` is 1, and a power that would overflow is the largest float.

    Args:
        init_value: value at count 0, any finite number; may be traced.
        decay_rate: factor per ``transition_steps``, in [0, inf), dimensionless; may be traced.
        transition_steps: number of steps in which ``decay_rate`` acts once, in [0, inf); at 0 the value is the limit
            from count 0 on; may be traced.
        end_value: lower bound, or upper bound where ``decay_rate > 1``, any finite number; may be traced. None for no
            bound.
        staircase: whether ``count / transition_steps`` is rounded down, so that the value is piecewise constant;
            static.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> from regopt.schedules import exponential
        >>> schedule = exponential(8.0, 0.25, transition_steps=2, end_value=1.5)
        >>> [round(float(schedule(count)), 5) for count in (0, 1, 2, 9)]
        [8.0, 4.0, 2.0, 1.5]

    References:
        Zhang, A., Lipton, Z. C., Li, M., & Smola, A. J. (2023). Dive into Deep Learning. Cambridge University Press.
        Section 12.11 (the factor scheduler).
    """
    check_switch("staircase", staircase)
    check("(-inf, inf)", init_value=init_value)
    if end_value is not None:
        check("(-inf, inf)", end_value=end_value)
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
        decay_steps: number of steps of the decay, in [0, inf); at 0 the value is ``alpha * init_value`` from count 0
            on; may be traced.
        alpha: final value as a fraction of the first, in [0, 1], dimensionless; may be traced.
        exponent: exponent of the cosine, in [0, inf), dimensionless; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> from regopt.schedules import cosine
        >>> schedule = cosine(1.0, decay_steps=4, alpha=0.5)
        >>> [round(float(schedule(count)), 4) for count in (0, 1, 2, 4, 9)]
        [1.0, 0.9268, 0.75, 0.5, 0.5]

    References:
        Loshchilov, I., & Hutter, F. (2017). SGDR: Stochastic gradient descent with warm restarts. ICLR. Equation 5, for
        one period.
    """
    check("(-inf, inf)", init_value=init_value)
    check("[0, inf)", exponent=exponent)
    check_horizon(decay_steps=decay_steps)
    check("[0, 1]", alpha=alpha)

    def schedule(count):
        start, fraction = as_float(init_value), as_float(alpha)
        return half_cosine(start, fraction * start, decay_steps, exponent)(count)

    return schedule


def inverse_time(init_value: Number, decay_rate: Number, transition_steps: Number = 1) -> Schedule:
    """``init_value / (1 + decay_rate * count / transition_steps)``.

    Args:
        init_value: value at count 0, any finite number; may be traced.
        decay_rate: increase of the denominator per ``transition_steps``, in [0, inf), dimensionless; may be traced.
        transition_steps: number of steps in which ``decay_rate`` acts once, in [0, inf); at 0 the value is the limit
            from count 0 on; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> from regopt.schedules import inverse_time
        >>> schedule = inverse_time(1.0, 3.0, transition_steps=4)
        >>> [float(schedule(count)) for count in (0, 4, 20)]
        [1.0, 0.25, 0.0625]

    References:
        Robbins, H., & Monro, S. (1951). A stochastic approximation method. Annals of Mathematical Statistics, 22(3),
        400-407.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations 8.12 and 8.13, which it
        satisfies for a decay_rate above 0.
    """
    check("(-inf, inf)", init_value=init_value)
    check("[0, inf)", decay_rate=decay_rate, transition_steps=transition_steps)

    def schedule(count):
        count, start, rate, unit = floats(count, init_value, decay_rate, transition_steps)
        return start / (1 + rate * ratio(count, unit))

    return schedule


def power(init_value: Number, exponent: Number, offset: Number = 1.0) -> Schedule:
    """``init_value * (count + offset) ** (-exponent)``.

    Exponent 1 satisfies both conditions of Robbins and Monro for the convergence of SGD, exponent 1/2 only the first.

    Args:
        init_value: value where ``count + offset`` is 1, any finite number; may be traced.
        exponent: order of the decay, in [0, inf), dimensionless; may be traced.
        offset: offset of the count, in (0, inf), steps; with 1 the steps are counted from 1; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> from regopt.schedules import power
        >>> schedule = power(1.0, exponent=0.5)
        >>> [round(float(schedule(count)), 4) for count in (0, 3, 15)]
        [1.0, 0.5, 0.25]

    References:
        Robbins, H., & Monro, S. (1951). A stochastic approximation method. Annals of Mathematical Statistics, 22(3),
        400-407.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations 8.12 and 8.13.

        Zhang, A., Lipton, Z. C., Li, M., & Smola, A. J. (2023). Dive into Deep Learning. Cambridge University Press.
        Section 12.11 (the square-root scheduler).
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

    The sine is accurate near the end, where ``1 + cos`` suffers from cancellation.
    """

    def schedule(count):
        at, first, last, steps, order = floats(count, start, end, horizon, exponent)
        sine = jnp.sin(jnp.pi / 2 * (1 - fraction(at, steps)))
        return mix(last, first, safe_power(sine, 2 * order))

    return schedule
