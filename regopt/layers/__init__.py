"""flax nnx modules: feature-major layers, noise with traced rates, and batch normalisation."""

from regopt.layers.batch_norm import BatchNorm, estimate_statistics, fold_batch_norm
from regopt.layers.dense import MLP, Dense
from regopt.layers.drop_connect import DropConnect
from regopt.layers.dropout import Dropout, GaussianDropout, GaussianNoise, SpatialDropout, StochasticDepth
from regopt.layers.multitask import MultiTask
from regopt.layers.pruning import prune

__all__ = [
    "MLP",
    "BatchNorm",
    "Dense",
    "DropConnect",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "MultiTask",
    "SpatialDropout",
    "StochasticDepth",
    "estimate_statistics",
    "fold_batch_norm",
    "prune",
]
