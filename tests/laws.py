"""The catalogue of every public factory, with its numbers, and the ways to exercise what a factory makes.

``tests/test_laws.py`` runs the hyperparameter contract over it. Adding an algorithm means adding its row here; a
test fails when a public factory has none. Sample values are never only 0, 1 or the identity.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import regopt
from regopt import layers, noise, optimizers, penalties, schedules, stopping, transforms


class Row(NamedTuple):
    """A public factory."""

    factory: Callable[..., Any]
    kind: str  # a key of EXERCISES
    numbers: dict[str, tuple[float, ...]]  # by argument, valid values; the first is the usual one
    ends: dict[str, tuple[float, ...]] = {}  # noqa: RUF012 - by argument, the closed ends of its range and other hard values
    build: Callable[..., Any] | None = None  # numbers -> object, where the factory needs more than numbers
    updates: str = "parameters"  # whose dtypes its updates have; a link of a chain: "wide" or "incoming"

    @property
    def name(self) -> str:
        """The factory's name within the package."""
        return f"{self.factory.__module__.removeprefix('regopt.')}.{self.factory.__name__}"

    def make(self, **numbers: Any) -> Any:
        """The object for these numbers, the usual values for the others."""
        usual = {name: values[0] for name, values in self.numbers.items()}
        return (self.build or self.factory)(**(usual | numbers))


RATE = (0.02, 0.3)
CATALOGUE = [
    Row(regopt.sgd, "transform", {"learning_rate": RATE}, {"learning_rate": (0.0,)}),
    Row(
        regopt.heavy_ball,
        "transform",
        {"learning_rate": RATE, "momentum": (0.9, 0.5)},
        {"learning_rate": (0.0,), "momentum": (0.0,)},
    ),
    Row(
        regopt.adam,
        "transform",
        {
            "learning_rate": RATE,
            "b1": (0.8, 0.95),
            "b2": (0.99, 0.9),
            "eps": (1e-3, 1e-6),
            "eps_root": (1e-4, 1e-2),
        },
        {"b1": (0.0,), "b2": (0.0,), "eps": (0.0,), "eps_root": (0.0,)},
    ),
    Row(
        regopt.adamw,
        "transform",
        {
            "learning_rate": RATE,
            "b1": (0.8, 0.95),
            "b2": (0.99, 0.9),
            "eps": (1e-3, 1e-6),
            "eps_root": (1e-4, 1e-2),
            "weight_decay": (0.05, 0.7),
        },
        {"b1": (0.0,), "b2": (0.0,), "eps": (0.0,), "eps_root": (0.0,), "weight_decay": (0.0,)},
    ),
    Row(transforms.scale_by_learning_rate, "transform", {"learning_rate": RATE}, {"learning_rate": (0.0,)}),
    Row(
        transforms.scale_by_adam,
        "transform",
        {"b1": (0.8, 0.95), "b2": (0.99, 0.9), "eps": (1e-3, 1e-6), "eps_root": (1e-4, 1e-2)},
        {"b1": (0.0,), "b2": (0.0,), "eps": (0.0,), "eps_root": (0.0,)},
        updates="wide",
    ),
    Row(
        transforms.add_penalty_gradient,
        "transform",
        {"scale": (-0.3, 0.2), "strength": (0.4, 0.05)},
        {"scale": (0.0,), "strength": (0.0,)},
        build=lambda scale, strength: transforms.add_penalty_gradient(penalties.l1(strength), scale),
        updates="incoming",
    ),
    Row(
        regopt.regularize,
        "transform",
        {"strength": (0.4, 0.05), "learning_rate": RATE},
        {"strength": (0.0,), "learning_rate": (0.0,)},
        build=lambda strength, learning_rate: optax.chain(
            regopt.regularize(regopt.heavy_ball(0.1, 0.5), penalties.l2(strength)),
            regopt.regularize(regopt.sgd(0.3), penalties.l1(strength), "decoupled", learning_rate=learning_rate),
        ),
    ),
    Row(penalties.l1, "penalty", {"strength": (0.3, 1.7)}, {"strength": (0.0,)}),
    Row(penalties.l2, "penalty", {"strength": (0.3, 1.7)}, {"strength": (0.0,)}),
    Row(schedules.constant, "schedule", {"value": (0.3, 0.02)}, {"value": (0.0,)}),
    Row(
        schedules.linear,
        "schedule",
        {"init_value": (0.5, 0.2), "end_value": (0.1, 0.7), "transition_steps": (10.0, 3.0)},
        {"init_value": (0.0,), "transition_steps": (0.0, 7.0)},
    ),
    Row(
        schedules.exponential,
        "schedule",
        {
            "init_value": (0.5, 0.2),
            "decay_rate": (0.9, 0.5),
            "transition_steps": (2.0, 5.0),
            "end_value": (0.01, 0.1),
        },
        {"decay_rate": (0.0, 1.0), "init_value": (0.0,)},
    ),
    Row(
        schedules.cosine,
        "schedule",
        {"init_value": (0.5, 0.2), "decay_steps": (50.0, 9.0), "alpha": (0.1, 0.3), "exponent": (2.0, 0.5)},
        {"init_value": (0.0,), "decay_steps": (0.0, 7.0), "alpha": (0.0,)},
    ),
    Row(
        schedules.warmup_cosine,
        "schedule",
        {
            "init_value": (0.1, 0.05),
            "peak_value": (0.5, 0.9),
            "warmup_steps": (5.0, 20.0),
            "decay_steps": (60.0, 30.0),
            "end_value": (0.02, 0.2),
            "exponent": (1.5, 0.5),
        },
        {"init_value": (0.0,), "peak_value": (0.0,), "warmup_steps": (0.0, 7.0), "decay_steps": (7.0,)},
    ),
    Row(
        schedules.inverse_time,
        "schedule",
        {"init_value": (0.5, 0.2), "decay_rate": (0.3, 2.0), "transition_steps": (4.0, 10.0)},
        {"init_value": (0.0,), "decay_rate": (0.0,)},
    ),
    Row(
        schedules.power,
        "schedule",
        {"init_value": (0.5, 0.2), "exponent": (0.5, 1.0), "offset": (1.0, 10.0)},
        {"init_value": (0.0,), "exponent": (0.0,)},
    ),
    Row(
        schedules.piecewise_constant,
        "schedule",
        {"first": (0.5, 0.2), "second": (0.1, 0.3), "boundary": (5.0, 50.0)},
        {"boundary": (0.0, 7.0)},
        build=lambda first, second, boundary: schedules.piecewise_constant((first, second, 0.05), (boundary, 80.0)),
    ),
    Row(
        schedules.one_cycle,
        "schedule",
        {
            "transition_steps": (60.0, 30.0),
            "peak_value": (0.5, 0.9),
            "pct_start": (0.3, 0.6),
            "div_factor": (25.0, 5.0),
            "final_div_factor": (100.0, 7.0),
        },
        {"transition_steps": (0.0, 7.0), "pct_start": (0.0, 1.0)},
    ),
    Row(
        schedules.join,
        "schedule",
        {"rate": (0.5, 0.2), "boundary": (5.0, 50.0)},
        {"boundary": (0.0, 7.0)},
        build=lambda rate, boundary: schedules.join(
            [schedules.constant(0.3), schedules.exponential(rate, 0.9)], [boundary]
        ),
    ),
    Row(
        noise.dropout,
        "noise",
        {"rate": (0.4, 0.15)},
        {"rate": (0.0, 1.0)},
        build=lambda rate: lambda key, x: noise.dropout(key, x, rate),
    ),
    Row(
        layers.Dropout,
        "noise",
        {"rate": (0.4, 0.15)},
        {"rate": (0.0, 1.0)},
        build=lambda rate: lambda key, x: layers.Dropout(rate)(x, rngs=key),
    ),
    Row(
        layers.MLP,
        "noise",
        {"rate": (0.4, 0.15)},
        {"rate": (0.0, 1.0)},
        build=lambda rate: lambda key, x: layers.MLP((3, 5, 2), rate=rate, param_dtype=x.dtype, rngs=nnx.Rngs(key))(x),
    ),
    Row(
        layers.Dense,
        "noise",
        {},
        build=lambda: lambda key, x: layers.Dense(3, 2, param_dtype=x.dtype, rngs=nnx.Rngs(key))(x),
    ),
    Row(
        stopping.early_stopping,
        "stopping",
        {"patience": (2.0, 3.0), "every": (10.0, 4.0)},
        {"patience": (0.0,)},
    ),
]

# public names that are no factories with numbers: functions of values, state and type names
NO_FACTORY = {
    "evaluation_params",
    "weights_only",
    "EarlyStoppingState",
    "HeavyBallState",
    "ScaleByAdamState",
    "ScaleByLearningRateState",
    "AddPenaltyGradientState",
}
MODULES_WITH_FACTORIES = [optimizers, transforms, penalties, schedules, noise, layers, stopping]

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


def exercise_penalty(penalty: Any, dtype: Any = jnp.float32, size: float = 1.0) -> Any:
    """Value, slope and prox at ``parameters``."""
    params = jax.tree.map(lambda w: w * size, parameters(dtype))
    return penalty.value(params), jax.grad(penalty.value)(params), penalty.prox(params, 0.5)


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
            if name not in NO_FACTORY:
                yield getattr(module, name)
