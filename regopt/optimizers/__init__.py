"""The named optimizers, composed of the parts in ``regopt.transforms``."""

from regopt.optimizers.adaptive import adam, adamw
from regopt.optimizers.descent import sgd
from regopt.transforms import heavy_ball

__all__ = ["adam", "adamw", "heavy_ball", "sgd"]
