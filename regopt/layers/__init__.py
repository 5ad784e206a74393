"""flax nnx modules: feature-major dense layers, noise with traced rates, batch normalisation, a fast convolution."""

from regopt.layers._batch_norm import BatchNorm, estimate_statistics, fold_batch_norm
from regopt.layers._convolution import convolution_by_product
from regopt.layers._dense import MLP, Dense
from regopt.layers._drop_connect import DropConnect
from regopt.layers._dropout import Dropout, GaussianDropout, GaussianNoise, SpatialDropout, StochasticDepth
from regopt.layers._multitask import MultiTask
from regopt.layers._pruning import prune

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
