"""Sweeps: hundreds of settings trained at once in one compiled program."""

from regopt._core.types import Task
from regopt.sweep._plan import Plan, plan
from regopt.sweep._replicate import Replication, replicate
from regopt.sweep._run import run
from regopt.sweep._suggest import ask, tell
from regopt.sweep._task import SupervisedState, supervised
from regopt.sweep.engine import use_all_cores
from regopt.sweep.executors import Futures, Ray
from regopt.sweep.hypergradients import (
    Hypergradient,
    ImplicitHypergradient,
    Tuned,
    hypergradient,
    implicit_hypergradient,
    tune,
)
from regopt.sweep.results import Best, Importance, Pareto, Result, compare, importance, load, repeats, separations
from regopt.sweep.schedulers import (
    Decision,
    Scheduler,
    SchedulerState,
    asynchronous_halving,
    hyperband,
    median_rule,
    population_based_training,
    successive_halving,
)
from regopt.sweep.space import (
    Dimension,
    Settings,
    choice,
    conditional,
    folds,
    from_columns,
    grid,
    latin_hypercube,
    log_uniform,
    log_uniform_int,
    random,
    replicas,
    seeds,
    sobol,
    static,
    uniform,
    uniform_int,
)

__all__ = [
    "Best",
    "Decision",
    "Dimension",
    "Futures",
    "Hypergradient",
    "ImplicitHypergradient",
    "Importance",
    "Pareto",
    "Plan",
    "Ray",
    "Replication",
    "Result",
    "Scheduler",
    "SchedulerState",
    "Settings",
    "SupervisedState",
    "Task",
    "Tuned",
    "ask",
    "asynchronous_halving",
    "choice",
    "compare",
    "conditional",
    "folds",
    "from_columns",
    "grid",
    "hyperband",
    "hypergradient",
    "implicit_hypergradient",
    "importance",
    "latin_hypercube",
    "load",
    "log_uniform",
    "log_uniform_int",
    "median_rule",
    "plan",
    "population_based_training",
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
    "uniform_int",
    "use_all_cores",
]
