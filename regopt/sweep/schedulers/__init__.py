"""Who goes on: rules that decide between rounds which settings train further."""

from regopt.sweep.schedulers._population import population
from regopt.sweep.schedulers._schedulers import (
    Scheduler,
    asynchronous_halving,
    hyperband,
    median_rule,
    successive_halving,
)

__all__ = ["Scheduler", "asynchronous_halving", "hyperband", "median_rule", "population", "successive_halving"]
