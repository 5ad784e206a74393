"""Schedules made of pieces: steps, warm-ups, cycles, and sequences of other schedules."""

from collections.abc import Sequence

import jax.numpy as jnp

from regopt._core.checks import check_function, check_functions
from regopt._core.numerics import as_float
from regopt._core.types import Number, Schedule
from regopt.schedules._counts import Numbers, check, check_horizon, check_lengths, check_numbers, since
from regopt.schedules._decays import constant, half_cosine, linear


def piecewise_constant(values: Numbers, boundaries: Numbers) -> Schedule:
    """``values[i]`` from ``boundaries[i - 1]`` on, ``values[0]`` before the first.

    Args:
        values: values of the pieces, n + 1 finite numbers; may be traced.
        boundaries: counts at which the pieces begin, n numbers in [0, inf) in increasing order; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete number lies outside its range, or the lengths do not fit.

    Example:
        >>> from regopt.schedules import piecewise_constant
        >>> schedule = piecewise_constant([1.0, 0.5, 0.125], boundaries=[2, 5])
        >>> [float(schedule(count)) for count in (0, 1, 2, 4, 5, 9)]
        [1.0, 1.0, 0.5, 0.5, 0.125, 0.125]

    References:
        Zhang, A., Lipton, Z. C., Li, M., & Smola, A. J. (2023). Dive into Deep Learning. Cambridge University Press.
        Section 12.11 (the multi-factor scheduler).
    """
    check_numbers("values", values, "(-inf, inf)")
    check_numbers("boundaries", boundaries, "[0, inf)")
    check_lengths("values", len(values), len(boundaries))
    return join([constant(value) for value in values], boundaries)


def join(schedules: Sequence[Schedule], boundaries: Numbers) -> Schedule:
    """``schedules[i](count - boundaries[i - 1])`` from ``boundaries[i - 1]`` on, before it ``schedules[0]``.

    The count that a schedule receives is an integer where count and boundary are integers. Before its start a schedule
    is evaluated at count 0, so that its values at negative counts cannot make a derivative infinite or NaN.

    Args:
        schedules: n + 1 schedules, from here or from optax; static.
        boundaries: counts at which the schedules begin, n numbers in [0, inf) in increasing order; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete boundary lies outside its range, or the lengths do not fit.

    Example:
        >>> from regopt.schedules import constant, join, linear
        >>> schedule = join([constant(0.5), linear(1.0, 0.0, transition_steps=4)], boundaries=[3])
        >>> [float(schedule(count)) for count in (0, 2, 3, 4, 9)]
        [0.5, 0.5, 1.0, 0.75, 0.0]

    References:
        Loshchilov, I., & Hutter, F. (2017). SGDR: Stochastic gradient descent with warm restarts. ICLR. Section 3, for
        a sequence of cosines (warm restarts).
    """
    check_functions("schedules", schedules)
    check_numbers("boundaries", boundaries, "[0, inf)")
    check_lengths("schedules", len(schedules), len(boundaries))

    def schedule(count):
        value = as_float(schedules[0](count))
        for following, start in zip(schedules[1:], boundaries, strict=True):
            before, local = since(count, start)
            value = jnp.where(before, value, as_float(following(local)))
        return value

    return schedule


def warmup(schedule: Schedule, warmup_steps: Number, init_value: Number = 0.0) -> Schedule:
    """``linear`` from ``init_value`` to ``schedule(0)``, then ``schedule(count - warmup_steps)``.

    Args:
        schedule: the schedule that follows the warm-up, from here or from optax; static.
        warmup_steps: number of steps of the warm-up, in [0, inf); 0 for none; may be traced.
        init_value: value at count 0, any finite number; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> from regopt.schedules import linear, warmup
        >>> schedule = warmup(linear(1.0, 0.5, transition_steps=4), warmup_steps=2)
        >>> [float(schedule(count)) for count in (0, 1, 2, 3, 6, 9)]
        [0.0, 0.5, 1.0, 0.875, 0.5, 0.5]

    References:
        Goyal, P., Dollar, P., Girshick, R., Noordhuis, P., Wesolowski, L., Kyrola, A., Tulloch, A., Jia, Y., & He, K.
        (2017). Accurate, large minibatch SGD: Training ImageNet in 1 hour. arXiv:1706.02677. Section 2.2 (gradual
        warm-up).

        Zhang, A., Lipton, Z. C., Li, M., & Smola, A. J. (2023). Dive into Deep Learning. Cambridge University Press.
        Section 12.11.
    """
    check_function("schedule", schedule)
    check("(-inf, inf)", init_value=init_value)
    check_horizon(warmup_steps=warmup_steps)
    return join([linear(init_value, schedule(0), warmup_steps), schedule], [warmup_steps])


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
        warmup_steps: number of steps of the warm-up, in [0, inf); 0 for none; may be traced.
        decay_steps: number of steps of the whole schedule, warm-up included, in [0, inf); if it is at most
            ``warmup_steps``, the value is ``end_value`` after the warm-up; may be traced.
        end_value: value from ``decay_steps`` on, in the same unit; may be traced.
        exponent: exponent of the cosine, in [0, inf), dimensionless; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> from regopt.schedules import warmup_cosine
        >>> schedule = warmup_cosine(0.0, 1.0, warmup_steps=2, decay_steps=6, end_value=0.5)
        >>> [round(float(schedule(count)), 4) for count in (0, 1, 2, 4, 6, 9)]
        [0.0, 0.5, 1.0, 0.75, 0.5, 0.5]

    References:
        Loshchilov, I., & Hutter, F. (2017). SGDR: Stochastic gradient descent with warm restarts. ICLR. Equation 5.

        Zhang, A., Lipton, Z. C., Li, M., & Smola, A. J. (2023). Dive into Deep Learning. Cambridge University Press.
        Section 12.11 (warm-up).
    """
    check("(-inf, inf)", init_value=init_value, peak_value=peak_value, end_value=end_value)
    check("[0, inf)", exponent=exponent)
    check_horizon(warmup_steps=warmup_steps, decay_steps=decay_steps)
    rise = linear(init_value, peak_value, warmup_steps)
    fall = half_cosine(peak_value, end_value, as_float(decay_steps) - as_float(warmup_steps), exponent)
    return join([rise, fall], [warmup_steps])


def one_cycle(
    transition_steps: Number,
    peak_value: Number,
    pct_start: Number = 0.3,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> Schedule:
    """Half cosines ``peak_value / div_factor -> peak_value -> peak_value / (div_factor * final_div_factor)``.

    The peak is at ``floor(pct_start * transition_steps)`` and the end at ``floor(transition_steps)``, so the
    derivatives with respect to ``pct_start`` and ``transition_steps`` are 0.

    Args:
        transition_steps: number of steps of the whole cycle, in [0, inf); at 0 the value is the last one; may be
            traced.
        peak_value: largest value, any finite number; may be traced.
        pct_start: fraction of the cycle in which the value rises, in [0, 1], dimensionless; may be traced.
        div_factor: ratio of the peak to the first value, in (0, inf), dimensionless; may be traced.
        final_div_factor: ratio of the first to the last value, in (0, inf), dimensionless; may be traced.

    Returns:
        The schedule.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> from regopt.schedules import one_cycle
        >>> schedule = one_cycle(10, 1.0, pct_start=0.4, div_factor=4.0, final_div_factor=2.0)
        >>> [round(float(schedule(count)), 4) for count in (0, 2, 4, 7, 10, 20)]
        [0.25, 0.625, 1.0, 0.5625, 0.125, 0.125]

    References:
        Smith, L. N., & Topin, N. (2018). Super-convergence: Very fast training of neural networks using large learning
        rates. arXiv:1708.07120. Section 3, here with cosines instead of straight lines.
    """
    check_horizon(transition_steps=transition_steps)
    check("(-inf, inf)", peak_value=peak_value)
    check("[0, 1]", pct_start=pct_start)
    check("(0, inf)", div_factor=div_factor, final_div_factor=final_div_factor)
    steps, peak = as_float(transition_steps), as_float(peak_value)
    first = peak / as_float(div_factor)
    last = first / as_float(final_div_factor)
    turn = jnp.floor(as_float(pct_start) * steps)
    rise, fall = half_cosine(first, peak, turn, 1), half_cosine(peak, last, jnp.floor(steps) - turn, 1)
    return join([rise, fall], [turn])
