"""The engine: settings as lanes of one compiled program, trained round by round on the devices."""

from regopt.sweep.engine._devices import use_all_cores

__all__ = ["use_all_cores"]
