"""The sums that decide whether stochastic gradient descent converges with the learning rates of a schedule.

The sums over all counts from a first one on have closed forms, so every number may be traced. A beginning of finite
length changes neither condition, so a warm-up needs no family of its own. Schedules given as functions are not covered,
because their behaviour at infinity cannot be observed.
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.scipy.special import zeta

from regopt._core.numerics import as_float, one_minus, one_minus_complement_power
from regopt._core.types import Number
from regopt.schedules._counts import check

Family: TypeAlias = Literal["constant", "linear", "exponential", "cosine", "inverse_time", "power"]


class RobbinsMonro(NamedTuple):
    """The two sums of Robbins and Monro over the learning rates of a schedule, and whether their conditions hold."""

    sum: jax.Array  # shape (), default float dtype: of the learning rates, inf where it diverges
    sum_of_squares: jax.Array  # shape (), default float dtype: of their squares, inf where it diverges
    holds: jax.Array  # shape (), bool: the first is infinite and the second finite


def robbins_monro(family: Family, *, start: Number = 0, **numbers: Number) -> RobbinsMonro:
    """``sum_k rate(k)`` and ``sum_k rate(k)**2`` over the counts ``k = start, start + 1, ...``.

    SGD converges if the first sum is infinite, so that every starting point is close enough, and the second is finite,
    so that the noise averages out. Derivatives are those of the finite sums, and 0 where a sum diverges.

    Args:
        family: name of a schedule in ``regopt.schedules``; static.
        start: the first count, a whole number >= 0; may be traced.
        **numbers: the numbers of the schedule by name, with the same defaults; values of the schedule in [0, inf),
            horizons in (0, inf); may be traced. "cosine" has no ``exponent`` and "exponential" no ``staircase`` here.

    Returns:
        Both sums, and whether the two conditions hold.

    Raises:
        ValueError: ``family`` is unknown, or a concrete number lies outside its range.

    Example:
        >>> from regopt.schedules import robbins_monro
        >>> print(robbins_monro("exponential", init_value=1.0, decay_rate=0.95, start=1).sum)
        19.0
        >>> [bool(robbins_monro("power", init_value=1.0, exponent=p).holds) for p in (0.5, 0.75, 1.0, 2.0)]
        [False, True, True, False]

    References:
        Robbins, H., & Monro, S. (1951). A stochastic approximation method. Annals of Mathematical Statistics, 22(3),
        400-407. Equations 26 and 27.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations 8.12 and 8.13.
    """
    if family not in _FAMILIES:
        known = ", ".join(f'"{name}"' for name in _FAMILIES)
        raise ValueError(f"family must be one of {known}, got {family!r}")
    check("[0, inf)", start=start)
    first, second = _FAMILIES[family](as_float(start), **numbers)
    return RobbinsMonro(first, second, jnp.isinf(first) & jnp.isfinite(second))


def _constant(start, value):
    del start
    check("[0, inf)", value=value)
    return _endless(value), _endless(value)


def _linear(start, init_value, end_value, transition_steps):
    check("[0, inf)", init_value=init_value, end_value=end_value)
    check("(0, inf)", transition_steps=transition_steps)
    horizon = as_float(transition_steps)
    terms = jnp.maximum(jnp.ceil(horizon) - start, 0)
    first, pairs = 1 - start / horizon, terms * (terms - 1) / 2
    total = terms * first - pairs / horizon
    squares = terms * first**2 - 2 * first * pairs / horizon + pairs * (2 * terms - 1) / (3 * horizon**2)
    return _down_to(end_value, init_value, total, squares)


def _exponential(start, init_value, decay_rate, transition_steps=1, end_value=0.0):
    check("[0, inf)", init_value=init_value, decay_rate=decay_rate, end_value=end_value)
    check("(0, inf)", transition_steps=transition_steps)
    c, unit = as_float(one_minus(decay_rate)), as_float(transition_steps)
    falls = c > 0
    safe = jnp.where(falls, c, 0.5)

    def geometric(power):
        first = 1 - one_minus_complement_power(safe, power * start / unit)
        return first / one_minus_complement_power(safe, power / unit)

    limit = jnp.where(falls, as_float(end_value), as_float(init_value))
    return _down_to(limit, init_value, geometric(1), geometric(2))


def _cosine(start, init_value, decay_steps, alpha=0.0):
    check("[0, inf)", init_value=init_value)
    check("(0, inf)", decay_steps=decay_steps)
    check("[0, 1]", alpha=alpha)
    horizon = as_float(decay_steps)
    terms = jnp.maximum(jnp.ceil(horizon) - start, 0)
    single = horizon <= 1  # there is at most one term, and it is 1
    angle = jnp.pi / jnp.where(single, 2, horizon)

    def cosines(angle):  # the sum of cos(k angle)
        return jnp.sin(terms * angle / 2) * jnp.cos((start + (terms - 1) / 2) * angle) / jnp.sin(angle / 2)

    total = jnp.where(single, terms, (terms + cosines(angle)) / 2)
    squares = jnp.where(single, terms, (3 * terms + 4 * cosines(angle) + cosines(2 * angle)) / 8)
    return _down_to(as_float(alpha) * as_float(init_value), init_value, total, squares)


def _inverse_time(start, init_value, decay_rate, transition_steps=1):
    check("[0, inf)", init_value=init_value, decay_rate=decay_rate)
    check("(0, inf)", transition_steps=transition_steps)
    rate, rise = as_float(init_value), as_float(decay_rate) / as_float(transition_steps)
    falls = rise > 0
    offset = 1 / jnp.where(falls, rise, 1)
    squares = rate * offset * (rate * offset * zeta(as_float(2), offset + start))
    return _endless(rate), jnp.where(falls, squares, _endless(rate))


def _power(start, init_value, exponent, offset=1.0):
    check("[0, inf)", init_value=init_value, exponent=exponent)
    check("(0, inf)", offset=offset)
    rate, order, at = as_float(init_value), as_float(exponent), as_float(offset) + start

    def total(rate, order):
        finite = order > 1
        return jnp.where(finite, rate * zeta(jnp.where(finite, order, 2), at), _endless(rate))

    return total(rate, order), total(rate**2, 2 * order)


def _endless(value):
    """The sum of a constant >= 0 over all counts."""
    return jnp.where(as_float(value) > 0, jnp.inf, as_float(0))


def _down_to(limit, rate, total, squares):
    """The sums times the rate and its square; infinite unless the schedule falls to a limit of 0."""
    endless, rate = as_float(limit) > 0, as_float(rate)
    return jnp.where(endless, jnp.inf, rate * total), jnp.where(endless, jnp.inf, rate**2 * squares)


_FAMILIES = {
    "constant": _constant,
    "linear": _linear,
    "exponential": _exponential,
    "cosine": _cosine,
    "inverse_time": _inverse_time,
    "power": _power,
}
