"""Moving averages of gradients and of their squares, kept in at least float32.

What the rules with moments share; not transformations themselves.
"""

from regopt import tree
from regopt.numerics import one_minus
from regopt.types import Number, Tree


def average(decay: Number, old: Tree, new: Tree) -> Tree:
    """``decay * old + (1 - decay) * new``, elementwise, in the dtypes of ``old``; ``decay`` may be traced."""
    return tree.lift(lambda m, x, b, c: b * m + c * x, old, new, numbers=(decay, one_minus(decay)))


def average_of_squares(decay: Number, old: Tree, new: Tree) -> Tree:
    """``decay * old + (1 - decay) * new**2``, elementwise, in the dtypes of ``old``; ``decay`` may be traced."""
    return tree.lift(lambda r, x, b, c: b * r + c * x * x, old, new, numbers=(decay, one_minus(decay)))
