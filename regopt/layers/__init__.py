"""flax nnx modules: feature-major layers, and noise with traced rates."""

from regopt.layers.dense import MLP, Dense
from regopt.layers.dropout import Dropout

__all__ = ["MLP", "Dense", "Dropout"]
