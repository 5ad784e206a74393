"""Initializers of kernels and biases, random with a given variance or fitted to data. Every number may be traced.

Randomness is needed only to break the symmetry between units, so biases can be constant.
"""

from regopt.initializers._draws import glorot, he, orthogonal, relu_bias, torch_bias, torch_kernel
from regopt.initializers._from_data import lsuv, output_bias

__all__ = ["glorot", "he", "lsuv", "orthogonal", "output_bias", "relu_bias", "torch_bias", "torch_kernel"]
