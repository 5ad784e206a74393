"""RMSProp, plain and with Nesterov momentum: steps divided by the root of a moving average of squared gradients.

``eps`` stands outside the root, in gradient units, and ``eps_root`` inside, in squared ones. For small gradients the
two are far apart, and sources differ in which one they print. The accumulator is kept in at least float32.
"""

from typing import NamedTuple

import optax

from regopt._core import trees
from regopt._core.numerics import check_range, one_minus
from regopt._core.types import Number, NumberOrSchedule, Tree
from regopt.optimizers import _moments as moments
from regopt.optimizers._momentum import nesterov
from regopt.optimizers._sgd import scale_by_learning_rate


class ScaleByRmspropState(NamedTuple):
    """State of ``scale_by_rmsprop``."""

    nu: Tree  # shapes of the parameters, at least float32: moving average of g**2, about ``mu`` if centered
    mu: Tree  # shapes of the parameters, at least float32: moving average of g; None unless centered
    denominator: moments.Denominator  # the constants of the denominator in the last step

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the gradient in the last step; at least float32."""
        return self.denominator.divide(rates, self.nu)


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
        mu = trees.zeros_wide(params) if centered else None
        return ScaleByRmspropState(trees.zeros_wide(params), mu, moments.denominator())

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        if centered:
            nu = _variance(decay, state.nu, state.mu, updates)
            mu = moments.average(decay, state.mu, updates)
        else:
            nu, mu = moments.average_of_squares(decay, state.nu, updates), None
        below = moments.denominator(eps, eps_root)
        return moments.divide_by_root(updates, nu, eps, eps_root), ScaleByRmspropState(nu, mu, below)

    return optax.GradientTransformationExtraArgs(init, update)


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


def _variance(decay: Number, variance: Tree, mu: Tree, grads: Tree) -> Tree:
    """The exponentially weighted variance after one more gradient, from the variance and the mean before it."""
    return trees.lift(
        lambda r, m, g, b, c: b * (r + c * (g - m) ** 2), variance, mu, grads, numbers=(decay, one_minus(decay))
    )
