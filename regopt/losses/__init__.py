"""Losses and metrics: functions of outputs and targets."""

from regopt.losses._batches import at_once, from_means
from regopt.losses._classification import accuracy, cross_entropy, smooth_labels, smoothed_cross_entropy
from regopt.losses._multi_task import multi_task
from regopt.losses._regression import squared_error

__all__ = [
    "accuracy",
    "at_once",
    "cross_entropy",
    "from_means",
    "multi_task",
    "smooth_labels",
    "smoothed_cross_entropy",
    "squared_error",
]
