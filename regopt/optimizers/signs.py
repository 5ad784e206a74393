"""Optimizers whose step has one size for all coordinates, composed of the parts in ``regopt.transforms``."""

import optax

from regopt import penalties
from regopt.numerics import check_range
from regopt.transforms import add_penalty_gradient, scale_by_learning_rate, scale_by_lion
from regopt.types import Mask, Number, NumberOrSchedule, NumberTree


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
