"""Losses and metrics: functions of outputs and targets, which declare whether a smaller or a larger value is better."""

from regopt.losses._batches import at_once, from_means
from regopt.losses._classification import accuracy, cross_entropy, smooth_labels, smoothed_cross_entropy
from regopt.losses._metric import metric
from regopt.losses._multi_task import multi_task
from regopt.losses._regression import squared_error

__all__ = [
    "accuracy",
    "at_once",
    "cross_entropy",
    "from_means",
    "metric",
    "multi_task",
    "smooth_labels",
    "smoothed_cross_entropy",
    "squared_error",
]
