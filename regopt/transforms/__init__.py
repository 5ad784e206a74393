"""Gradient transformations that wrap an optimizer or stand before or after it in a chain."""

from regopt.transforms._averaging import AverageParamsState, LookaheadState, average_params, lookahead
from regopt.transforms._centralization import centralize
from regopt.transforms._clipping import clip, clip_by_global_norm, clip_by_layer_norm, clip_by_unit_norm
from regopt.transforms._drop_updates import DropUpdatesState, drop_updates
from regopt.transforms._gradient_noise import AddGradientNoiseState, add_gradient_noise
from regopt.transforms._guard import GuardState, guard
from regopt.transforms._microbatches import AccumulateState, accumulate
from regopt.transforms._plateau import ReduceOnPlateauState, reduce_on_plateau
from regopt.transforms._sam import ExplicitSamState, SamState, sam

__all__ = [
    "AccumulateState",
    "AddGradientNoiseState",
    "AverageParamsState",
    "DropUpdatesState",
    "ExplicitSamState",
    "GuardState",
    "LookaheadState",
    "ReduceOnPlateauState",
    "SamState",
    "accumulate",
    "add_gradient_noise",
    "average_params",
    "centralize",
    "clip",
    "clip_by_global_norm",
    "clip_by_layer_norm",
    "clip_by_unit_norm",
    "drop_updates",
    "guard",
    "lookahead",
    "reduce_on_plateau",
    "sam",
]
