"""Training of one setting as a pure function: for a number of steps, until it stops improving, and then on all data."""

from regopt._core.types import Stopping
from regopt.training._all_data import Continued, Retrained, continue_training, retrain
from regopt.training._early_stopping import EarlyStoppingState, early_stopping
from regopt.training._fit import Fit, fit
from regopt.training._segments import train_segment, train_steps

__all__ = [
    "Continued",
    "EarlyStoppingState",
    "Fit",
    "Retrained",
    "Stopping",
    "continue_training",
    "early_stopping",
    "fit",
    "retrain",
    "train_segment",
    "train_steps",
]
