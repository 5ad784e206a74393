"""Convex penalties that are a sum over single parameters: each proximal operator acts entry by entry.

Not for penalties that couple entries (``grouped.py``, ``coupling.py``), nor for constraints (``indicators.py``).
"""

import jax.numpy as jnp

from regopt._core.numerics import check_range, safe_divide
from regopt._core.types import Mask, NumberTree, Penalty
from regopt.penalties._leafwise import ENTRIES, SQUARE, largest, leafwise, magnitude, soft_threshold
from regopt.projections import projection_l1_ball, projection_l2_ball


def l2(strength: NumberTree = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength / 2 * sum_i w_i**2``; its gradient is ``strength * w``, its prox ``w / (1 + step * strength)``.

    The squared norm with its half; ``lambda * |w|^2`` is ``strength = 2 * lambda``: see ``l2_strength``.

    Args:
        strength: >= 0, in loss units per squared parameter unit; a number or a prefix tree of numbers, one
            for a layer, say; may be traced.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete strength is negative or NaN.

    References: Goodfellow et al. (2016), equation 7.2; Parikh & Boyd (2014), section 6.1.1.

    >>> penalty = l2(0.5)
    >>> penalty.value(jnp.array([2.0, 4.0])), penalty.prox(jnp.array([2.0, 4.0]), 2.0)
    (Array(5., dtype=float32), Array([1., 2.], dtype=float32))
    """
    check_range("strength", strength, "[0, inf)")
    return leafwise(
        (strength,),
        mask,
        lambda w, strength: strength * (w * w) / 2,
        lambda w, step, strength: w * (1 / (1 + step * strength)),  # XLA computes a quotient apart from what uses it
        ball=projection_l2_ball,
        stage=SQUARE,
    )


def l1(strength: NumberTree = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength * sum_i |w_i|``; its prox is soft thresholding, ``sign(w) max(|w| - step * strength, 0)``.

    The subgradient at 0 is 0, and the prox gives exact zeros.

    Args:
        strength: >= 0, in loss units per parameter unit; a number or a prefix tree of numbers; may be traced.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete strength is negative or NaN.

    References: Goodfellow et al. (2016), equations 7.18 and 7.23; Parikh & Boyd (2014), section 6.5.2.

    >>> l1(0.5).prox(jnp.array([2.0, -0.25]), 1.0)
    Array([1.5, 0. ], dtype=float32)
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
    )


def elastic_net(strength: NumberTree = 1.0, l1_ratio: NumberTree = 0.5, *, mask: Mask = "weights") -> Penalty:
    """``strength * (l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|^2)``, on scikit-learn's and glmnet's scale.

    Its prox is soft thresholding, then shrinkage:
    ``soft(w, step strength l1_ratio) / (1 + step strength (1 - l1_ratio))``. Other mixes in print, without the
    half or with the two parts exchanged, are translated by
    ``elastic_net_numbers``.

    Args:
        strength: >= 0, a number or a prefix tree of numbers; may be traced.
        l1_ratio: in [0, 1], dimensionless: 1 is ``l1``, 0 is ``l2``; a number or a prefix tree; may be traced.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Zou & Hastie (2005), (3) and (6); Friedman, Hastie & Tibshirani (2010), (2) and (5).

    >>> elastic_net(0.5, l1_ratio=0.5).prox(jnp.array([1.5, -0.25]), 1.0)
    Array([1., 0.], dtype=float32)
    """
    check_range("strength", strength, "[0, inf)")
    check_range("l1_ratio", l1_ratio, "[0, 1]")

    def value_at(w, strength, l1_ratio):
        return strength * (l1_ratio * magnitude(w) + (1 - l1_ratio) * (w * w) / 2)

    def prox_at(w, step, strength, l1_ratio):
        return soft_threshold(w, step * (strength * l1_ratio)) / (1 + step * (strength * (1 - l1_ratio)))

    def strength_max_at(g, l1_ratio):
        never = (l1_ratio == 0) & (largest(g) > 0)
        return jnp.where(never, jnp.inf, safe_divide(largest(g), l1_ratio))

    return leafwise((strength, l1_ratio), mask, value_at, prox_at, strength_max_at=strength_max_at)


def huber(strength: NumberTree = 1.0, delta: NumberTree = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength * sum_i h(w_i)``, ``h = w**2 / 2`` up to ``|w| = delta`` and ``delta (|w| - delta / 2)`` beyond.

    Smooth everywhere; large weights are pulled with the constant force ``strength * delta``. Its prox is
    ``w - reach clip(w / (1 + reach), -delta, delta)``, ``reach = step * strength``; no exact zeros.

    Args:
        strength: >= 0, in loss units per squared parameter unit; a number or a prefix tree; may be traced.
        delta: > 0, in parameter units; a number or a prefix tree of numbers; may be traced.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Huber (1964); Parikh & Boyd (2014), section 7.1.2 for its relation to ``l1``.

    >>> penalty = huber(0.5, delta=1.0)
    >>> penalty.value(jnp.array([0.5, -3.0])), penalty.prox(jnp.array([1.5, -3.0]), 1.0)
    (Array(1.3125, dtype=float32), Array([ 1. , -2.5], dtype=float32))
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
