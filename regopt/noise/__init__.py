"""Random perturbations as pure functions, ``noise(key, x, ...)``, with rates that may be traced.

The flax modules in ``regopt.layers`` call these functions. If the lanes of a ``vmap`` share a key, they share the
uniform draws, which each lane compares with its own rate.
"""

from regopt.noise._bernoulli import drop_connect, dropout, spatial_dropout, stochastic_depth, weight_scaling
from regopt.noise._gaussian import gaussian_dropout, gaussian_noise
from regopt.noise._labels import label_noise
from regopt.noise._prediction import monte_carlo

__all__ = [
    "drop_connect",
    "dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "label_noise",
    "monte_carlo",
    "spatial_dropout",
    "stochastic_depth",
    "weight_scaling",
]
