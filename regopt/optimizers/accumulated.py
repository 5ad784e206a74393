"""AdaGrad, RMSProp and Adadelta, composed of the parts in ``regopt.transforms``."""

import optax

from regopt.transforms import nesterov, scale_by_adadelta, scale_by_adagrad, scale_by_learning_rate, scale_by_rmsprop
from regopt.types import Number, NumberOrSchedule


def adagrad(
    learning_rate: NumberOrSchedule, eps: Number = 1e-7, eps_root: Number = 0.0, initial_accumulator: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """AdaGrad, ``w <- w - learning_rate * g / (sqrt(r + eps_root) + eps)`` with ``r <- r + g**2``.

    Args:
        learning_rate: step size, >= 0, in parameter units; may be traced, a schedule, or a prefix tree of these.
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.
        initial_accumulator: r before the first step, >= 0, in squared gradient units; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), Algorithm 8.4; Duchi et al. (2011), Figure 1.
    """
    return optax.chain(scale_by_adagrad(eps, eps_root, initial_accumulator), scale_by_learning_rate(learning_rate))


def rmsprop(
    learning_rate: NumberOrSchedule,
    decay: Number = 0.9,
    eps: Number = 0.0,
    eps_root: Number = 1e-6,
    *,
    centered: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """RMSProp, ``w <- w - learning_rate * g / (sqrt(r + eps_root) + eps)``.

    With ``r <- decay r + (1 - decay) g**2``. By default the constant stands inside the root, as in the book;
    ``eps=1e-8, eps_root=0`` is the form with the constant outside. The two are not interchangeable: they differ
    where gradients are small beside the root of the constant.

    Args:
        learning_rate: step size, >= 0, in parameter units; may be traced, a schedule, or a prefix tree of these.
        decay: of the moving average, in [0, 1), dimensionless; may be traced.
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.
        centered: r is the variance of the gradient instead of its mean square.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), Algorithm 8.5; Tieleman & Hinton (2012), lecture 6.5.
    """
    return optax.chain(scale_by_rmsprop(decay, eps, eps_root, centered=centered), scale_by_learning_rate(learning_rate))


def rmsprop_nesterov(
    learning_rate: NumberOrSchedule,
    decay: Number = 0.9,
    momentum: Number = 0.9,
    eps: Number = 0.0,
    eps_root: Number = 1e-6,
) -> optax.GradientTransformationExtraArgs:
    """RMSProp with Nesterov momentum, ``v <- momentum * v - learning_rate * g / (sqrt(r + eps_root) + eps)``.

    The update is v, and g is asked at ``regopt.evaluation_params(params, state)``, which is
    ``params + momentum * v``; ``r <- decay r + (1 - decay) g**2``. The book prints no constant here, so that a zero
    gradient is 0 / 0; this has RMSProp's, and with both constants 0 such a coordinate coasts.

    Args:
        learning_rate: step size, >= 0, in parameter units; may be traced, a schedule, or a prefix tree of these.
        decay: of the moving average, in [0, 1), dimensionless; may be traced.
        momentum: in [0, 1), dimensionless; may be traced.
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), Algorithm 8.6.
    """
    return optax.chain(scale_by_rmsprop(decay, eps, eps_root), nesterov(learning_rate, momentum))


def adadelta(
    learning_rate: NumberOrSchedule = 1.0, decay: Number = 0.95, eps_root: Number = 1e-6
) -> optax.GradientTransformationExtraArgs:
    """Adadelta, ``w <- w - learning_rate * d`` with ``d = g * sqrt(x + eps_root) / sqrt(r + eps_root)``.

    With ``r <- decay r + (1 - decay) g**2`` and, afterwards, ``x <- decay x + (1 - decay) d**2``. The paper has no
    learning rate; a factor other than its 1 does not enter x.

    Args:
        learning_rate: a factor >= 0, dimensionless; may be traced, a schedule, or a prefix tree of these.
        decay: of both averages, in [0, 1), dimensionless; may be traced.
        eps_root: >= 0, added inside both roots, in squared parameter units and squared gradient units; may be traced.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Zeiler (2012), Algorithm 1.
    """
    return optax.chain(scale_by_adadelta(decay, eps_root), scale_by_learning_rate(learning_rate))
