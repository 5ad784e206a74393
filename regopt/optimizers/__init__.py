"""The named optimizers, composed of the parts in ``regopt.transforms``."""

from regopt.optimizers.accumulated import adadelta, adagrad, rmsprop, rmsprop_nesterov
from regopt.optimizers.adaptive import adam, adamax, adamw, amsgrad, nadam
from regopt.optimizers.descent import sgd
from regopt.optimizers.signs import lion
from regopt.transforms import ema_momentum, heavy_ball, nesterov

__all__ = [
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsgrad",
    "ema_momentum",
    "heavy_ball",
    "lion",
    "nadam",
    "nesterov",
    "rmsprop",
    "rmsprop_nesterov",
    "sgd",
]
