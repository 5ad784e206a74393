"""Full-batch second-order methods: pure transformations whose update takes the objective as ``value_fn``."""

from regopt.transforms.second_order.newton import NewtonState, diagonal_newton, newton

__all__ = ["NewtonState", "diagonal_newton", "newton"]
