"""Lion: the sign of an interpolated momentum, a step of one size for all coordinates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt import penalties
from regopt._core import trees
from regopt._core.numerics import check_range
from regopt._core.types import Mask, Number, NumberOrSchedule, NumberTree, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate
from regopt.regularization import add_penalty_gradient


class ScaleByLionState(NamedTuple):
    """State of ``scale_by_lion``."""

    mu: Tree  # shapes of the parameters, at least float32: moving average of g

    hides_metric = True  # a sign has no scale; see regopt/_core/protocols.py


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
        return ScaleByLionState(trees.zeros_wide(params))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        mixture = moments.average(b1, state.mu, updates)
        return jax.tree.map(jnp.sign, mixture), ScaleByLionState(moments.average(b2, state.mu, updates))

    return optax.GradientTransformationExtraArgs(init, update)


def lion(
    learning_rate: NumberOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.99,
    *,
    weight_decay: NumberTree = 1e-3,
    mask: Mask = "weights",
) -> optax.GradientTransformationExtraArgs:
    """Lion, ``w <- w - learning_rate * (sign(b1 m + (1 - b1) g) + weight_decay * w)``.

    And then ``m <- b2 m + (1 - b2) g``. Every step has the size of the learning rate in each coordinate, so that
    it wants a smaller one than Adam, and a weight decay larger by as much.

    Args:
        learning_rate: step size, >= 0, in parameter units; may be traced, a schedule, or a prefix tree of these.
        b1: the weight of the past in the direction, in [0, 1); may be traced.
        b2: decay of the moving average, in [0, 1); may be traced.
        weight_decay: >= 0, in inverse parameter units, a number or a prefix tree of numbers; may be traced.
        mask: which leaves decay; by default neither biases nor normalisation scales, None for all of them.

    Returns:
        The optimizer; its update wants ``params``.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Chen et al. (2023), Algorithm 2.
    """
    check_range("weight_decay", weight_decay, "[0, inf)")
    return optax.chain(
        scale_by_lion(b1, b2),
        add_penalty_gradient(penalties.l2(weight_decay, mask=mask)),
        scale_by_learning_rate(learning_rate),
    )
