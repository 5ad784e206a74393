"""Adam and its family, composed of the parts in ``regopt.transforms``."""

import optax

from regopt import penalties
from regopt.numerics import check_range
from regopt.transforms import (
    add_penalty_gradient,
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_learning_rate,
    scale_by_nadam,
)
from regopt.types import Mask, Number, NumberOrSchedule, NumberTree


def adam(
    learning_rate: NumberOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Adam, ``w <- w - learning_rate * (s / (1 - b1**t)) / (sqrt(r / (1 - b2**t) + eps_root) + eps)``.

    With ``s <- b1 s + (1 - b1) g`` and ``r <- b2 r + (1 - b2) g**2``. The first step is the learning rate to
    rounding for every b1 and b2, while ``eps`` is small beside the gradient.

    Args:
        learning_rate: step size, >= 0, in parameter units; may be traced, a schedule, or a prefix tree of these.
        b1: decay of the first moment, in [0, 1); may be traced.
        b2: decay of the second moment, in [0, 1); may be traced.
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Kingma & Ba (2015), Algorithm 1; Goodfellow et al. (2016), Algorithm 8.7.
    """
    return optax.chain(scale_by_adam(b1, b2, eps, eps_root), scale_by_learning_rate(learning_rate))


def adamw(
    learning_rate: NumberOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    *,
    weight_decay: NumberTree = 1e-4,
    mask: Mask = "weights",
) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled decay, ``w <- w - learning_rate * (adam direction + weight_decay * w)``.

    Args:
        learning_rate: step size, >= 0, in parameter units; may be traced, a schedule, or a prefix tree of these.
        b1: decay of the first moment, in [0, 1); may be traced.
        b2: decay of the second moment, in [0, 1); may be traced.
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.
        weight_decay: >= 0, dimensionless, a number or a prefix tree of numbers; may be traced.
        mask: which leaves decay; by default neither biases nor normalisation scales, None for all of them.

    Returns:
        The optimizer; its update wants ``params``.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Loshchilov & Hutter (2019), Algorithm 2 with the decay scaled by the learning rate.
    """
    check_range("weight_decay", weight_decay, "[0, inf)")
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_penalty_gradient(penalties.l2(weight_decay, mask=mask)),
        scale_by_learning_rate(learning_rate),
    )


def nadam(
    learning_rate: NumberOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Nadam, ``w <- w - learning_rate * d / (sqrt(r / (1 - b2**t) + eps_root) + eps)``: Adam, looking ahead.

    With Adam's s and r, and ``d = b1 s / (1 - b1**(t+1)) + (1 - b1) g / (1 - b1**t)``.

    Args:
        learning_rate: step size, >= 0, in parameter units; may be traced, a schedule, or a prefix tree of these.
        b1: decay of the first moment, in [0, 1); may be traced.
        b2: decay of the second moment, in [0, 1); may be traced.
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Dozat (2016), Algorithm 2 with a constant b1; see ``scale_by_nadam`` for a factor left out.
    """
    return optax.chain(scale_by_nadam(b1, b2, eps, eps_root), scale_by_learning_rate(learning_rate))


def amsgrad(
    learning_rate: NumberOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """AMSGrad, ``w <- w - learning_rate * s / (sqrt(r_max + eps_root) + eps)`` with ``r_max <- max(r_max, r)``.

    With Adam's s and r, uncorrected as in the paper, so that the first step is
    ``(1 - b1) / sqrt(1 - b2)`` times the learning rate; see ``scale_by_amsgrad`` for what other libraries do.

    Args:
        learning_rate: step size, >= 0, in parameter units; may be traced, a schedule, or a prefix tree of these.
        b1: decay of the first moment, in [0, 1); may be traced.
        b2: decay of the second moment, in [0, 1); may be traced.
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Reddi, Kale & Kumar (2018), Algorithm 2.
    """
    return optax.chain(scale_by_amsgrad(b1, b2, eps, eps_root), scale_by_learning_rate(learning_rate))


def adamax(
    learning_rate: NumberOrSchedule, b1: Number = 0.9, b2: Number = 0.999, eps: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """AdaMax, ``w <- w - learning_rate * (s / (1 - b1**t)) / (u + eps)`` with ``u <- max(b2 u, |g|)``.

    With Adam's ``s <- b1 s + (1 - b1) g``. Where the gradient has always been zero the parameter stays.

    Args:
        learning_rate: step size, >= 0, in parameter units; may be traced, a schedule, or a prefix tree of these.
        b1: decay of the first moment, in [0, 1); may be traced.
        b2: decay of the largest magnitude, in [0, 1); may be traced.
        eps: >= 0, in gradient units; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Kingma & Ba (2015), Algorithm 2.
    """
    return optax.chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))
