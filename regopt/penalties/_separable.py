"""Convex penalties that are a sum over single parameters, so that their proximal operators act entry by entry.

Penalties that couple entries are in ``_grouped.py`` and ``_coupling.py``, constraints in ``_indicators.py``.
"""

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, safe_divide
from regopt._core.types import Mask, NumberOrSchedule, Penalty
from regopt.penalties._leafwise import ENTRIES, SQUARE, largest, leafwise, magnitude, soft_threshold
from regopt.penalties._scheduled import takes_schedules
from regopt.projections import projection_l1_ball, projection_l2_ball


@takes_schedules
def l2(strength: NumberOrSchedule = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength / 2 * sum_i w_i**2``; its gradient is ``strength * w``, its prox ``w / (1 + step * strength)``.

    The squared norm has a factor 1/2, so ``lambda * |w|^2`` corresponds to ``strength = 2 * lambda``. The numbers of
    other libraries are converted by ``l2_strength``.

    Args:
        strength: factor of the penalty, >= 0, in loss units per squared parameter unit; a number or a prefix tree of
            numbers, for example one for each layer; may be traced or scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete strength is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l2
        >>> penalty = l2(0.5)
        >>> penalty.value(jnp.array([2.0, 4.0])), penalty.prox(jnp.array([2.0, 4.0]), 2.0)
        (Array(5., dtype=float32), Array([1., 2.], dtype=float32))

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation 7.2.

        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.1.1.
    """
    check_range("strength", strength, "[0, inf)")
    return leafwise(
        (strength,),
        mask,
        lambda w, strength: strength * (w * w) / 2,
        lambda w, step, strength: w * (1 / (1 + step * strength)),  # XLA computes a quotient apart from what uses it
        ball=projection_l2_ball,
        stage=SQUARE,
        linear_minimum_at=lambda g, _, strength: -_conjugate_of_square(g, strength),
    )


@takes_schedules
def l1(strength: NumberOrSchedule = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength * sum_i |w_i|``; its prox is soft thresholding, ``sign(w) max(|w| - step * strength, 0)``.

    The subgradient at 0 is 0, and the proximal operator gives exact zeros.

    Args:
        strength: factor of the penalty, >= 0, in loss units per parameter unit; a number or a prefix tree of numbers;
            may be traced or scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete strength is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l1
        >>> l1(0.5).prox(jnp.array([2.0, -0.25]), 1.0)
        Array([1.5, 0. ], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations 7.18 and 7.23.

        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.5.2.
    """
    check_range("strength", strength, "[0, inf)")
    return leafwise(
        (strength,),
        mask,
        lambda w, strength: strength * magnitude(w),
        lambda w, step, strength: soft_threshold(w, step * strength),
        strength_max_at=largest,
        ball=projection_l1_ball,
        stage=ENTRIES,
        norm=True,
    )


@takes_schedules
def elastic_net(
    strength: NumberOrSchedule = 1.0, l1_ratio: NumberOrSchedule = 0.5, *, mask: Mask = "weights"
) -> Penalty:
    """``strength * (l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|^2)``, on scikit-learn's and glmnet's scale.

    Its proximal operator is soft thresholding followed by shrinkage,
    ``soft(w, step strength l1_ratio) / (1 + step strength (1 - l1_ratio))``. Other parametrisations, without the factor
    1/2 or with the two parts exchanged, are converted by ``elastic_net_numbers``.

    Args:
        strength: factor of the penalty, >= 0; a number or a prefix tree of numbers; may be traced or scheduled.
        l1_ratio: share of the L1 norm, in [0, 1], dimensionless; 1 is ``l1`` and 0 is ``l2``; a number or a prefix tree
            of numbers; may be traced or scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import elastic_net
        >>> elastic_net(0.5, l1_ratio=0.5).prox(jnp.array([1.5, -0.25]), 1.0)
        Array([1., 0.], dtype=float32)

    References:
        Zou, H., & Hastie, T. (2005). Regularization and variable selection via the elastic net. Journal of the Royal
        Statistical Society B, 67(2), 301-320. Equations (3) and (6).

        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22. Equations (2) and (5).
    """
    check_range("strength", strength, "[0, inf)")
    check_range("l1_ratio", l1_ratio, "[0, 1]")

    def value_at(w, strength, l1_ratio):
        return strength * (l1_ratio * magnitude(w) + (1 - l1_ratio) * (w * w) / 2)

    def prox_at(w, step, strength, l1_ratio):
        return soft_threshold(w, step * (strength * l1_ratio)) / (1 + step * (strength * (1 - l1_ratio)))

    def strength_max_at(g, l1_ratio):
        return largest(jnp.where((l1_ratio == 0) & (g != 0), jnp.inf, safe_divide(g, l1_ratio)))

    def linear_minimum_at(g, level, strength, l1_ratio):
        reach = strength * l1_ratio
        excess = soft_threshold(g, reach + jnp.zeros_like(g))
        # the first bound is exact, the second one comes from the l1 norm alone and is finite without a square
        exact = -_conjugate_of_square(excess, strength * (1 - l1_ratio))
        relative = jnp.max(jnp.where(excess == 0, 0, jnp.abs(excess) / jnp.where(reach > 0, reach, 1)), initial=0)
        by_norm = jnp.where(relative > 0, jnp.where(jnp.all(reach > 0), -relative * level, -jnp.inf), 0)
        return jnp.maximum(exact, by_norm)

    return leafwise(
        (strength, l1_ratio),
        mask,
        value_at,
        prox_at,
        strength_max_at=strength_max_at,
        linear_minimum_at=linear_minimum_at,
    )


def _conjugate_of_square(g: jax.Array, strength: jax.Array) -> jax.Array:
    """``sum_i g_i**2 / (2 strength)``; infinite where the strength is 0 and an entry is not, shape ()."""
    parts = jnp.where(strength > 0, g * g / jnp.where(strength > 0, 2 * strength, 1), jnp.where(g == 0, 0, jnp.inf))
    return jnp.sum(parts)


@takes_schedules
def huber(strength: NumberOrSchedule = 1.0, delta: NumberOrSchedule = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength * sum_i h(w_i)``, ``h = w**2 / 2`` up to ``|w| = delta`` and ``delta (|w| - delta / 2)`` beyond.

    The penalty is smooth, and the gradient of large weights has the constant size ``strength * delta``. Its proximal
    operator is ``w - reach clip(w / (1 + reach), -delta, delta)`` with ``reach = step * strength``, which gives no
    exact zeros.

    Args:
        strength: factor of the penalty, >= 0, in loss units per squared parameter unit; a number or a prefix tree of
            numbers; may be traced or scheduled.
        delta: end of the quadratic part, > 0, in parameter units; a number or a prefix tree of numbers; may be traced
            or scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import huber
        >>> penalty = huber(0.5, delta=1.0)
        >>> penalty.value(jnp.array([0.5, -3.0])), penalty.prox(jnp.array([1.5, -3.0]), 1.0)
        (Array(1.3125, dtype=float32), Array([ 1. , -2.5], dtype=float32))

    References:
        Huber, P. J. (1964). Robust estimation of a location parameter. Annals of Mathematical Statistics, 35(1),
        73-101.

        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 3.1, for the Moreau envelope; that of ``l1`` is a Huber penalty.
    """
    check_range("strength", strength, "[0, inf)")
    check_range("delta", delta, "(0, inf)")

    def value_at(w, strength, delta):
        near = jnp.clip(w, -delta, delta)
        return strength * (near * near / 2 + delta * (magnitude(w) - magnitude(near)))

    def prox_at(w, step, strength, delta):
        reach = step * strength
        return w - reach * jnp.clip(w / (1 + reach), -delta, delta)

    return leafwise((strength, delta), mask, value_at, prox_at)
