"""Momentum, adaptive and sign methods."""

import jax.numpy as jnp
import optax

import regopt
from regopt import optimizers
from support.catalogue.row import Row

RATE = (0.02, 0.3)
EPS = {"eps": (1e-3, 1e-6), "eps_root": (1e-4, 1e-2)}
NO_EPS = {"eps": (0.0,), "eps_root": (0.0,)}
ADAGRAD = (EPS | {"initial_accumulator": (0.1, 2.0)}, NO_EPS | {"initial_accumulator": (0.0,)})
RMSPROP = ({"decay": (0.8, 0.95)} | EPS, {"decay": (0.0,)} | NO_EPS)
ADADELTA = ({"decay": (0.8, 0.95), "eps_root": (1e-2, 0.3)}, {"decay": (0.0,), "eps_root": (0.0,)})

ADAM = ({"b1": (0.8, 0.95), "b2": (0.99, 0.9)} | EPS, {"b1": (0.0,), "b2": (0.0,)} | NO_EPS)
ADAMAX = ({"b1": (0.8, 0.95), "b2": (0.99, 0.9), "eps": (1e-3, 0.1)}, {"b1": (0.0,), "b2": (0.0,), "eps": (0.0,)})
LION = ({"b1": (0.9, 0.2), "b2": (0.6, 0.95)}, {"b1": (0.0,), "b2": (0.0,)})
SIZES = jnp.array([1.0, -0.4, 0.16, 0.1], jnp.float32)


def _with_rate(numbers, ends):
    """The numbers and ends of the named optimizer, from those of its direction."""
    return {"learning_rate": RATE} | numbers, {"learning_rate": (0.0,)} | ends


def _centered(factory):
    """The factory with the variance instead of the mean square."""
    return lambda **numbers: factory(**numbers, centered=True)


def _alternating(factory):
    """The factory behind gradients that shrink and change sign, without which a maximum or a sign shows no decay."""
    return lambda **numbers: optax.chain(optax.scale_by_schedule(lambda step: SIZES[step]), factory(**numbers))


ROWS = [
    Row(
        regopt.ema_momentum,
        "transform",
        {"learning_rate": RATE, "decay": (0.9, 0.5)},
        {"learning_rate": (0.0,), "decay": (0.0,)},
    ),
    Row(
        regopt.nesterov,
        "transform",
        {"learning_rate": RATE, "momentum": (0.9, 0.5)},
        {"learning_rate": (0.0,), "momentum": (0.0,)},
    ),
    Row(optimizers.scale_by_adagrad, "transform", *ADAGRAD, updates="wide"),
    Row(optimizers.scale_by_rmsprop, "transform", *RMSPROP, updates="wide"),
    Row(optimizers.scale_by_rmsprop, "transform", *RMSPROP, _centered(optimizers.scale_by_rmsprop), updates="wide"),
    Row(optimizers.scale_by_adadelta, "transform", *ADADELTA, updates="wide"),
    Row(regopt.adagrad, "transform", *_with_rate(*ADAGRAD)),
    Row(regopt.rmsprop, "transform", *_with_rate(*RMSPROP)),
    Row(regopt.rmsprop, "transform", *_with_rate(*RMSPROP), _centered(regopt.rmsprop)),
    Row(
        regopt.rmsprop_nesterov,
        "transform",
        {"learning_rate": RATE, "momentum": (0.9, 0.5)} | RMSPROP[0],
        {"learning_rate": (0.0,), "momentum": (0.0,)} | RMSPROP[1],
    ),
    Row(regopt.nadam, "transform", *_with_rate(*ADAM)),
    Row(regopt.amsgrad, "transform", *_with_rate(*ADAM), _alternating(regopt.amsgrad)),
    Row(regopt.adamax, "transform", *_with_rate(*ADAMAX), _alternating(regopt.adamax)),
    Row(optimizers.scale_by_nadam, "transform", *ADAM, updates="wide"),
    Row(optimizers.scale_by_amsgrad, "transform", *ADAM, _alternating(optimizers.scale_by_amsgrad), updates="wide"),
    Row(optimizers.scale_by_adamax, "transform", *ADAMAX, _alternating(optimizers.scale_by_adamax), updates="wide"),
    Row(optimizers.scale_by_lion, "transform", *LION, _alternating(optimizers.scale_by_lion), updates="wide"),
    Row(
        regopt.lion,
        "transform",
        {"weight_decay": (0.05, 0.7)} | _with_rate(*LION)[0],
        {"weight_decay": (0.0,)} | _with_rate(*LION)[1],
        _alternating(regopt.lion),
    ),
    Row(regopt.adadelta, "transform", *_with_rate(*ADADELTA)),
]
