"""Adam and AdamW: a moving average of the gradient, scaled in each coordinate by the history of its size.

Moments are kept in at least float32 whatever the parameters' dtype: a second moment with b2 = 0.999 would
never move in bfloat16.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from regopt import penalties
from regopt._core import trees
from regopt._core.numerics import check_range, one_minus_power
from regopt._core.types import Mask, Number, NumberOrSchedule, NumberTree, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate
from regopt.regularization import add_penalty_gradient


class ScaleByAdamState(NamedTuple):
    """State of ``scale_by_adam``."""

    count: Number  # shape (), int32: updates so far
    mu: Tree  # shapes of the parameters, at least float32: moving average of g
    nu: Tree  # shapes of the parameters, at least float32: moving average of g**2
    denominator: moments.Denominator  # the constants of the denominator in the last step

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the averaged gradient in the last step; at least float32."""
        return self.denominator.divide(rates, self.nu)


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

    References: Kingma & Ba (2015), Algorithm 1; Goodfellow et al. (2016), Algorithm 8.7.
    """
    check_range("b1", b1, "[0, 1)")
    check_range("b2", b2, "[0, 1)")
    check_range("eps", eps, "[0, inf)")
    check_range("eps_root", eps_root, "[0, inf)")

    def init(params):
        return ScaleByAdamState(
            jnp.zeros((), jnp.int32),
            trees.zeros_wide(params),
            trees.zeros_wide(params),
            moments.denominator(),
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        t = optax.safe_increment(state.count)
        mu = moments.average(b1, state.mu, updates)
        nu = moments.average_of_squares(b2, state.nu, updates)
        corrected = moments.correct_bias(b1, t, mu), moments.correct_bias(b2, t, nu)
        below = moments.denominator(eps, eps_root, one_minus_power(b2, t))
        return moments.divide_by_root(*corrected, eps, eps_root), ScaleByAdamState(t, mu, nu, below)

    return optax.GradientTransformationExtraArgs(init, update)


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
