"""Schedules in the place of an optimizer's numbers.

Every number of a factory may be traced and no state depends on its value. So an optimizer whose numbers are schedules
is the optimizer that the factory makes of their values at the count of the step, made anew in each update.
"""

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple, ParamSpec

import jax
import jax.numpy as jnp
import optax

from regopt._core.numerics import at_count
from regopt._core.protocols import explicit_form, with_explicit_form
from regopt._core.transformation import transformation
from regopt._core.types import Number, NumberOrSchedule, ScheduledNumber, Tree

Arguments = ParamSpec("Arguments")
Optimizer = optax.GradientTransformationExtraArgs


class ScheduledState(NamedTuple):
    """State of an optimizer of which numbers are schedules."""

    inner: Tree  # state of the optimizer
    count: Number  # shape (), int32: updates so far


def takes_schedules(
    *own: str,
) -> Callable[[Callable[Arguments, Optimizer]], Callable[Arguments, Optimizer]]:
    """A decorator for a factory, each number of which may then also be a schedule.

    Args:
        *own: the arguments whose schedules the factory evaluates itself.

    Returns:
        The decorator.
    """

    def decorator(factory):
        parameters = inspect.signature(factory).parameters
        numbers = [
            name
            for name, parameter in parameters.items()
            if name not in own and parameter.annotation in (ScheduledNumber, ScheduledNumber | None, NumberOrSchedule)
        ]

        @functools.wraps(factory)
        def make(*args, **kwargs):
            given = dict(zip(parameters, args, strict=False)) | kwargs
            if len(args) > len(parameters) or not any(map(_is_scheduled, map(given.get, numbers))):
                return factory(*args, **kwargs)

            def at(count):
                return factory(**{n: at_count(v, count) if n in numbers else v for n, v in given.items()})

            return _by_count(at)

        return make

    return decorator


def _is_scheduled(value: Tree) -> bool:
    return any(callable(leaf) and not isinstance(leaf, type) for leaf in jax.tree.leaves(value))


def _by_count(at: Callable[[jax.Array], Optimizer]) -> Optimizer:
    """The optimizer ``at(count)``, and its form with an explicit evaluation point where it has one."""

    def init(params):
        zero = jnp.zeros((), jnp.int32)
        return ScheduledState(at(zero).init(params), zero)

    def update(updates, state, params=None, **extra_args):
        updates, inner = at(state.count).update(updates, state.inner, params, **extra_args)
        return updates, ScheduledState(inner, optax.safe_increment(state.count))

    made = transformation(init, update, ScheduledState)
    first = jnp.zeros((), jnp.int32)
    if explicit_form(at(first)) is None:
        return made

    def explicit(count):
        form = explicit_form(at(count))
        assert form is not None
        return form

    return with_explicit_form(made, _by_count(explicit))
