"""Nadam: Adam with Nesterov's look ahead in the first moment."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import check_range, one_minus, one_minus_power
from regopt._core.types import Number, NumberOrSchedule, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByNadamState(NamedTuple):
    """State of ``scale_by_nadam``."""

    count: Number  # shape (), int32: updates so far
    mu: Tree  # shapes of the parameters, at least float32: moving average of g
    nu: Tree  # shapes of the parameters, at least float32: moving average of g**2
    denominator: moments.Denominator  # the constants of the denominator in the last step

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the averaged gradient in the last step; at least float32."""
        return self.denominator.divide(rates, self.nu)


def scale_by_nadam(
    b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8, eps_root: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Nadam's direction, Adam's with the first moment looked ahead by one step.

    ``(b1 s / (1 - b1**(t+1)) + (1 - b1) g / (1 - b1**t)) / (sqrt(r / (1 - b2**t) + eps_root) + eps)`` with Adam's
    s and r, elementwise. The gradient is asked at the parameters themselves. A direction of descent when subtracted;
    its leaves are at least float32. Where the gradient has always been zero it is 0, with ``eps = 0`` too.

    This is the paper's rule for a constant b1 (its schedule for b1 is left out, and so is the factor b2 that it
    prints in the corrected r, as in optax), the same as ``optax.nadam``.

    Args:
        b1: decay of the first moment, in [0, 1); may be traced.
        b2: decay of the second moment, in [0, 1); may be traced.
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Dozat (2016), Algorithm 2.
    """
    check_range("b1", b1, "[0, 1)")
    check_range("b2", b2, "[0, 1)")
    check_range("eps", eps, "[0, inf)")
    check_range("eps_root", eps_root, "[0, inf)")

    def init(params):
        return ScaleByNadamState(
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
        ahead = trees.lift_wide(
            lambda s, g, b, c: b * s + c * g,
            moments.correct_bias(b1, optax.safe_increment(t), mu),
            moments.correct_bias(b1, t, updates),
            numbers=(b1, one_minus(b1)),
        )
        directions = moments.divide_by_root(ahead, moments.correct_bias(b2, t, nu), eps, eps_root)
        below = moments.denominator(eps, eps_root, one_minus_power(b2, t))
        return directions, ScaleByNadamState(t, mu, nu, below)

    return optax.GradientTransformationExtraArgs(init, update)


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
