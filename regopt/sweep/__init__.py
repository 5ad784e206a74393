"""Sweeps: hundreds of settings trained at once in one compiled program."""

from regopt.sweep.designs import from_columns, grid, latin_hypercube, random, sobol
from regopt.sweep.devices import use_all_cores
from regopt.sweep.engine import run
from regopt.sweep.forest import Importance, importance
from regopt.sweep.hypergradients import (
    Hypergradient,
    ImplicitHypergradient,
    Tuned,
    hypergradient,
    implicit_hypergradient,
    tune,
)
from regopt.sweep.loaded import load
from regopt.sweep.planning import Plan, plan
from regopt.sweep.population import population
from regopt.sweep.replication import Replication, replicate
from regopt.sweep.schedulers import (
    Scheduler,
    asynchronous_halving,
    hyperband,
    median_rule,
    successive_halving,
)
from regopt.sweep.space import Dimension, Settings, choice, log_uniform, replicas, seeds, static, uniform
from regopt.sweep.statistics import compare, repeats, separations
from regopt.sweep.suggest import ask, tell
from regopt.sweep.table import Best, Result
from regopt.sweep.task import SupervisedState, supervised

__all__ = [
    "Best",
    "Dimension",
    "Hypergradient",
    "ImplicitHypergradient",
    "Importance",
    "Plan",
    "Replication",
    "Result",
    "Scheduler",
    "Settings",
    "SupervisedState",
    "Tuned",
    "ask",
    "asynchronous_halving",
    "choice",
    "compare",
    "from_columns",
    "grid",
    "hyperband",
    "hypergradient",
    "implicit_hypergradient",
    "importance",
    "latin_hypercube",
    "load",
    "log_uniform",
    "median_rule",
    "plan",
    "population",
    "random",
    "repeats",
    "replicas",
    "replicate",
    "run",
    "seeds",
    "separations",
    "sobol",
    "static",
    "successive_halving",
    "supervised",
    "tell",
    "tune",
    "uniform",
    "use_all_cores",
]
