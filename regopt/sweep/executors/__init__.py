"""Executors, which train the lanes of a sweep outside the process that runs it."""

from regopt.sweep.executors._futures import Futures
from regopt.sweep.executors._ray import Ray

__all__ = ["Futures", "Ray"]
