"""flax nnx modules: feature-major layers, noise with traced rates, batch normalisation, and a convolution for lanes."""

from regopt.layers.batch_norm import BatchNorm, estimate_statistics, fold_batch_norm
from regopt.layers.convolution import convolution_by_product
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
    "convolution_by_product",
    "estimate_statistics",
    "fold_batch_norm",
    "prune",
]
