"""Schedulers: rules that decide between rounds which settings train further."""

from regopt.sweep.schedulers._halving import asynchronous_halving, hyperband, successive_halving
from regopt.sweep.schedulers._median import median_rule
from regopt.sweep.schedulers._population import population_based_training
from regopt.sweep.schedulers._scheduler import Decision, Scheduler, SchedulerState

__all__ = [
    "Decision",
    "Scheduler",
    "SchedulerState",
    "asynchronous_halving",
    "hyperband",
    "median_rule",
    "population_based_training",
    "successive_halving",
]
