"""Hypergradients: the derivative of a validation metric with respect to every number of a setting at once."""

from regopt.sweep.hypergradients._implicit import ImplicitHypergradient, implicit_hypergradient
from regopt.sweep.hypergradients._through_run import Hypergradient, hypergradient
from regopt.sweep.hypergradients._tune import Tuned, tune

__all__ = ["Hypergradient", "ImplicitHypergradient", "Tuned", "hypergradient", "implicit_hypergradient", "tune"]
