"""Sweeps: hundreds of settings trained at once in one compiled program."""

from regopt.sweep.designs import from_columns, grid, latin_hypercube, random, sobol
from regopt.sweep.devices import use_all_cores
from regopt.sweep.engine import run
from regopt.sweep.hypergradients import (
    Hypergradient,
    ImplicitHypergradient,
    Tuned,
    hypergradient,
    implicit_hypergradient,
    tune,
)
from regopt.sweep.replication import Replication, replicate
from regopt.sweep.space import Dimension, Settings, choice, log_uniform, replicas, seeds, static, uniform
from regopt.sweep.table import Best, Result
from regopt.sweep.task import SupervisedState, supervised

__all__ = [
    "Best",
    "Dimension",
    "Hypergradient",
    "ImplicitHypergradient",
    "Replication",
    "Result",
    "Settings",
    "SupervisedState",
    "Tuned",
    "choice",
    "from_columns",
    "grid",
    "hypergradient",
    "implicit_hypergradient",
    "latin_hypercube",
    "log_uniform",
    "random",
    "replicas",
    "replicate",
    "run",
    "seeds",
    "sobol",
    "static",
    "supervised",
    "tune",
    "uniform",
    "use_all_cores",
]
