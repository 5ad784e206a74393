"""Which L2 strength an early stop amounts to in a model of many curvatures, and how far the two stay apart.

The displacement d from the starting point to the minimum is known through its spectral measure under the
(Gauss-Newton) Hessian: eigenvalues l and weights w with ``d' f(H) d = sum(w f(l))``, from
``regopt.curvature.spectral_measure``. Gradient descent has gone ``1 - (1 - learning_rate l)**steps`` of the way along
an eigendirection, the minimum of loss + ``strength / 2 * |params - start|**2`` lies at ``l / (l + strength)`` of it.
For a linear model the predictions are exact, for a network they are those of its linearisation.
"""

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, like, safe_divide, safe_sqrt
from regopt._core.types import Number
from regopt.analysis.quadratic import early_stopping_shrinkage, equivalent_strength, l2_shrinkage
from regopt.curvature import SpectralMeasure


def function_gap(measure: SpectralMeasure, learning_rate: Number, steps: Number, strength: Number) -> jax.Array:
    """Distance of the stopped from the penalised model, relative to how far the stopped one has moved.

    ``sqrt(sum(w l (s - p)**2) / sum(w l s**2))`` with the shrinkages s of the stop and p of the penalty: root mean
    squares of outputs over the training inputs, since ``v' H v`` is the mean squared output along v.

    Args:
        measure: of the displacement from start to minimum.
        learning_rate: > 0, at most 2 / max(l).
        steps: >= 0.
        strength: >= 0, in units of the eigenvalues.

    Returns:
        A scalar, >= 0, dimensionless.

    Raises:
        ValueError: a concrete number lies outside its range.
    """
    values = jnp.maximum(measure.eigenvalues, 0)  # rounding may leave a zero of a semidefinite matrix below 0
    stopped = early_stopping_shrinkage(values, learning_rate, steps)
    energy = measure.weights * values
    apart = jnp.sum(energy * jnp.square(stopped - l2_shrinkage(values, strength)))
    return safe_sqrt(safe_divide(apart, jnp.sum(energy * jnp.square(stopped))))


def nearest_strength(measure: SpectralMeasure, learning_rate: Number, steps: Number) -> jax.Array:
    """The L2 strength with the smallest ``function_gap``: what an early stop amounts to, in one number.

    It lies between the equivalent strengths of the single eigendirections, and tends to ``1 / (learning_rate steps)``
    while ``learning_rate * l * steps`` is small where the displacement lies.

    Args:
        measure: of the displacement from start to minimum.
        learning_rate: > 0, at most 1 / max(l).
        steps: > 0.

    Returns:
        A scalar, in units of the eigenvalues; to about 1e-3 relative in float32, by a search over a grid of 200
        strengths and a golden section around its best.

    Raises:
        ValueError: a concrete number lies outside its range.
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
