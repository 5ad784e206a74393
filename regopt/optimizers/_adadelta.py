"""Adadelta: steps scaled by the ratio of past steps to past gradients.

Both accumulators are kept in at least float32.
"""

import operator
from typing import NamedTuple

import optax

from regopt._core import trees
from regopt._core.numerics import check_range, safe_divide, safe_sqrt
from regopt._core.types import Number, NumberOrSchedule, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByAdadeltaState(NamedTuple):
    """State of ``scale_by_adadelta``."""

    gradients: Tree  # shapes of the parameters, at least float32: moving average of g**2
    steps: Tree  # shapes of the parameters, at least float32: moving average of the squared direction
    scale: Tree  # shapes of the parameters, at least float32: what multiplied the last gradient

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the gradient in the last step; at least float32."""
        return trees.lift_wide(lambda rate, scale: rate * scale, rates, self.scale)


def scale_by_adadelta(decay: Number = 0.95, eps_root: Number = 1e-6) -> optax.GradientTransformationExtraArgs:
    """Adadelta's direction, ``d = g * sqrt(x + eps_root) / sqrt(r + eps_root)``, elementwise.

    With ``r <- decay r + (1 - decay) g**2`` before it and ``x <- decay x + (1 - decay) d**2`` after it, so that d
    has the parameters' units. A direction of descent when subtracted; its leaves are at least float32.
    ``eps_root`` starts the method: at 0 it never moves.

    Args:
        decay: of both averages, in [0, 1), dimensionless; may be traced.
        eps_root: >= 0, added inside both roots, in squared parameter units and squared gradient units; may be traced.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Zeiler (2012), Algorithm 1.
    """
    check_range("decay", decay, "[0, 1)")
    check_range("eps_root", eps_root, "[0, inf)")

    def init(params):
        return ScaleByAdadeltaState(*(trees.zeros_wide(params) for _ in range(3)))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        gradients = moments.average_of_squares(decay, state.gradients, updates)

        def ratio(r, x, eps_root):
            return safe_divide(safe_sqrt(x + eps_root), safe_sqrt(r + eps_root))

        scale = trees.lift(ratio, gradients, state.steps, numbers=(eps_root,))
        directions = trees.lift_wide(operator.mul, updates, scale)
        steps = moments.average_of_squares(decay, state.steps, directions)
        return directions, ScaleByAdadeltaState(gradients, steps, scale)

    return optax.GradientTransformationExtraArgs(init, update)


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
