"""Data sets that ship offline, and the order in which training visits them."""

from regopt.data.batching import batch_indices
from regopt.data.loaders import Splits, digits

__all__ = ["Splits", "batch_indices", "digits"]
