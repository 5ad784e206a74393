"""The settings to train: the dimensions of a space, the designs that draw from it, and the table of settings."""

from regopt.sweep.space._conditional import conditional
from regopt.sweep.space._designs import from_columns, grid, latin_hypercube, random, sobol
from regopt.sweep.space._dimensions import Dimension, choice, log_uniform, static, uniform
from regopt.sweep.space._repeats import folds, replicas, seeds
from regopt.sweep.space._settings import Settings
from regopt.sweep.space._whole_numbers import log_uniform_int, uniform_int

__all__ = [
    "Dimension",
    "Settings",
    "choice",
    "conditional",
    "folds",
    "from_columns",
    "grid",
    "latin_hypercube",
    "log_uniform",
    "log_uniform_int",
    "random",
    "replicas",
    "seeds",
    "sobol",
    "static",
    "uniform",
    "uniform_int",
]
