"""Figures: arrays in, matplotlib objects out. Nothing here trains, reads files or touches pyplot's global state."""

from regopt.plots.sweep import heatmap, learning_curves

__all__ = ["heatmap", "learning_curves"]
