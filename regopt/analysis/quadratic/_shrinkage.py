"""The shrinkage of each eigendirection by an L2 penalty and by early stopping, and the equivalence of both."""

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, exprel, like, one_minus_complement_power, safe_divide
from regopt._core.types import Number
from regopt.analysis.quadratic._checks import checked_eigenvalues, checked_rate


def l2_shrinkage(eigenvalues: jax.Array, strength: Number) -> jax.Array:
    """``l / (l + strength)``: the fraction of w* that remains under an L2 penalty, in each eigendirection.

    Args:
        eigenvalues: eigenvalues l of the Hessian, >= 0, ``[n]``.
        strength: factor of ``strength / 2 * |w|**2``, in [0, inf], in units of the eigenvalues; a number or ``[n]``;
            may be traced.

    Returns:
        The shrinkage, ``[n]``, in [0, 1]. It is 0 where eigenvalue and strength are both 0, the limit of a vanishing
        penalty.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import l2_shrinkage
        >>> l2_shrinkage(jnp.array([0.0, 1.0, 3.0]), 1.0)
        Array([0.  , 0.5 , 0.75], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (7.12)-(7.13).
    """
    eigenvalues = checked_eigenvalues(eigenvalues)
    check_range("strength", strength, "[0, inf]")
    return safe_divide(eigenvalues, eigenvalues + like(strength, eigenvalues))


def early_stopping_shrinkage(eigenvalues: jax.Array, learning_rate: Number, steps: Number) -> jax.Array:
    """``1 - (1 - learning_rate l)**steps``: the fraction of the way to w* after a number of steps.

    Args:
        eigenvalues: eigenvalues l of the Hessian, >= 0, ``[n]``.
        learning_rate: learning rate, in (0, 2 / max(l)], beyond which gradient descent diverges; may be traced.
        steps: number of steps, >= 0; may be traced. Where ``learning_rate * l > 1`` it must be whole, and other values
            give NaN.

    Returns:
        The shrinkage, ``[n]``. It lies in [0, 1] where ``learning_rate * l <= 1``; otherwise it oscillates around 1.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import early_stopping_shrinkage
        >>> early_stopping_shrinkage(jnp.array([0.0, 1.0, 2.0]), 0.5, 2)
        Array([0.  , 0.75, 1.  ], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation (7.40).
    """
    eigenvalues, rate, steps = _descent(eigenvalues, learning_rate, steps)
    c = rate * eigenvalues
    within = one_minus_complement_power(jnp.minimum(c, 1), steps)
    return jnp.where(c <= 1, within, 1 - _overshoot(jnp.maximum(c, 1), steps))


def gradient_flow_shrinkage(eigenvalues: jax.Array, time: Number) -> jax.Array:
    """``1 - exp(-l time)``: the limit of gradient descent with ``steps * learning_rate = time``.

    Args:
        eigenvalues: eigenvalues l of the Hessian, >= 0, ``[n]``.
        time: time of the gradient flow, in [0, inf], in units of 1 / eigenvalue; may be traced.

    Returns:
        The shrinkage, ``[n]``, in [0, 1].

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import gradient_flow_shrinkage
        >>> gradient_flow_shrinkage(jnp.array([0.0, 1.0]), 1.0)
        Array([0.        , 0.63212055], dtype=float32)

    References:
        Ali, A., Kolter, J. Z., & Tibshirani, R. J. (2019). A continuous-time view of early stopping for least squares
        regression. AISTATS. Equation (7).
    """
    eigenvalues = checked_eigenvalues(eigenvalues)
    check_range("time", time, "[0, inf]")
    return -jnp.expm1(-eigenvalues * like(time, eigenvalues))


def equivalent_strength(eigenvalues: jax.Array, learning_rate: Number, steps: Number) -> jax.Array:
    """``l q / (1 - q)`` with ``q = (1 - learning_rate l)**steps``: the L2 strength with the same shrinkage.

    An L2 penalty of this strength shrinks as much as ``steps`` steps of gradient descent. At l = 0 the strength is
    ``1 / (learning_rate steps)``, and near 0 it is
    ``1 / (learning_rate steps) - l (steps + 1) / (2 steps) + O(l**2)``. One strength is therefore equivalent for all
    directions only if ``learning_rate * l * steps`` is small.

    Args:
        eigenvalues: eigenvalues l of the Hessian, >= 0, ``[n]``.
        learning_rate: learning rate, in (0, 2 / max(l)]; may be traced.
        steps: number of steps, >= 0; may be traced. It must be whole where ``learning_rate * l > 1``.

    Returns:
        The strengths, ``[n]``, in units of the eigenvalues: inf for 0 steps, and negative where an odd number of steps
        overshoots.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import equivalent_strength
        >>> equivalent_strength(jnp.array([0.0, 1.0]), 0.5, 2)
        Array([1.        , 0.33333334], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (7.41)-(7.45).
    """
    eigenvalues, rate, steps = _descent(eigenvalues, learning_rate, steps)
    c = rate * eigenvalues
    rest = jnp.log1p(-jnp.where(c < 1, c, 0))
    # with l = (1 - exp(rest)) / rate, all factors are smooth and of order 1 at l = 0, and none of them overflows
    within = jnp.exp(steps * rest) * exprel(rest) / (exprel(steps * rest) * rate * steps)
    q = _overshoot(jnp.maximum(c, 1), steps)
    return jnp.where(c < 1, within, eigenvalues * q / (1 - q))


def equivalent_steps(eigenvalues: jax.Array, learning_rate: Number, strength: Number) -> jax.Array:
    """``log(1 + l / strength) / -log(1 - learning_rate l)``: the steps with the shrinkage of an L2 penalty.

    This many steps of gradient descent shrink as much as an L2 penalty of the given strength. At l = 0 their number is
    ``1 / (learning_rate strength)``. This function is the inverse of ``equivalent_strength``.

    Args:
        eigenvalues: eigenvalues l of the Hessian, >= 0, ``[n]``.
        learning_rate: learning rate, in (0, 1 / max(l)); may be traced. For larger rates there may be no equivalent
            number of steps.
        strength: strength of the L2 penalty, in [0, inf], in units of the eigenvalues; a number or ``[n]``; may be
            traced.

    Returns:
        The numbers of steps, ``[n]``, not rounded: inf for a strength of 0, and NaN where ``learning_rate * l >= 1``.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import equivalent_steps
        >>> equivalent_steps(jnp.array([0.0, 1.0]), 0.5, 1.0)
        Array([2., 1.], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation (7.42).
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
    """``sum_i l_i / (l_i + strength)``: the effective number of parameters, or degrees of freedom of ridge regression.

    Args:
        eigenvalues: eigenvalues l of the Hessian, >= 0, ``[n]``.
        strength: strength of the L2 penalty, in [0, inf], in units of the eigenvalues; a number or ``[n]``; may be
            traced.

    Returns:
        A scalar in [0, n].

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import effective_parameters
        >>> effective_parameters(jnp.array([0.0, 1.0, 3.0]), 1.0)
        Array(1.25, dtype=float32)

    References:
        Bishop, C. M. (2006). Pattern Recognition and Machine Learning. Springer. Equation (3.91).

        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Equation (3.50).
    """
    return jnp.sum(l2_shrinkage(eigenvalues, strength))


def shrinkage_risk(
    shrinkage: jax.Array, eigenvalues: jax.Array, coefficients: jax.Array, noise: Number, examples: Number
) -> jax.Array:
    """``sum_i (1 - s_i)**2 c_i**2 + noise / examples * s_i**2 / l_i``: expected ``|w - w*|**2`` of least squares.

    The first term is the squared bias and the second the variance, for a fixed design whose ``X'X / examples`` has the
    eigenvalues l, independent noise on the targets, and an estimator that shrinks the least-squares solution by s.

    Args:
        shrinkage: shrinkage s, ``[n]``; must be 0 where the eigenvalue is 0.
        eigenvalues: eigenvalues l, >= 0, ``[n]``.
        coefficients: components c of the true w* along the eigenvectors, ``[n]``.
        noise: variance of a target, >= 0; may be traced.
        examples: number of examples, > 0; may be traced.

    Returns:
        A scalar.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import shrinkage_risk
        >>> shrinkage_risk(jnp.array([0.5]), jnp.array([2.0]), jnp.array([1.0]), noise=8.0, examples=10)
        Array(0.35, dtype=float32)

    References:
        Ali, A., Kolter, J. Z., & Tibshirani, R. J. (2019). A continuous-time view of early stopping for least squares
        regression. AISTATS. Lemmas 4 and 5.
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
