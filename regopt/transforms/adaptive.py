"""Adam's family: a moving average of the gradient, scaled in each coordinate by the history of its size.

Moments are kept in at least float32 whatever the parameters' dtype: a second moment with b2 = 0.999 would
never move in bfloat16. Not for methods without a first moment (see ``accumulated.py``).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt import tree
from regopt.numerics import as_float, check_range, one_minus, one_minus_power, safe_divide
from regopt.transforms import moments
from regopt.types import Number, Tree


class ScaleByAdamState(NamedTuple):
    """State of ``scale_by_adam``."""

    count: Number  # shape (), int32: updates so far
    first: Tree  # shapes of the parameters, at least float32: moving average of g
    second: Tree  # shapes of the parameters, at least float32: moving average of g**2
    denominator: moments.Denominator  # the numbers below the line in the last step

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the averaged gradient in the last step; at least float32."""
        return self.denominator.divide(rates, self.second)


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
            tree.zeros_wide(params),
            tree.zeros_wide(params),
            moments.denominator(),
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        t = optax.safe_increment(state.count)
        first = moments.average(b1, state.first, updates)
        second = moments.average_of_squares(b2, state.second, updates)
        corrected = moments.correct_bias(b1, t, first), moments.correct_bias(b2, t, second)
        below = moments.denominator(eps, eps_root, one_minus_power(b2, t))
        return moments.divide_by_root(*corrected, eps, eps_root), ScaleByAdamState(t, first, second, below)

    return optax.GradientTransformationExtraArgs(init, update)


class ScaleByNadamState(NamedTuple):
    """State of ``scale_by_nadam``."""

    count: Number  # shape (), int32: updates so far
    first: Tree  # shapes of the parameters, at least float32: moving average of g
    second: Tree  # shapes of the parameters, at least float32: moving average of g**2
    denominator: moments.Denominator  # the numbers below the line in the last step

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the averaged gradient in the last step; at least float32."""
        return self.denominator.divide(rates, self.second)


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
            tree.zeros_wide(params),
            tree.zeros_wide(params),
            moments.denominator(),
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        t = optax.safe_increment(state.count)
        first = moments.average(b1, state.first, updates)
        second = moments.average_of_squares(b2, state.second, updates)
        ahead = tree.lift_wide(
            lambda s, g, b, c: b * s + c * g,
            moments.correct_bias(b1, optax.safe_increment(t), first),
            moments.correct_bias(b1, t, updates),
            numbers=(b1, one_minus(b1)),
        )
        directions = moments.divide_by_root(ahead, moments.correct_bias(b2, t, second), eps, eps_root)
        below = moments.denominator(eps, eps_root, one_minus_power(b2, t))
        return directions, ScaleByNadamState(t, first, second, below)

    return optax.GradientTransformationExtraArgs(init, update)


class ScaleByAmsgradState(NamedTuple):
    """State of ``scale_by_amsgrad``."""

    first: Tree  # shapes of the parameters, at least float32: moving average of g
    second: Tree  # shapes of the parameters, at least float32: moving average of g**2
    largest: Tree  # shapes of the parameters, at least float32: the largest ``second`` so far
    denominator: moments.Denominator  # the numbers below the line in the last step

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
            tree.zeros_wide(params),
            tree.zeros_wide(params),
            tree.zeros_wide(params),
            moments.denominator(),
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        first = moments.average(b1, state.first, updates)
        second = moments.average_of_squares(b2, state.second, updates)
        largest = tree.lift(jnp.maximum, state.largest, second)
        below = moments.denominator(eps, eps_root)
        return moments.divide_by_root(first, largest, eps, eps_root), ScaleByAmsgradState(first, second, largest, below)

    return optax.GradientTransformationExtraArgs(init, update)


class ScaleByAdamaxState(NamedTuple):
    """State of ``scale_by_adamax``."""

    count: Number  # shape (), int32: updates so far
    first: Tree  # shapes of the parameters, at least float32: moving average of g
    largest: Tree  # shapes of the parameters, at least float32: the largest |g|, forgotten at the rate b2
    eps: Number  # shape (), default float dtype

    def proximal_steps(self, rates: Tree) -> Tree:
        """The rates times what multiplied the averaged gradient in the last step; at least float32."""
        # as large as Adam's at most, where the gradient has always been zero

        def steps(rate, u, eps):
            return rate / jnp.maximum(u + eps, jnp.sqrt(jnp.finfo(u.dtype).tiny))

        return tree.lift_wide(steps, rates, self.largest, numbers=(self.eps,))


def scale_by_adamax(b1: Number = 0.9, b2: Number = 0.999, eps: Number = 0.0) -> optax.GradientTransformationExtraArgs:
    """AdaMax's direction, ``(s / (1 - b1**t)) / (u + eps)`` with ``u <- max(b2 u, |g|)``, elementwise.

    With Adam's ``s <- b1 s + (1 - b1) g``. u is the limit of ``r**(1/p)`` for p to infinity, where
    ``r <- b2**p r + (1 - b2**p) |g|**p`` (of the root, not of r itself). The paper has no eps, and none is needed:
    where the gradient has always been zero the direction is 0. optax and PyTorch add theirs within the maximum. A
    direction of descent when subtracted; its leaves are at least float32.

    Args:
        b1: decay of the first moment, in [0, 1); may be traced.
        b2: decay of the largest magnitude, in [0, 1); may be traced.
        eps: >= 0, in gradient units; may be traced.

    Returns:
        The transformation.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Kingma & Ba (2015), Algorithm 2.
    """
    check_range("b1", b1, "[0, 1)")
    check_range("b2", b2, "[0, 1)")
    check_range("eps", eps, "[0, inf)")

    def init(params):
        return ScaleByAdamaxState(
            jnp.zeros((), jnp.int32), tree.zeros_wide(params), tree.zeros_wide(params), as_float(0.0)
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        t = optax.safe_increment(state.count)
        first = moments.average(b1, state.first, updates)
        largest = tree.lift(lambda u, g, b: jnp.maximum(b * u, jnp.abs(g)), state.largest, updates, numbers=(b2,))

        def direction(s, u, eps):
            size = jax.lax.stop_gradient(u + eps)  # the slope of s / u is s / u**2, whose square overflows for tiny u
            return safe_divide(safe_divide(s, size), safe_divide(u + eps, size))

        directions = tree.lift_wide(direction, moments.correct_bias(b1, t, first), largest, numbers=(eps,))
        return directions, ScaleByAdamaxState(t, first, largest, as_float(eps))

    return optax.GradientTransformationExtraArgs(init, update)
