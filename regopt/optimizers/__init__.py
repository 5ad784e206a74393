"""The named optimizers, composed of the parts in ``regopt.transforms``."""

from regopt.optimizers.accumulated import adadelta, adagrad, rmsprop, rmsprop_nesterov
from regopt.optimizers.adaptive import adam, adamw
from regopt.optimizers.descent import sgd
from regopt.transforms import ema_momentum, heavy_ball, nesterov

__all__ = [
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "ema_momentum",
    "heavy_ball",
    "nesterov",
    "rmsprop",
    "rmsprop_nesterov",
    "sgd",
]
