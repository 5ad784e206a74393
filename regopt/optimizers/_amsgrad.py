"""AMSGrad: Adam with a second moment that never shrinks."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import check_range
from regopt._core.types import Number, NumberOrSchedule, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByAmsgradState(NamedTuple):
    """State of ``scale_by_amsgrad``."""

    mu: Tree  # shapes of the parameters, at least float32: moving average of g
    nu: Tree  # shapes of the parameters, at least float32: moving average of g**2
    largest: Tree  # shapes of the parameters, at least float32: the largest ``nu`` so far
    denominator: moments.Denominator  # the constants of the denominator in the last step

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the averaged gradient in the last step; at least float32."""
        return self.denominator.divide(rates, self.largest)


def scale_by_amsgrad(
    b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8, eps_root: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """AMSGrad's direction, ``s / (sqrt(r_max + eps_root) + eps)``: a scale that never shrinks again.

    With Adam's ``s <- b1 s + (1 - b1) g`` and ``r <- b2 r + (1 - b2) g**2``, and ``r_max <- max(r_max, r)``,
    elementwise. As in the paper no moment is corrected for its start at 0; the paper has no eps either. PyTorch
    takes the same maximum and corrects s and r_max afterwards; optax corrects s and r and takes the maximum of the
    corrected r, unless told to leave both as they are. A direction of descent when subtracted; its leaves are at
    least float32. Where the gradient has always been zero it is 0, with ``eps = 0`` too.

    Args:
        b1: decay of the first moment, in [0, 1); may be traced.
        b2: decay of the second moment, in [0, 1); may be traced.
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Reddi, Kale & Kumar (2018), Algorithm 2.
    """
    check_range("b1", b1, "[0, 1)")
    check_range("b2", b2, "[0, 1)")
    check_range("eps", eps, "[0, inf)")
    check_range("eps_root", eps_root, "[0, inf)")

    def init(params):
        return ScaleByAmsgradState(
            trees.zeros_wide(params),
            trees.zeros_wide(params),
            trees.zeros_wide(params),
            moments.denominator(),
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        mu = moments.average(b1, state.mu, updates)
        nu = moments.average_of_squares(b2, state.nu, updates)
        largest = trees.lift(jnp.maximum, state.largest, nu)
        below = moments.denominator(eps, eps_root)
        return moments.divide_by_root(mu, largest, eps, eps_root), ScaleByAmsgradState(mu, nu, largest, below)

    return optax.GradientTransformationExtraArgs(init, update)


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
