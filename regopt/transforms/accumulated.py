"""Methods that divide by accumulated squared gradients, without a first moment: AdaGrad, RMSProp, Adadelta.

``eps`` always stands outside the root, in gradient units, and ``eps_root`` inside, in squared ones: for small
gradients the two are far apart, and sources differ in which one they print. Accumulators are kept in at least
float32. Not for methods with a momentum of their own (see ``adaptive.py`` for Adam's family).
"""

import operator
from typing import NamedTuple

import optax

from regopt import tree
from regopt.numerics import check_range, one_minus, safe_divide, safe_sqrt
from regopt.transforms import moments
from regopt.types import Number, Tree


class ScaleByAdagradState(NamedTuple):
    """State of ``scale_by_adagrad``."""

    sum_of_squares: Tree  # shapes of the parameters, at least float32
    denominator: moments.Denominator  # the numbers below the line in the last step

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
        zeros = tree.zeros_wide(params)
        start = tree.lift(lambda r, start: r + start, zeros, numbers=(initial_accumulator,))
        return ScaleByAdagradState(start, moments.denominator())

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        total = tree.lift(lambda r, g: r + g * g, state.sum_of_squares, updates)
        below = moments.denominator(eps, eps_root)
        return moments.divide_by_root(updates, total, eps, eps_root), ScaleByAdagradState(total, below)

    return optax.GradientTransformationExtraArgs(init, update)


class ScaleByRmspropState(NamedTuple):
    """State of ``scale_by_rmsprop``."""

    second: Tree  # shapes of the parameters, at least float32: moving average of g**2, about ``mean`` if centered
    mean: Tree  # shapes of the parameters, at least float32: moving average of g; None unless centered
    denominator: moments.Denominator  # the numbers below the line in the last step

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the gradient in the last step; at least float32."""
        return self.denominator.divide(rates, self.second)


def scale_by_rmsprop(
    decay: Number = 0.9, eps: Number = 0.0, eps_root: Number = 1e-6, *, centered: bool = False
) -> optax.GradientTransformationExtraArgs:
    """RMSProp's direction, ``g / (sqrt(r + eps_root) + eps)`` with ``r <- decay r + (1 - decay) g**2``.

    Elementwise. Centered, r is the variance, the moving average of g**2 less the square of that of g. It is updated
    as ``r <- decay (r + (1 - decay) (g - m)**2)`` with the mean m before the step: the same number, but never
    negative by rounding. A direction of descent when subtracted; its leaves are at least float32. Where the
    gradient has always been zero it is 0, with both constants 0 too. There is no bias correction.

    Args:
        decay: of the moving averages, in [0, 1), dimensionless; may be traced.
        eps: >= 0, in gradient units, added outside the root, as PyTorch does; may be traced.
        eps_root: >= 0, in squared gradient units, added inside the root, as the book does; may be traced.
        centered: divide by the standard deviation of the gradient instead of its root mean square.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), Algorithm 8.5; Tieleman & Hinton (2012), lecture 6.5; centered, Graves
    (2013), equations 38 to 40.
    """
    check_range("decay", decay, "[0, 1)")
    check_range("eps", eps, "[0, inf)")
    check_range("eps_root", eps_root, "[0, inf)")

    def init(params):
        mean = tree.zeros_wide(params) if centered else None
        return ScaleByRmspropState(tree.zeros_wide(params), mean, moments.denominator())

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        if centered:
            second = _variance(decay, state.second, state.mean, updates)
            mean = moments.average(decay, state.mean, updates)
        else:
            second, mean = moments.average_of_squares(decay, state.second, updates), None
        below = moments.denominator(eps, eps_root)
        return moments.divide_by_root(updates, second, eps, eps_root), ScaleByRmspropState(second, mean, below)

    return optax.GradientTransformationExtraArgs(init, update)


class ScaleByAdadeltaState(NamedTuple):
    """State of ``scale_by_adadelta``."""

    gradients: Tree  # shapes of the parameters, at least float32: moving average of g**2
    steps: Tree  # shapes of the parameters, at least float32: moving average of the squared direction
    scale: Tree  # shapes of the parameters, at least float32: what multiplied the last gradient

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the gradient in the last step; at least float32."""
        return tree.lift_wide(lambda rate, scale: rate * scale, rates, self.scale)


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
        return ScaleByAdadeltaState(*(tree.zeros_wide(params) for _ in range(3)))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        gradients = moments.average_of_squares(decay, state.gradients, updates)

        def ratio(r, x, eps_root):
            return safe_divide(safe_sqrt(x + eps_root), safe_sqrt(r + eps_root))

        scale = tree.lift(ratio, gradients, state.steps, numbers=(eps_root,))
        directions = tree.lift_wide(operator.mul, updates, scale)
        steps = moments.average_of_squares(decay, state.steps, directions)
        return directions, ScaleByAdadeltaState(gradients, steps, scale)

    return optax.GradientTransformationExtraArgs(init, update)


def _variance(decay: Number, variance: Tree, mean: Tree, grads: Tree) -> Tree:
    """The exponentially weighted variance after one more gradient, from the variance and the mean before it."""
    return tree.lift(
        lambda r, m, g, b, c: b * (r + c * (g - m) ** 2), variance, mean, grads, numbers=(decay, one_minus(decay))
    )
