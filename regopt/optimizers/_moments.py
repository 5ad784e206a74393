"""Moving averages of gradients and of squared gradients, and the division by a root.

Shared by the rules with moments; these are not transformations themselves. Results are in at least float32.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from regopt._core import trees
from regopt._core.messages import brief
from regopt._core.numerics import check_number, one_minus, one_minus_power, widen
from regopt._core.types import Number, ScheduledNumber, Tree

Params = TypeVar("Params")


def check_numbers(
    b1: ScheduledNumber, b2: ScheduledNumber, eps: ScheduledNumber, eps_root: ScheduledNumber = 0.0
) -> None:
    """Check the ranges of the numbers that Adam and its variants take."""
    check_number("b1", b1, "[0, 1)")
    check_number("b2", b2, "[0, 1)")
    check_number("eps", eps, "[0, inf)")
    check_number("eps_root", eps_root, "[0, inf)")


def zeros(params: Tree, mu_dtype: DTypeLike | None = None) -> Tree:
    """A first moment of 0, in at least float32 or in the given dtype."""
    wide = trees.zeros_wide(params)
    return wide if mu_dtype is None else jax.tree.map(lambda m: m.astype(mu_dtype), wide)


def check_mu_dtype(mu_dtype: DTypeLike | None) -> None:
    """Require a floating dtype or None."""
    try:
        floating = mu_dtype is None or jnp.issubdtype(jnp.dtype(mu_dtype), jnp.floating)
    except TypeError:
        floating = False
    if not floating:
        raise ValueError(f'mu_dtype must be a floating dtype such as "bfloat16", or None, got {brief(mu_dtype)}')


def first_moment(decay: ScheduledNumber, old: Params, new: Tree) -> tuple[Tree, Params]:
    """``average``, in at least float32 for the step, and in the dtypes of ``old`` for the state."""
    mu = average(decay, jax.tree.map(lambda m: widen(m)[0], old), new)
    return mu, trees.cast_like(mu, old)


def average(decay: ScheduledNumber, old: Tree, new: Tree) -> Tree:
    """``decay * old + (1 - decay) * new``, elementwise, in the dtypes of ``old``."""
    return trees.lift(lambda m, x, b, c: b * m + c * x, old, new, numbers=(decay, one_minus(decay)))


def average_of_squares(decay: ScheduledNumber, old: Tree, new: Tree) -> Tree:
    """``decay * old + (1 - decay) * new**2``, elementwise, in the dtypes of ``old``."""
    return trees.lift(lambda r, x, b, c: b * r + c * x * x, old, new, numbers=(decay, one_minus(decay)))


def correct_bias(decay: ScheduledNumber, count: Number, moment: Tree) -> Tree:
    """``moment / (1 - decay**count)``: the moving average of ``count`` values without the bias of its start at 0.

    The moment is multiplied by the reciprocal. XLA would merge a division with a following one in some leaves and not
    in others, depending on the number of devices.
    """
    return trees.lift_wide(lambda m, factor: m * factor, moment, numbers=(1 / one_minus_power(decay, count),))


def divide_by_root(numerator: Tree, second: Tree, eps: ScheduledNumber, eps_root: ScheduledNumber) -> Tree:
    """``numerator / (sqrt(second + eps_root) + eps)``, elementwise, and 0 where numerator and denominator are 0.

    The argument of the root is at least the smallest normal number, where the slope of the root is finite. This is one
    operation instead of the six of ``safe_divide`` and ``safe_sqrt``, which take a fifth of the compile time of a model
    with many leaves. Squares below that number have underflowed anyway.
    """

    def divide(x, r, eps, eps_root):
        return x / (jnp.sqrt(jnp.maximum(r + eps_root, jnp.finfo(r.dtype).tiny)) + eps)

    return trees.lift_wide(divide, numerator, second, numbers=(eps, eps_root))
