"""First-order optimizers and their directions, ``scale_by_*``."""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from regopt import optimizers
from regopt.testing._row import Numbers, Row

FIRST, DIRECTION = "first order", "directions for chains"
RATE: Numbers = {"learning_rate": (0.02, 0.3)}
EPS: Numbers = {"eps": (1e-3, 1e-6), "eps_root": (1e-4, 1e-2)}
MOMENTUM: Numbers = {**RATE, "momentum": (0.9, 0.5)}
DECAY: Numbers = {"decay": (0.8, 0.95)}
WEIGHT_DECAY: Numbers = {"weight_decay": (0.05, 0.7)}
ADAM: Numbers = {"b1": (0.8, 0.95), "b2": (0.99, 0.9), **EPS}
ADAMAX: Numbers = {"b1": (0.8, 0.95), "b2": (0.99, 0.9), "eps": (1e-3, 0.1)}
ADAGRAD: Numbers = {**EPS, "initial_accumulator": (0.1, 2.0)}
ADADELTA: Numbers = {**DECAY, "eps_root": (1e-2, 0.3)}
LION: Numbers = {"b1": (0.9, 0.2), "b2": (0.6, 0.95)}
FREE_SGD: Numbers = {**RATE, "b1": (0.9, 0.6), **WEIGHT_DECAY}
FREE_ADAMW: Numbers = {**FREE_SGD, "b2": (0.99, 0.9), "eps": (1e-3, 1e-6)}
SIZES = jnp.array([1.0, -0.4, 0.16, 0.1], jnp.float32)


def zero(numbers: Numbers) -> Numbers:
    """The ends of numbers whose ranges begin at 0, included."""
    return dict.fromkeys(numbers, (0.0,))


def centered(factory: Callable[..., optax.GradientTransformation]) -> Callable[..., optax.GradientTransformation]:
    """The factory with the variance instead of the mean square."""
    return lambda **numbers: factory(**numbers, centered=True)


def alternating(factory: Callable[..., optax.GradientTransformation]) -> Callable[..., optax.GradientTransformation]:
    """The factory after gradients that shrink and change sign; else some decay rates had no effect."""
    return lambda **numbers: optax.chain(optax.scale_by_schedule(lambda step: SIZES[step]), factory(**numbers))


def first(factory: Callable[..., optax.GradientTransformation], numbers: Numbers, **suite: float) -> Row:
    """The row of a named optimizer; ``suite`` has the arguments with which it converges in optax's tests."""
    return Row(factory, "transform", numbers, zero(numbers), group=FIRST, suite=suite)


def direction(factory: Callable[..., optax.GradientTransformation], numbers: Numbers) -> Row:
    """The row of a link of a chain; its updates are at least float32."""
    return Row(factory, "transform", numbers, zero(numbers), group=DIRECTION, updates="wide")


VARIANCE = {"learning_rate": 5e-3, "centered": True}
ROWS = [
    first(optimizers.sgd, RATE, learning_rate=1e-3),
    first(optimizers.heavy_ball, MOMENTUM, learning_rate=1e-3, momentum=0.9),
    first(optimizers.ema_momentum, {**RATE, "decay": (0.9, 0.5)}, learning_rate=1e-3, decay=0.9),
    first(optimizers.nesterov, MOMENTUM, learning_rate=1e-3, momentum=0.9),
    first(optimizers.adagrad, {**RATE, **ADAGRAD}, learning_rate=1.0),
    first(optimizers.rmsprop, {**RATE, **DECAY, **EPS}, learning_rate=5e-3),
    first(optimizers.rmsprop, {**RATE, **DECAY, **EPS})._replace(
        variant="centered", build=centered(optimizers.rmsprop), suite=VARIANCE
    ),
    first(optimizers.rmsprop_nesterov, {**MOMENTUM, **DECAY, **EPS}, learning_rate=5e-3, momentum=0.5),
    first(optimizers.adadelta, {**RATE, **ADADELTA}, learning_rate=0.1, decay=0.9),
    first(optimizers.adam, {**RATE, **ADAM}, learning_rate=1e-1),
    first(optimizers.adamw, {**RATE, **ADAM, **WEIGHT_DECAY}, learning_rate=1e-1),
    first(optimizers.adamax, {**RATE, **ADAMAX}, learning_rate=1e-1)._replace(build=alternating(optimizers.adamax)),
    first(optimizers.nadam, {**RATE, **ADAM}, learning_rate=1e-2),
    first(optimizers.amsgrad, {**RATE, **ADAM}, learning_rate=1e-1)._replace(build=alternating(optimizers.amsgrad)),
    first(optimizers.lion, {**RATE, **LION, **WEIGHT_DECAY}, learning_rate=1e-2, weight_decay=1e-4)._replace(
        build=alternating(optimizers.lion)
    ),
    first(optimizers.schedule_free_sgd, FREE_SGD, learning_rate=3e-3)._replace(
        ends={**zero(FREE_SGD), "b1": (0.0, 1.0)}
    ),
    first(optimizers.schedule_free_adamw, FREE_ADAMW, learning_rate=1e-2, weight_decay=0.0)._replace(
        ends={**zero(FREE_ADAMW), "b1": (0.0, 1.0)}
    ),
]
DIRECTIONS = [
    direction(optimizers.scale_by_learning_rate, RATE)._replace(updates="parameters"),
    direction(optimizers.scale_by_adagrad, ADAGRAD),
    direction(optimizers.scale_by_rmsprop, {**DECAY, **EPS}),
    direction(optimizers.scale_by_rmsprop, {**DECAY, **EPS})._replace(
        variant="centered", build=centered(optimizers.scale_by_rmsprop)
    ),
    direction(optimizers.scale_by_adadelta, ADADELTA),
    direction(optimizers.scale_by_adam, ADAM),
    direction(optimizers.scale_by_adamax, ADAMAX)._replace(build=alternating(optimizers.scale_by_adamax)),
    direction(optimizers.scale_by_nadam, ADAM),
    direction(optimizers.scale_by_amsgrad, ADAM)._replace(build=alternating(optimizers.scale_by_amsgrad)),
    direction(optimizers.scale_by_lion, LION)._replace(build=alternating(optimizers.scale_by_lion)),
]
