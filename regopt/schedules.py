"""Learning-rate schedules ``count -> value`` in which every number, also a horizon, may be traced.

They are optax schedules with optax's argument names, made for sweeps: one compiled program serves every
horizon, and the slope with respect to every number is finite (at a kink one of the one-sided slopes or their
mean, and 0 where it would be infinite). A schedule takes the step count, an integer >= 0 or an array of them,
and returns the default float dtype in the shape of the count. Not for schedules that react to a metric.
"""

from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp

from regopt.numerics import as_float, check_range
from regopt.types import Number, Schedule

Numbers: TypeAlias = Sequence[Number] | jax.Array  # a sequence of numbers, or an array of shape (n,)

_NO_TIME = 1e-9  # a horizon below this many steps counts as 0
_FOREVER = 1e20  # what count / horizon is for such a horizon: past any end, and finite in float32


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
    _check("(-inf, inf)", value=value)
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
    _check("(-inf, inf)", init_value=init_value, end_value=end_value)
    _check("[0, inf)", transition_steps=transition_steps)

    def schedule(count):
        count, start, end, horizon = _floats(count, init_value, end_value, transition_steps)
        return _mix(start, end, _fraction(count, horizon))

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
    _check("(-inf, inf)", init_value=init_value, end_value=end_value)
    _check("[0, inf)", decay_rate=decay_rate, transition_steps=transition_steps)

    def schedule(count):
        count, start, rate, unit = _floats(count, init_value, decay_rate, transition_steps)
        periods = _ratio(count, unit)
        if staircase:
            nearest = jnp.round(periods)  # floor() alone is one short when x / 41 is compiled to x * (1 / 41)
            periods = jnp.where(nearest * unit <= count, nearest, nearest - 1)
        value = start * _power(rate, periods)
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
    _check("(-inf, inf)", init_value=init_value)
    _check("[0, inf)", decay_steps=decay_steps, exponent=exponent)
    _check("[0, 1]", alpha=alpha)

    def schedule(count):
        start, fraction = as_float(init_value), as_float(alpha)
        return _half_cosine(start, fraction * start, decay_steps, exponent)(count)

    return schedule


def warmup_cosine(
    init_value: Number,
    peak_value: Number,
    warmup_steps: Number,
    decay_steps: Number,
    end_value: Number = 0.0,
    exponent: Number = 1.0,
) -> Schedule:
    """``linear`` from ``init_value`` to ``peak_value``, then a half cosine down to ``end_value``.

    The second part is ``end_value + (peak_value - end_value) * ((1 + cos(pi a)) / 2)**exponent`` with
    ``a = min((count - warmup_steps) / (decay_steps - warmup_steps), 1)``.

    Args:
        init_value: value at count 0, any finite number; may be traced.
        peak_value: value at ``warmup_steps``, in the same unit; may be traced.
        warmup_steps: in [0, inf), steps; 0 for no warm-up; may be traced.
        decay_steps: in [0, inf), steps of the whole schedule, warm-up included; where it is not above
            ``warmup_steps`` the end follows the warm-up at once; may be traced.
        end_value: value from ``decay_steps`` on, in the same unit; may be traced.
        exponent: in [0, inf), dimensionless; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Loshchilov & Hutter (2017), eq. 5; Zhang et al., Dive into Deep Learning,
    sec. 12.11 (warm-up).

    >>> schedule = warmup_cosine(0.0, 1.0, warmup_steps=2, decay_steps=6, end_value=0.5)
    >>> [round(float(schedule(count)), 4) for count in (0, 1, 2, 4, 6, 9)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.5]
    """
    _check("(-inf, inf)", init_value=init_value, peak_value=peak_value, end_value=end_value)
    _check("[0, inf)", warmup_steps=warmup_steps, decay_steps=decay_steps, exponent=exponent)
    rise = linear(init_value, peak_value, warmup_steps)
    fall = _half_cosine(peak_value, end_value, as_float(decay_steps) - as_float(warmup_steps), exponent)
    return join([rise, fall], [warmup_steps])


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
    _check("(-inf, inf)", init_value=init_value)
    _check("[0, inf)", decay_rate=decay_rate, transition_steps=transition_steps)

    def schedule(count):
        count, start, rate, unit = _floats(count, init_value, decay_rate, transition_steps)
        return start / (1 + rate * _ratio(count, unit))

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
    _check("(-inf, inf)", init_value=init_value)
    _check("[0, inf)", exponent=exponent)
    _check("(0, inf)", offset=offset)

    def schedule(count):
        count, start, order, shift = _floats(count, init_value, exponent, offset)
        return start * _power(count + shift, -order)

    return schedule


def piecewise_constant(values: Numbers, boundaries: Numbers) -> Schedule:
    """``values[i]`` from ``boundaries[i - 1]`` on, ``values[0]`` before the first.

    Args:
        values: n + 1 finite numbers; may be traced.
        boundaries: n numbers in [0, inf), steps, in increasing order; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete number lies outside its range, or the lengths do not fit.

    References: Zhang et al., Dive into Deep Learning, sec. 12.11 (the multi-factor scheduler).

    >>> schedule = piecewise_constant([1.0, 0.5, 0.125], boundaries=[2, 5])
    >>> [float(schedule(count)) for count in (0, 1, 2, 4, 5, 9)]
    [1.0, 1.0, 0.5, 0.5, 0.125, 0.125]
    """
    _check("(-inf, inf)", values=values)
    _check_lengths("values", len(values), len(boundaries))
    return join([constant(value) for value in values], boundaries)


def one_cycle(
    transition_steps: Number,
    peak_value: Number,
    pct_start: Number = 0.3,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> Schedule:
    """Half cosines ``peak_value / div_factor -> peak_value -> peak_value / (div_factor * final_div_factor)``.

    The peak is at ``floor(pct_start * transition_steps)``, the end at ``floor(transition_steps)``, in the
    default float dtype; so the slope with respect to ``pct_start`` and ``transition_steps`` is 0.

    Args:
        transition_steps: in [0, inf), steps of the whole cycle; at 0 it is over at once; may be traced.
        peak_value: any finite number; may be traced.
        pct_start: in [0, 1], the rising fraction of the cycle, dimensionless; may be traced.
        div_factor: in (0, inf), peak over first value, dimensionless; may be traced.
        final_div_factor: in (0, inf), first over last value, dimensionless; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Smith & Topin (2018), sec. 3, with cosines for the straight lines.

    >>> schedule = one_cycle(10, 1.0, pct_start=0.4, div_factor=4.0, final_div_factor=2.0)
    >>> [round(float(schedule(count)), 4) for count in (0, 2, 4, 7, 10, 20)]
    [0.25, 0.625, 1.0, 0.5625, 0.125, 0.125]
    """
    _check("[0, inf)", transition_steps=transition_steps)
    _check("(-inf, inf)", peak_value=peak_value)
    _check("[0, 1]", pct_start=pct_start)
    _check("(0, inf)", div_factor=div_factor, final_div_factor=final_div_factor)
    steps, peak = as_float(transition_steps), as_float(peak_value)
    first = peak / as_float(div_factor)
    last = first / as_float(final_div_factor)
    turn = jnp.floor(as_float(pct_start) * steps)
    rise, fall = _half_cosine(first, peak, turn, 1), _half_cosine(peak, last, jnp.floor(steps) - turn, 1)
    return join([rise, fall], [turn])


def join(schedules: Sequence[Schedule], boundaries: Numbers) -> Schedule:
    """``schedules[i](count - boundaries[i - 1])`` from ``boundaries[i - 1]`` on, before it ``schedules[0]``.

    A count stays an integer where the boundary is one. Before its start a schedule is asked at count 0, so
    that what it gives for negative counts cannot spoil a slope.

    Args:
        schedules: n + 1 schedules, from here or from optax; static.
        boundaries: n numbers in [0, inf), steps, in increasing order; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete boundary lies outside its range, or the lengths do not fit.

    References: Loshchilov & Hutter (2017), sec. 3, for cosines in a row (warm restarts).

    >>> schedule = join([constant(0.5), linear(1.0, 0.0, transition_steps=4)], boundaries=[3])
    >>> [float(schedule(count)) for count in (0, 2, 3, 4, 9)]
    [0.5, 0.5, 1.0, 0.75, 0.0]
    """
    _check("[0, inf)", boundaries=boundaries)
    _check_lengths("schedules", len(schedules), len(boundaries))

    def schedule(count):
        value = as_float(schedules[0](count))
        for following, start in zip(schedules[1:], boundaries, strict=True):
            before, local = _since(count, start)
            value = jnp.where(before, value, as_float(following(local)))
        return value

    return schedule


def _check(interval: str, **arguments: Number | Numbers | None) -> None:
    for name, argument in arguments.items():
        check_range(name, argument, interval)


def _check_lengths(name: str, pieces: int, boundaries: int) -> None:
    if pieces != boundaries + 1:
        raise ValueError(f"{name} must be one more than boundaries, got {pieces} and {boundaries}")


def _half_cosine(start: Number, end: Number, horizon: Number, exponent: Number) -> Schedule:
    """From ``start`` to ``end`` along ``((1 + cos(pi a)) / 2)**exponent``, written as a power of a sine.

    The sine keeps its digits near the end, where ``1 + cos`` cancels.
    """

    def schedule(count):
        at, first, last, steps, order = _floats(count, start, end, horizon, exponent)
        sine = jnp.sin(jnp.pi / 2 * (1 - _fraction(at, steps)))
        return _mix(last, first, _power(sine, 2 * order))

    return schedule


def _floats(count: Number, *numbers: Number) -> tuple[jax.Array, ...]:
    """The count, at least 0, and the numbers, in the default float dtype."""
    _, steps = _since(count, 0)
    return tuple(as_float(x) for x in (steps, *numbers))


def _since(count: Number, start: Number) -> tuple[jax.Array, jax.Array]:
    """Whether ``count < start``, and ``count - start`` with 0 before the start; integers stay integers."""
    whole = all(jnp.issubdtype(jnp.result_type(x), jnp.integer) for x in (count, start))
    dtype = jnp.result_type(int if whole else float)
    count, start = jnp.asarray(count).astype(dtype), jnp.asarray(start).astype(dtype)
    before = count < start
    return before, jnp.where(before, 0, count - start)


def _ratio(count: jax.Array, horizon: jax.Array) -> jax.Array:
    """``count / horizon``; huge but finite, with slope 0, for a horizon of 0."""
    none = horizon < _NO_TIME
    return jnp.where(none, _FOREVER, count / jnp.where(none, 1, horizon))


def _fraction(count: jax.Array, horizon: jax.Array) -> jax.Array:
    """``min(count / horizon, 1)``, exactly 1 at the horizon (a compiled division may round below it)."""
    return jnp.where(count >= horizon, 1, jnp.minimum(_ratio(count, horizon), 1))


def _mix(start: jax.Array, end: jax.Array, fraction: jax.Array) -> jax.Array:
    return (1 - fraction) * start + fraction * end


@jax.custom_jvp
def _power(base: jax.Array, exponent: jax.Array) -> jax.Array:
    """``base**exponent`` for base >= 0, 0**0 = 1; at most the largest float, where it is flat.

    An infinite slope at 0 becomes 0.
    """
    return _saturate(base**exponent)


@_power.defjvp
def _power_jvp(primals, tangents):
    (base, exponent), (base_dot, exponent_dot) = primals, tangents
    value = _power(base, exponent)
    limits = jnp.finfo(value.dtype)
    steep, flat = (base == 0) & (exponent < 1), value >= limits.max
    by_base = jnp.where(steep | flat, 0, exponent * _power(jnp.where(steep, 1, base), exponent - 1))
    by_exponent = jnp.where(flat, 0, value * jnp.log(jnp.where(base < limits.tiny, 1, base)))
    return value, _saturate(by_base) * base_dot + _saturate(by_exponent) * exponent_dot


def _saturate(x: jax.Array) -> jax.Array:
    largest = jnp.finfo(x.dtype).max
    return jnp.clip(x, -largest, largest)
