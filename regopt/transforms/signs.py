"""Methods whose step has one size for all coordinates: only the sign of a direction counts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt import tree
from regopt.numerics import check_range
from regopt.transforms import moments
from regopt.types import Number, Tree


class ScaleByLionState(NamedTuple):
    """State of ``scale_by_lion``."""

    first: Tree  # shapes of the parameters, at least float32: moving average of g


def scale_by_lion(b1: Number = 0.9, b2: Number = 0.99) -> optax.GradientTransformationExtraArgs:
    """Lion's direction, ``sign(b1 m + (1 - b1) g)``, after which ``m <- b2 m + (1 - b2) g``, elementwise.

    Its entries are 1, -1, or 0 where that mixture is exactly zero. The slope in b1, b2 and the gradient is 0. A
    direction of descent when subtracted; its leaves are at least float32.

    Args:
        b1: the weight of the past in the direction, in [0, 1); may be traced.
        b2: decay of the moving average, in [0, 1); may be traced.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Chen et al. (2023), Algorithm 2.
    """
    check_range("b1", b1, "[0, 1)")
    check_range("b2", b2, "[0, 1)")

    def init(params):
        return ScaleByLionState(tree.zeros_wide(params))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        mixture = moments.average(b1, state.first, updates)
        return jax.tree.map(jnp.sign, mixture), ScaleByLionState(moments.average(b2, state.first, updates))

    return optax.GradientTransformationExtraArgs(init, update)
