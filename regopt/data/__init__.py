"""Data sets that ship offline, and the order in which training visits them."""

from regopt.data.batching import batch_indices
from regopt.data.loaders import Splits, digits
from regopt.data.resampling import bootstrap, subsamples

__all__ = ["Splits", "batch_indices", "bootstrap", "digits", "subsamples"]
