"""The results of a sweep: its history, its table and states, statistics, and the files that hold them."""

from regopt.sweep.results._best import Best
from regopt.sweep.results._importance import Importance, importance
from regopt.sweep.results._load import load
from regopt.sweep.results._pareto import Pareto
from regopt.sweep.results._result import Result
from regopt.sweep.results._separations import separations
from regopt.sweep.results._statistics import compare, holm, repeats

__all__ = ["Best", "Importance", "Pareto", "Result", "compare", "holm", "importance", "load", "repeats", "separations"]
