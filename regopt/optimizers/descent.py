"""Gradient descent without a memory of past gradients."""

import optax

from regopt.transforms import scale_by_learning_rate
from regopt.types import NumberOrSchedule


def sgd(learning_rate: NumberOrSchedule) -> optax.GradientTransformationExtraArgs:
    """Gradient descent, ``w <- w - learning_rate * g``.

    Args:
        learning_rate: step size, >= 0, in parameter units per gradient unit; may be traced, a schedule, or a
            prefix tree of these (one for a layer, say).

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete learning rate is negative or NaN.

    References: Goodfellow et al. (2016), Algorithm 8.1; Robbins & Monro (1951).
    """
    return scale_by_learning_rate(learning_rate)
