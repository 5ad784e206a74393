"""Penalties that are a sum over single parameters: each proximal operator acts entry by entry.

Not for penalties that couple entries (groups, spectra, ties).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt import tree
from regopt.numerics import check_range, like
from regopt.types import Mask, NumberTree, Penalty


def l2(strength: NumberTree = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength / 2 * sum_i w_i**2``; its gradient is ``strength * w``, its prox ``w / (1 + step * strength)``.

    The squared norm with its half, as in the book; deck 000's ``lambda * |w|^2`` is ``strength = 2 * lambda``.

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
    return _separable(
        strength,
        mask,
        lambda w, strength: strength * (w * w) / 2,
        lambda w, reach: w / (1 + reach),
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
    return _separable(
        strength,
        mask,
        lambda w, strength: strength * jnp.where(w == 0, 0, jnp.abs(w)),  # the subgradient 0 at 0
        lambda w, reach: w - jnp.clip(w, -reach, reach),
    )


def _separable(
    strength: NumberTree,
    mask: Mask,
    value_at: Callable[[jax.Array, jax.Array], jax.Array],
    prox_at: Callable[[jax.Array, jax.Array], jax.Array],
) -> Penalty:
    """The penalty from its value at an entry and its prox at an entry for ``reach = strength * step``."""
    check_range("strength", strength, "[0, inf)")

    def value(params):
        def at_leaf(w, chosen, number):
            return tree.lift_wide(lambda w: value_at(w, like(number, w)), w) if chosen else jnp.zeros((), jnp.float32)

        chosen, numbers = tree.resolve_mask(mask, params), tree.by_leaf(strength, params)
        return tree.total(jax.tree.map(at_leaf, params, chosen, numbers))

    def prox(params, step):
        def at_leaf(w, chosen, number, step):
            return tree.lift(lambda w: prox_at(w, like(number, w) * like(step, w)), w) if chosen else w

        chosen, numbers, steps = tree.resolve_mask(mask, params), *(tree.by_leaf(x, params) for x in (strength, step))
        return jax.tree.map(at_leaf, params, chosen, numbers, steps)

    return Penalty(value, prox, lambda params: tree.resolve_mask(mask, params))
