"""AdaGrad: steps divided by the root of the sum of all squared gradients.

``eps`` stands outside the root, in gradient units, and ``eps_root`` inside, in squared ones. For small gradients the
two are far apart, and sources differ in which one they print. The accumulator is kept in at least float32.
"""

from typing import NamedTuple

import optax

from regopt._core import trees
from regopt._core.numerics import check_range
from regopt._core.types import Number, NumberOrSchedule, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByAdagradState(NamedTuple):
    """State of ``scale_by_adagrad``."""

    sum_of_squares: Tree  # shapes of the parameters, at least float32
    denominator: moments.Denominator  # the constants of the denominator in the last step

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the gradient in the last step; at least float32."""
        return self.denominator.divide(rates, self.sum_of_squares)


def scale_by_adagrad(
    eps: Number = 1e-7, eps_root: Number = 0.0, initial_accumulator: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """AdaGrad's direction, ``g / (sqrt(r + eps_root) + eps)`` with ``r <- r + g**2``, elementwise.

    A direction of descent when subtracted; its leaves are at least float32. Where the gradient has always been
    zero it is 0, with both constants 0 too. optax's constant stands inside the root, PyTorch's outside.

    Args:
        eps: >= 0, in gradient units, added outside the root; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root; may be traced.
        initial_accumulator: r before the first step, >= 0, in squared gradient units; may be traced.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Duchi et al. (2011), Figure 1; Goodfellow et al. (2016), Algorithm 8.4.
    """
    check_range("eps", eps, "[0, inf)")
    check_range("eps_root", eps_root, "[0, inf)")
    check_range("initial_accumulator", initial_accumulator, "[0, inf)")

    def init(params):
        zeros = trees.zeros_wide(params)
        start = trees.lift(lambda r, start: r + start, zeros, numbers=(initial_accumulator,))
        return ScaleByAdagradState(start, moments.denominator())

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        total = trees.lift(lambda r, g: r + g * g, state.sum_of_squares, updates)
        below = moments.denominator(eps, eps_root)
        return moments.divide_by_root(updates, total, eps, eps_root), ScaleByAdagradState(total, below)

    return optax.GradientTransformationExtraArgs(init, update)


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
