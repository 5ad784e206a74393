"""The calls that a law makes of a factory's object: a few updates, a value and a prox, a forward pass."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from regopt._core.types import Key, Number, Penalty, Schedule, Stopping, Tree
from regopt.testing._points import gradients, half_squares, inputs, matrix, parameters, residuals
from regopt.testing._row import Row

NO_NUMBERS: Mapping[str, Number] = MappingProxyType({})


def of_transform(transform: optax.GradientTransformationExtraArgs, dtype: DTypeLike, size: Number) -> Tree:
    """Three updates from ``parameters``: the parameters, the last update and the state."""
    params, grads = parameters(dtype), gradients(dtype, size)
    state = transform.init(params)
    updates = grads
    for _ in range(3):
        updates, state = transform.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, updates, state


def of_second_order(transform: optax.GradientTransformationExtraArgs, dtype: DTypeLike, size: Number) -> Tree:
    """Three updates on half the sum of squares of ``residuals``: the parameters, the last update and the state."""

    def residual_fn(params):
        return residuals(params) * size

    value_fn = half_squares(residual_fn)
    params, updates = parameters(dtype), None
    state = transform.init(params)
    for _ in range(3):
        grads = jax.grad(value_fn)(params)
        updates, state = transform.update(grads, state, params, value_fn=value_fn, residual_fn=residual_fn)
        params = optax.apply_updates(params, updates)
    return params, updates, state


def of_penalty(penalty: Penalty, dtype: DTypeLike, size: Number, finite: bool) -> Tree:
    """Value, slope and prox at ``parameters``; a value that is infinite there is taken at the prox."""
    params = jax.tree.map(lambda w: w * size, parameters(dtype))
    value = penalty.value if finite else lambda w: penalty.value(penalty.prox(w, 1.0))
    return value(params), jax.grad(value)(params), penalty.prox(params, 0.5) if penalty.has_prox else None


def of_projection(project: Callable[[Tree], Tree], dtype: DTypeLike, size: Number) -> Tree:
    """The projection of a matrix."""
    return project(matrix(dtype) * size)


def of_schedule(schedule: Schedule) -> Tree:
    """Values at counts before, at and after the horizons in the catalogue."""
    return jnp.stack([schedule(jnp.asarray(count)) for count in (0, 1, 3, 7, 40, 1000)])


def of_noise(apply: Callable[[Key, jax.Array], Tree], dtype: DTypeLike, size: Number) -> Tree:
    """The layer on a fixed input with a fixed key."""
    return apply(jax.random.key(3), inputs(dtype) * size)


def of_stopping(rule: Stopping, dtype: DTypeLike) -> Tree:
    """The state after a run whose metric falls, then rises."""
    state = rule.init(parameters(dtype))
    for metric in (3.0, 2.0, 2.5, 2.25, 2.75, 2.125):
        state = rule.update(state, jax.tree.map(lambda w, m=metric: w * m, parameters(dtype)), metric)
    return state


def exercise(
    row: Row, numbers: Mapping[str, Number] = NO_NUMBERS, *, dtype: DTypeLike = jnp.float32, size: Number = 1.0
) -> Tree:
    """The results of a row's object with these numbers, as a tree of arrays; pure, so that JAX may transform it.

    Args:
        row: the factory and its usual numbers.
        numbers: instead of the usual ones.
        dtype: of the parameters or the input.
        size: times the gradient, or times the input.

    Returns:
        A tree that depends on the kind of the row.

    Raises:
        ValueError: the kind is unknown.

    Example:
        >>> from regopt import testing
        >>> row = next(row for row in testing.CATALOGUE if row.name == "schedules.constant")
        >>> testing.exercise(row, {"value": 0.5})  # the values at six counts
        Array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], dtype=float32)
    """
    made = row.make(**numbers)
    match row.kind:
        case "transform":
            return of_transform(made, dtype, size)
        case "second_order":
            return of_second_order(made, dtype, size)
        case "penalty":
            return of_penalty(made, dtype, size, row.prox is None or row.prox.finite)
        case "projection":
            return of_projection(made, dtype, size)
        case "schedule":
            return of_schedule(made)
        case "noise":
            return of_noise(made, dtype, size)
        case "stopping":
            return of_stopping(made, dtype)
    raise ValueError(f"kind must be transform, second_order, penalty, projection, ..., got {row.kind!r}")
