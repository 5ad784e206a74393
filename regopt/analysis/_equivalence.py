"""The L2 strength that is equivalent to early stopping in a model with many curvatures, and the remaining difference.

The displacement d from the starting point to the minimum is given by its spectral measure under the (Gauss-Newton)
Hessian: eigenvalues l and weights w with ``d' f(H) d = sum(w f(l))``, from ``regopt.curvature.spectral_measure``. Along
an eigendirection, gradient descent has covered a fraction ``1 - (1 - learning_rate l)**steps`` of the displacement, and
the minimum of ``loss + strength / 2 * |params - start|**2`` lies at the fraction ``l / (l + strength)``. The results
are exact for a linear model; for a network they are those of its linearisation.
"""

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, like, safe_divide, safe_sqrt
from regopt._core.types import Number
from regopt.analysis.quadratic import early_stopping_shrinkage, equivalent_strength, l2_shrinkage
from regopt.curvature import SpectralMeasure


def function_gap(measure: SpectralMeasure, learning_rate: Number, steps: Number, strength: Number) -> jax.Array:
    """``sqrt(sum(w l (s - p)**2) / sum(w l s**2))``: the relative distance of a stopped from a penalised model.

    Here s and p are the shrinkages of early stopping and of the penalty. Numerator and denominator are root mean
    squares of outputs over the training inputs, because ``v' H v`` is the mean squared output along v.

    Args:
        measure: spectral measure of the displacement from the start to the minimum.
        learning_rate: learning rate, in (0, 2 / max(l)], in units of 1 / eigenvalue; may be traced.
        steps: number of steps, >= 0; may be traced.
        strength: strength of the L2 penalty, >= 0, in units of the eigenvalues; may be traced.

    Returns:
        A scalar, >= 0, dimensionless.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.curvature import SpectralMeasure
        >>> from regopt.analysis import function_gap
        >>> measure = SpectralMeasure(jnp.array([0.01, 0.02]), jnp.array([1.0, 1.0]))
        >>> gap = function_gap(measure, learning_rate=0.1, steps=10, strength=1.0)  # strength = 1 / (0.1 * 10)
        >>> bool(gap < 0.02)
        True

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (7.40)-(7.44).
    """
    values = jnp.maximum(measure.eigenvalues, 0)  # rounding may leave a zero of a semidefinite matrix below 0
    stopped = early_stopping_shrinkage(values, learning_rate, steps)
    energy = measure.weights * values
    apart = jnp.sum(energy * jnp.square(stopped - l2_shrinkage(values, strength)))
    return safe_sqrt(safe_divide(apart, jnp.sum(energy * jnp.square(stopped))))


def nearest_strength(measure: SpectralMeasure, learning_rate: Number, steps: Number) -> jax.Array:
    """``argmin_strength function_gap``: the L2 strength that is closest to early stopping.

    It lies between the equivalent strengths of the eigendirections. It tends to ``1 / (learning_rate steps)`` where
    ``learning_rate * l * steps`` is small for the eigenvalues l of the displacement.

    Args:
        measure: spectral measure of the displacement from the start to the minimum.
        learning_rate: learning rate, in (0, 1 / max(l)], in units of 1 / eigenvalue; may be traced.
        steps: number of steps, > 0; may be traced.

    Returns:
        A scalar, in units of the eigenvalues, found by a grid search over 200 strengths and a golden-section search.
        Its relative error is about 1e-3 in float32.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.curvature import SpectralMeasure
        >>> from regopt.analysis import nearest_strength
        >>> measure = SpectralMeasure(jnp.array([0.01, 0.02]), jnp.array([1.0, 1.0]))
        >>> round(float(nearest_strength(measure, learning_rate=0.1, steps=10)), 2)
        0.99

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (7.42)-(7.45).
    """
    check_range("steps", steps, "(0, inf)")
    values = jnp.maximum(measure.eigenvalues, 0)
    each = equivalent_strength(values, learning_rate, steps)
    highest = 1 / (like(learning_rate, values) * like(steps, values))
    lowest = jnp.clip(jnp.min(each), 1e-8 * highest, highest)

    def gap(log_strength):
        return function_gap(measure, learning_rate, steps, jnp.exp(log_strength))

    grid = jnp.linspace(jnp.log(lowest), jnp.log(highest), 200)
    best = jnp.argmin(jax.vmap(gap)(grid))
    ends = grid[jnp.maximum(best - 1, 0)], grid[jnp.minimum(best + 1, 199)]
    ratio = (5**0.5 - 1) / 2

    def narrow(_, ends):
        low, high = ends
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        go_left = gap(left) < gap(right)
        return jnp.where(go_left, low, left), jnp.where(go_left, right, high)

    low, high = jax.lax.fori_loop(0, 24, narrow, ends)
    return jnp.exp((low + high) / 2)
