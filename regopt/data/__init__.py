"""Data sets that are available offline, and the order in which training visits their examples."""

from regopt.data._batching import batch_indices
from regopt.data._curriculum import curriculum_indices, pacing
from regopt.data._loaders import Splits, digits
from regopt.data._permutation import permutation_at
from regopt.data._regression import DIABETES_NAMES, PROSTATE_NAMES, diabetes, prostate
from regopt.data._resampling import bootstrap, subsamples

__all__ = [
    "DIABETES_NAMES",
    "PROSTATE_NAMES",
    "Splits",
    "batch_indices",
    "bootstrap",
    "curriculum_indices",
    "diabetes",
    "digits",
    "pacing",
    "permutation_at",
    "prostate",
    "subsamples",
]
