"""The engine: settings as lanes of one compiled program, trained round by round on the devices."""

from regopt.sweep.engine._devices import available_cores, use_all_cores

__all__ = ["available_cores", "use_all_cores"]
