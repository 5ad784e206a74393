"""Training one setting as a pure function: for so many steps, until it stops improving, and after that on all data."""

from regopt.training.all_data import Continued, Retrained, continue_training, retrain
from regopt.training.fit import Fit, fit
from regopt.training.steps import train_steps

__all__ = ["Continued", "Fit", "Retrained", "continue_training", "fit", "retrain", "train_steps"]
