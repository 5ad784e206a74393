"""Momentum, adaptive and sign methods."""

import regopt
from catalogue.row import Row
from regopt import transforms

RATE = (0.02, 0.3)
EPS = {"eps": (1e-3, 1e-6), "eps_root": (1e-4, 1e-2)}
NO_EPS = {"eps": (0.0,), "eps_root": (0.0,)}
ADAGRAD = (EPS | {"initial_accumulator": (0.1, 2.0)}, NO_EPS | {"initial_accumulator": (0.0,)})
RMSPROP = ({"decay": (0.8, 0.95)} | EPS, {"decay": (0.0,)} | NO_EPS)
ADADELTA = ({"decay": (0.8, 0.95), "eps_root": (1e-2, 0.3)}, {"decay": (0.0,), "eps_root": (0.0,)})


def _with_rate(numbers, ends):
    """The numbers and ends of the named optimizer, from those of its direction."""
    return {"learning_rate": RATE} | numbers, {"learning_rate": (0.0,)} | ends


def _centered(factory):
    """The factory with the variance instead of the mean square."""
    return lambda **numbers: factory(**numbers, centered=True)


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
    Row(transforms.scale_by_adagrad, "transform", *ADAGRAD, updates="wide"),
    Row(transforms.scale_by_rmsprop, "transform", *RMSPROP, updates="wide"),
    Row(transforms.scale_by_rmsprop, "transform", *RMSPROP, _centered(transforms.scale_by_rmsprop), updates="wide"),
    Row(transforms.scale_by_adadelta, "transform", *ADADELTA, updates="wide"),
    Row(regopt.adagrad, "transform", *_with_rate(*ADAGRAD)),
    Row(regopt.rmsprop, "transform", *_with_rate(*RMSPROP)),
    Row(regopt.rmsprop, "transform", *_with_rate(*RMSPROP), _centered(regopt.rmsprop)),
    Row(
        regopt.rmsprop_nesterov,
        "transform",
        {"learning_rate": RATE, "momentum": (0.9, 0.5)} | RMSPROP[0],
        {"learning_rate": (0.0,), "momentum": (0.0,)} | RMSPROP[1],
    ),
    Row(regopt.adadelta, "transform", *_with_rate(*ADADELTA)),
]
