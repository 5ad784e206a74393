"""Executors, which train the lanes of a sweep outside of the process that asks for it."""

from regopt.sweep.executors._futures import Futures
from regopt.sweep.executors._ray import Ray

__all__ = ["Futures", "Ray"]
