"""How much of the way to the minimum survives, eigenvalue by eigenvalue: L2, early stopping, and what equals what."""

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, exprel, like, one_minus_complement_power, safe_divide
from regopt._core.types import Number
from regopt.analysis.quadratic._checks import checked_eigenvalues, checked_rate


def l2_shrinkage(eigenvalues: jax.Array, strength: Number) -> jax.Array:
    """``l / (l + strength)``: the fraction of w* that survives an L2 penalty, in each eigendirection.

    Args:
        eigenvalues: of the Hessian, >= 0, ``[n]``.
        strength: of ``strength / 2 * |w|**2``, >= 0, in units of the eigenvalues; a number or ``[n]``.

    Returns:
        ``[n]``, in [0, 1]; 0 where eigenvalue and strength are both 0, the limit of a vanishing penalty.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), (7.12)-(7.13).

    >>> l2_shrinkage(jnp.array([0.0, 1.0, 3.0]), 1.0)
    Array([0.  , 0.5 , 0.75], dtype=float32)
    """
    eigenvalues = checked_eigenvalues(eigenvalues)
    check_range("strength", strength, "[0, inf]")
    return safe_divide(eigenvalues, eigenvalues + like(strength, eigenvalues))


def early_stopping_shrinkage(eigenvalues: jax.Array, learning_rate: Number, steps: Number) -> jax.Array:
    """``1 - (1 - learning_rate l)**steps``: the fraction of the way to w* that gradient descent has gone.

    Args:
        eigenvalues: of the Hessian, >= 0, ``[n]``.
        learning_rate: > 0, at most 2 / max(l), beyond which gradient descent diverges.
        steps: >= 0; need not be whole unless ``learning_rate * l > 1`` somewhere, where other values give NaN.

    Returns:
        ``[n]``; in [0, 1] where ``learning_rate * l <= 1``, beyond that it overshoots in turn.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), (7.40).

    >>> early_stopping_shrinkage(jnp.array([0.0, 1.0, 2.0]), 0.5, 2)
    Array([0.  , 0.75, 1.  ], dtype=float32)
    """
    eigenvalues, rate, steps = _descent(eigenvalues, learning_rate, steps)
    c = rate * eigenvalues
    within = one_minus_complement_power(jnp.minimum(c, 1), steps)
    return jnp.where(c <= 1, within, 1 - _overshoot(jnp.maximum(c, 1), steps))


def gradient_flow_shrinkage(eigenvalues: jax.Array, time: Number) -> jax.Array:
    """``1 - exp(-l time)``: the limit of gradient descent with ``steps * learning_rate = time``.

    Args:
        eigenvalues: of the Hessian, >= 0, ``[n]``.
        time: >= 0, in units of 1 / eigenvalue.

    Returns:
        ``[n]``, in [0, 1].

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Ali, Kolter & Tibshirani (2019), (7).

    >>> gradient_flow_shrinkage(jnp.array([0.0, 1.0]), 1.0)
    Array([0.        , 0.63212055], dtype=float32)
    """
    eigenvalues = checked_eigenvalues(eigenvalues)
    check_range("time", time, "[0, inf]")
    return -jnp.expm1(-eigenvalues * like(time, eigenvalues))


def equivalent_strength(eigenvalues: jax.Array, learning_rate: Number, steps: Number) -> jax.Array:
    """The L2 strength, for each eigenvalue, that shrinks as much as ``steps`` steps of gradient descent.

    ``l q / (1 - q)`` with ``q = (1 - learning_rate l)**steps``, which is ``1 / (learning_rate steps)`` at l = 0 and
    ``1 / (learning_rate steps) - l (steps + 1) / (2 steps) + O(l**2)`` near it: one strength serves all directions
    only while ``learning_rate * l * steps`` is small.

    Args:
        eigenvalues: of the Hessian, >= 0, ``[n]``.
        learning_rate: > 0, at most 2 / max(l).
        steps: >= 0; whole where ``learning_rate * l > 1``.

    Returns:
        ``[n]``, in units of the eigenvalues; inf for 0 steps, negative where an odd number of steps overshoots.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), (7.41)-(7.45).

    >>> equivalent_strength(jnp.array([0.0, 1.0]), 0.5, 2)
    Array([1.        , 0.33333334], dtype=float32)
    """
    eigenvalues, rate, steps = _descent(eigenvalues, learning_rate, steps)
    c = rate * eigenvalues
    rest = jnp.log1p(-jnp.where(c < 1, c, 0))
    # with l = (1 - exp(rest)) / rate, every factor is smooth and of order 1 at l = 0, and none overflows
    within = jnp.exp(steps * rest) * exprel(rest) / (exprel(steps * rest) * rate * steps)
    q = _overshoot(jnp.maximum(c, 1), steps)
    return jnp.where(c < 1, within, eigenvalues * q / (1 - q))


def equivalent_steps(eigenvalues: jax.Array, learning_rate: Number, strength: Number) -> jax.Array:
    """The steps of gradient descent, for each eigenvalue, that shrink as much as an L2 penalty.

    ``log(1 + l / strength) / -log(1 - learning_rate l)``, which is ``1 / (learning_rate strength)`` at l = 0: the
    inverse of ``equivalent_strength``.

    Args:
        eigenvalues: of the Hessian, >= 0, ``[n]``.
        learning_rate: > 0 and < 1 / max(l): beyond, no number of steps need shrink as the penalty does.
        strength: >= 0, in units of the eigenvalues; a number or ``[n]``.

    Returns:
        ``[n]``, not rounded to whole steps; inf for a strength of 0, NaN where ``learning_rate * l >= 1``.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), (7.42).

    >>> equivalent_steps(jnp.array([0.0, 1.0]), 0.5, 1.0)
    Array([2., 1.], dtype=float32)
    """
    eigenvalues = checked_eigenvalues(eigenvalues)
    rate = checked_rate(learning_rate, eigenvalues, 1)
    check_range("strength", strength, "[0, inf]")
    strength = like(strength, eigenvalues)
    c = rate * eigenvalues
    rest = jnp.log1p(-jnp.where(c < 1, c, 0))
    positive = strength > 0
    odds = jnp.log1p(eigenvalues / jnp.where(positive, strength, 1))
    steps = exprel(rest) / (exprel(odds) * rate * jnp.where(positive, strength, 1))
    return jnp.where(c < 1, jnp.where(positive, steps, jnp.inf), jnp.nan)


def effective_parameters(eigenvalues: jax.Array, strength: Number) -> jax.Array:
    """``sum_i l_i / (l_i + strength)``: effective number of parameters, or ridge's degrees of freedom.

    Args:
        eigenvalues: of the Hessian, >= 0, ``[n]``.
        strength: >= 0, in units of the eigenvalues; a number or ``[n]``.

    Returns:
        A scalar in [0, n].

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Bishop (2006), (3.91); Hastie et al. (2009), (3.50).

    >>> effective_parameters(jnp.array([0.0, 1.0, 3.0]), 1.0)
    Array(1.25, dtype=float32)
    """
    return jnp.sum(l2_shrinkage(eigenvalues, strength))


def shrinkage_risk(
    shrinkage: jax.Array, eigenvalues: jax.Array, coefficients: jax.Array, noise: Number, examples: Number
) -> jax.Array:
    """``sum_i (1 - s_i)**2 c_i**2 + noise / examples * s_i**2 / l_i``: expected ``|w - w*|**2`` of least squares.

    The first term is squared bias, the second variance; both for a fixed design whose ``X'X / examples`` has the
    eigenvalues l, targets with independent noise, and any estimator that shrinks the least-squares solution by s.

    Args:
        shrinkage: s, ``[n]``; must be 0 where the eigenvalue is 0.
        eigenvalues: l >= 0, ``[n]``.
        coefficients: c, the true w* along the eigenvectors, ``[n]``.
        noise: variance of a target, >= 0.
        examples: > 0.

    Returns:
        A scalar.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Ali, Kolter & Tibshirani (2019), lemmas 4 and 5.

    >>> shrinkage_risk(jnp.array([0.5]), jnp.array([2.0]), jnp.array([1.0]), noise=8.0, examples=10)
    Array(0.35, dtype=float32)
    """
    check_range("noise", noise, "[0, inf)")
    check_range("examples", examples, "(0, inf)")
    eigenvalues = checked_eigenvalues(eigenvalues)
    shrinkage, coefficients = like(shrinkage, eigenvalues), like(coefficients, eigenvalues)
    variance = like(noise, eigenvalues) / like(examples, eigenvalues)
    return jnp.sum(
        jnp.square((1 - shrinkage) * coefficients) + variance * safe_divide(jnp.square(shrinkage), eigenvalues)
    )


def _descent(eigenvalues, learning_rate, steps):
    eigenvalues = checked_eigenvalues(eigenvalues)
    rate = checked_rate(learning_rate, eigenvalues, 2)
    check_range("steps", steps, "[0, inf)")
    return eigenvalues, rate, like(steps, eigenvalues)


def _overshoot(c: jax.Array, steps: jax.Array) -> jax.Array:
    """``(1 - c)**steps`` for c >= 1; NaN where steps are not whole."""
    size = 1 - one_minus_complement_power(jnp.clip(2 - c, 0, 1), steps)
    whole = jnp.floor(steps) == steps
    odd = jnp.mod(steps, 2) == 1
    return jnp.where(whole, jnp.where(odd, -size, size), jnp.nan)
