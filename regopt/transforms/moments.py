"""Moving averages of gradients and of their squares, and the division by a root.

What the rules with moments share; not transformations themselves. Results are in at least float32.
"""

from regopt import tree
from regopt.numerics import one_minus, one_minus_power, safe_divide, safe_sqrt
from regopt.types import Number, Tree


def average(decay: Number, old: Tree, new: Tree) -> Tree:
    """``decay * old + (1 - decay) * new``, elementwise, in the dtypes of ``old``."""
    return tree.lift(lambda m, x, b, c: b * m + c * x, old, new, numbers=(decay, one_minus(decay)))


def average_of_squares(decay: Number, old: Tree, new: Tree) -> Tree:
    """``decay * old + (1 - decay) * new**2``, elementwise, in the dtypes of ``old``."""
    return tree.lift(lambda r, x, b, c: b * r + c * x * x, old, new, numbers=(decay, one_minus(decay)))


def correct_bias(decay: Number, count: Number, moment: Tree) -> Tree:
    """``moment / (1 - decay**count)``: the moving average of ``count`` values, as if it had not begun at 0."""
    return tree.lift_wide(lambda m, bias: m / bias, moment, numbers=(one_minus_power(decay, count),))


def divide_by_root(numerator: Tree, second: Tree, eps: Number, eps_root: Number) -> Tree:
    """``numerator / (sqrt(second + eps_root) + eps)``, elementwise, and 0 where the denominator is 0."""
    return tree.lift_wide(
        lambda x, r, eps, eps_root: safe_divide(x, safe_sqrt(r + eps_root) + eps),
        numerator,
        second,
        numbers=(eps, eps_root),
    )
