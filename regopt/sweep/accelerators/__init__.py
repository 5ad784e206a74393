"""What the programs of a sweep become on a device that is not there: compiled for it, read, never run."""

from regopt.sweep.accelerators._cost import Cost
from regopt.sweep.accelerators._targets import Target, target_of

__all__ = ["Cost", "Target", "target_of"]
