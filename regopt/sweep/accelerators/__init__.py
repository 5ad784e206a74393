"""Programs of a sweep compiled for devices that this machine lacks; they are inspected and never run."""

from regopt.sweep.accelerators._cost import Cost
from regopt.sweep.accelerators._group_plan import GroupPlan
from regopt.sweep.accelerators._targets import Target, target_of

__all__ = ["Cost", "GroupPlan", "Target", "target_of"]
