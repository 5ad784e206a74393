"""Methods that scale each coordinate by its own gradient history.

Moments are kept in at least float32 whatever the parameters' dtype: a second moment with b2 = 0.999 would
never move in bfloat16.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from regopt import tree
from regopt.numerics import check_range, like, one_minus_power, safe_divide, safe_sqrt
from regopt.transforms import moments
from regopt.types import Number, Tree


class ScaleByAdamState(NamedTuple):
    """State of ``scale_by_adam``."""

    count: Number  # shape (), int32: updates so far
    first: Tree  # shapes of the parameters, at least float32: moving average of g
    second: Tree  # shapes of the parameters, at least float32: moving average of g**2


def scale_by_adam(
    b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8, eps_root: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Adam's direction, ``(s / (1 - b1**t)) / (sqrt(r / (1 - b2**t) + eps_root) + eps)``.

    With ``s <- b1 s + (1 - b1) g`` and ``r <- b2 r + (1 - b2) g**2``, elementwise, t = 1, 2, ... A direction of
    descent when subtracted; its leaves are at least float32. Where the gradient has always been zero it is 0,
    with ``eps = 0`` too.

    Args:
        b1: decay of the first moment, in [0, 1); may be traced.
        b2: decay of the second moment, in [0, 1); may be traced.
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Kingma & Ba (2015), Algorithm 1; Goodfellow et al. (2016), Algorithm 8.7 (the deck's printed
    form, with delta inside the root, is ``eps_root``).
    """
    check_range("b1", b1, "[0, 1)")
    check_range("b2", b2, "[0, 1)")
    check_range("eps", eps, "[0, inf)")
    check_range("eps_root", eps_root, "[0, inf)")

    def init(params):
        zeros = tree.zeros_wide(params)
        return ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        t = optax.safe_increment(state.count)
        bias1, bias2 = one_minus_power(b1, t), one_minus_power(b2, t)
        first = moments.average(b1, state.first, updates)
        second = moments.average_of_squares(b2, state.second, updates)

        def direction(s, r):
            root = safe_sqrt(r / like(bias2, r) + like(eps_root, r))
            return safe_divide(s / like(bias1, s), root + like(eps, s))

        return tree.lift_wide(direction, first, second), ScaleByAdamState(t, first, second)

    return optax.GradientTransformationExtraArgs(init, update)
