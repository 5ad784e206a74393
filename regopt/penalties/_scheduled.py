"""Schedules in the place of a penalty's numbers: the penalty of a step is the one with their values at its count."""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NoReturn, ParamSpec

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.messages import misspelt
from regopt._core.numerics import at_count
from regopt._core.transformation import check_real
from regopt._core.types import NumberOrSchedule, Penalty, ScheduledNumber, Tree

Arguments = ParamSpec("Arguments")
NEEDS_COUNT = (
    "a number of the penalty is a schedule, so it has no value without a count: put it on an optimizer by regularize, "
    "or take penalty.at(count)"
)


def takes_schedules(factory: Callable[Arguments, Penalty]) -> Callable[Arguments, Penalty]:
    """The factory, each number of which may also be a schedule, as may the numbers of penalties that it takes."""
    signature = inspect.signature(factory)
    parameters = signature.parameters
    numbers = [n for n, each in parameters.items() if each.annotation in (ScheduledNumber, NumberOrSchedule)]

    def made(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Penalty:
        return _of_real(factory(*args, **kwargs))

    @wraps(factory)
    def make(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Penalty:
        try:
            given = signature.bind_partial(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{factory.__name__}(): {error}{misspelt(kwargs, parameters)}") from None
        waits = any(isinstance(each, Penalty) and each.at is not None for each in (*args, *kwargs.values()))
        if not waits and not any(has_schedule(given.get(name)) for name in numbers):
            return made(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)

        def at(count):
            now = {n: at_count(v, count) if n in numbers else _penalties_at(v, count) for n, v in given.items()}
            bound.arguments.update(now)
            return made(*bound.args, **bound.kwargs)

        return by_count(at)

    return make


def _of_real(penalty: Penalty) -> Penalty:
    """The penalty, whose functions refuse complex parameters, of which they would take squares and signs.

    Those that move the parameters also refuse integers, which have no nearest point in their own dtype.
    """
    if penalty.at is not None:
        return penalty
    usual = {"value": True, "strength_max": penalty.has_strength_max, "linear_minimum": penalty.has_linear_minimum}
    moves = {"prox": penalty.has_prox, "project": penalty.has_projection}
    numbers = {name: _checked(getattr(penalty, name), trees.refuse_complex) for name, has in usual.items() if has}
    nearest = partial(check_real, chosen=penalty.mask)
    points = {name: _checked(getattr(penalty, name), nearest) for name, has in moves.items() if has}
    return penalty._replace(**numbers, **points)


def _checked(function: Callable[..., Tree], check: Callable[[Tree], None]) -> Callable[..., Tree]:
    @wraps(function)
    def call(params, *args, **kwargs):
        check(params)
        return function(params, *args, **kwargs)

    return call


def by_count(at: Callable[[jax.Array], Penalty]) -> Penalty:
    """The penalty whose numbers are those of ``at(count)``; it has what the one at count 0 has."""
    first = at(jnp.zeros((), jnp.int32))

    def waits(*_: object, **__: object) -> NoReturn:
        raise ValueError(NEEDS_COUNT)

    return Penalty(
        waits,
        waits if first.has_prox else None,
        first.mask,
        project=waits if first.has_projection else None,
        strength_max=waits if first.has_strength_max else None,
        stage=first.stage,
        linear_minimum=waits if first.has_linear_minimum else None,
        terms=first.terms,
        at=at,
    )


def has_schedule(number: Tree) -> bool:
    """Whether a number, or one of a tree of numbers, is a schedule; a penalty in its place is none."""
    if isinstance(number, Penalty):  # a tuple of functions
        return False
    return any(callable(leaf) and not isinstance(leaf, type) for leaf in jax.tree.leaves(number))


def _penalties_at(value: Any, count: jax.Array) -> Any:
    if isinstance(value, Penalty):
        return value.now(count)
    return tuple(_penalties_at(each, count) for each in value) if type(value) is tuple else value
