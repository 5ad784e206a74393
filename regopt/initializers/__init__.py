"""Initial kernels and biases: drawn with a stated variance, or fitted to data. Every number may be traced.

Only breaking the symmetry between units needs randomness; biases do without.
"""

from regopt.initializers._draws import glorot, he, orthogonal, relu_bias, torch_bias, torch_kernel
from regopt.initializers._from_data import lsuv, output_bias

__all__ = ["glorot", "he", "lsuv", "orthogonal", "output_bias", "relu_bias", "torch_bias", "torch_kernel"]
