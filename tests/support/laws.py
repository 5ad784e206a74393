"""The ways to exercise what a public factory makes, over the catalogue of them all.

``tests/test_laws.py`` runs the hyperparameter contract over it. Adding an algorithm means adding its row to a file of
``tests/support/catalogue``; a test fails when a public factory has none.
Sample values are never only 0, 1 or the identity.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

from regopt import augment, initializers, layers, noise, optimizers, penalties, schedules, transforms
from regopt.training import _early_stopping as stopping
from support.catalogue import augment as augment_rows
from support.catalogue import first_order as first_order_rows
from support.catalogue import initializers as initializer_rows
from support.catalogue import noise as noise_rows
from support.catalogue import optimizers as optimizer_rows
from support.catalogue import penalties as penalty_rows
from support.catalogue import schedules as schedule_rows
from support.catalogue import second_order as second_order_rows
from support.catalogue import stopping as stopping_rows
from support.catalogue import transforms as transform_rows
from support.catalogue import wrappers as wrapper_rows
from support.catalogue.row import Row

CATALOGUE: list[Row] = [
    *optimizer_rows.ROWS,
    *first_order_rows.ROWS,
    *transform_rows.ROWS,
    *wrapper_rows.ROWS,
    *second_order_rows.ROWS,
    *penalty_rows.ROWS,
    *schedule_rows.ROWS,
    *noise_rows.ROWS,
    *augment_rows.ROWS,
    *initializer_rows.ROWS,
    *stopping_rows.ROWS,
]

# public names that are no factories with numbers: functions of values
NO_FACTORY = {"evaluation_params", "final_params", "robbins_monro", "share", "steps_from_epochs", "weights_only"}
NO_FACTORY |= {"CONVENTIONS", "Library"}
NO_FACTORY |= {"decay_strength", "elastic_net_numbers", "l1_strength", "l2_number", "l2_strength", "prune", "Transform"}
MODULES_WITH_FACTORIES = [optimizers, transforms, penalties, schedules, noise, augment, initializers, layers, stopping]

NUMBERS = [(row, number) for row in CATALOGUE for number in row.numbers]


def of_kind(*kinds: str) -> list[Row]:
    """The rows of these kinds."""
    return [row for row in CATALOGUE if row.kind in kinds]


def identify(value: Any) -> str:
    """A readable test id."""
    return value.name if isinstance(value, Row) else str(value)


def parameters(dtype: Any) -> dict[str, Any]:
    """A small parameter tree; one weight is exactly zero."""
    kernel = jnp.array([[1.0, -2.0, 0.5], [0.0, 0.25, -0.125]], dtype)
    return {"layer": {"kernel": kernel, "bias": jnp.array([0.5, -1.0, 2.0], dtype)}}


def gradients(dtype: Any, size: float = 1.0) -> dict[str, Any]:
    """Gradients for ``parameters``; one coordinate is exactly zero."""
    kernel = jnp.array([[0.1, -0.3, 0.0], [2.0, 0.7, -0.05]], dtype)
    return {"layer": {"kernel": kernel * size, "bias": jnp.array([1.0, -0.5, 0.2], dtype) * size}}


def exercise_transform(transform: Any, dtype: Any = jnp.float32, size: float = 1.0) -> Any:
    """Three updates from ``parameters``; the last update and the state."""
    params, grads = parameters(dtype), gradients(dtype, size)
    state = transform.init(params)
    updates = grads
    for _ in range(3):
        updates, state = transform.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, updates, state


def residuals(params: Any) -> jax.Array:
    """Residuals whose sum of squares is a coupled quadratic plus a quartic, with its minimum at no round number."""
    kernel, bias = params["layer"]["kernel"], params["layer"]["bias"]
    gaps = kernel - jnp.array([[0.5, -1.0, 0.75], [0.25, 0.5, -0.5]], kernel.dtype)
    parts = [gaps, 0.5 * gaps**2, bias - 0.3, 0.5 * (kernel[0] * bias - kernel[1])]
    return jnp.concatenate([part.ravel() for part in parts])


def exercise_second_order(transform: Any, dtype: Any = jnp.float32, size: float = 1.0) -> Any:
    """Three updates on half the sum of squares of ``residuals``; the last update and the state."""

    def residual_fn(params):
        return residuals(params) * size

    def value_fn(params):
        return jnp.sum(jnp.square(residual_fn(params))) / 2

    params, updates = parameters(dtype), None
    state = transform.init(params)
    for _ in range(3):
        grads = jax.grad(value_fn)(params)
        updates, state = transform.update(grads, state, params, value_fn=value_fn, residual_fn=residual_fn)
        params = optax.apply_updates(params, updates)
    return params, updates, state


def exercise_penalty(penalty: Any, dtype: Any = jnp.float32, size: float = 1.0) -> Any:
    """Value, slope and prox, where there is one, at ``parameters``."""
    params = jax.tree.map(lambda w: w * size, parameters(dtype))
    return penalty.value(params), jax.grad(penalty.value)(params), penalty.prox and penalty.prox(params, 0.5)


def exercise_schedule(schedule: Any, dtype: Any = jnp.float32, size: float = 1.0) -> Any:
    """Values at counts before, at and after the horizons in the catalogue."""
    del dtype, size
    return jnp.stack([schedule(jnp.asarray(count)) for count in (0, 1, 3, 7, 40, 1000)])


def exercise_noise(apply: Any, dtype: Any = jnp.float32, size: float = 1.0) -> Any:
    """The layer on a fixed input with a fixed key."""
    x = jnp.asarray([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0], [0.0, 1.0, 1.5], [2.0, -0.5, 1.0]], dtype)
    return apply(jax.random.key(3), x * size)


def exercise_stopping(rule: Any, dtype: Any = jnp.float32, size: float = 1.0) -> Any:
    """A run whose metric falls, then rises; the state, the best metric as a float."""
    del size
    state = rule.init(parameters(dtype))
    for metric in (3.0, 2.0, 2.5, 2.25, 2.75, 2.125):
        state = rule.update(state, jax.tree.map(lambda w, m=metric: w * m, parameters(dtype)), metric)
    return state


EXERCISES = {
    "transform": exercise_transform,
    "second_order": exercise_second_order,
    "penalty": exercise_penalty,
    "schedule": exercise_schedule,
    "noise": exercise_noise,
    "stopping": exercise_stopping,
}


def exercise(row: Row, dtype: Any = jnp.float32, size: float = 1.0, **numbers: Any) -> Any:
    """What a row's object does with these numbers, as a tree of arrays; pure, so that jax may transform it."""
    return EXERCISES[row.kind](row.make(**numbers), dtype, size)


def public_factories() -> Iterator[Callable[..., Any]]:
    """Every public callable of the modules that hold factories."""
    for module in MODULES_WITH_FACTORIES:
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        ]
        for name in names:
            value = getattr(module, name)
            if name not in NO_FACTORY and not _is_state(value):
                yield value


def _is_state(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, tuple)
