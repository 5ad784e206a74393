"""Losses and metrics: functions of outputs and targets."""

from regopt.losses._losses import (
    accuracy,
    cross_entropy,
    multi_task,
    smooth_labels,
    smoothed_cross_entropy,
    squared_error,
)

__all__ = ["accuracy", "cross_entropy", "multi_task", "smooth_labels", "smoothed_cross_entropy", "squared_error"]
