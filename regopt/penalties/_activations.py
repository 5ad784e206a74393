"""Penalties on what a network computes instead of on its parameters: sparse representations.

Functions of activations, to be added to the loss. Each leaf is ``[examples, ...]``; each penalty is a sum over units.
"""

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import check_range, widen
from regopt._core.types import Number, Tree
from regopt.penalties._leafwise import magnitude


def activity_l1(activations: Tree, strength: Number = 1.0) -> jax.Array:
    """``strength * sum_units mean_examples |h|``: many activations become small or, behind a ReLU, exactly 0.

    Args:
        activations: h, an array ``[examples, ...]`` or a tree of them, one for each layer, say.
        strength: >= 0, in loss units per unit of activation; may be traced.

    Returns:
        A scalar of at least float32, beside a loss that is a mean over examples.

    Raises:
        ValueError: a concrete strength is negative or NaN; activations without an axis of examples.

    References: Goodfellow et al. (2016), (7.48).

    >>> activity_l1(jnp.array([[1.0, -2.0], [3.0, 0.0]]), 0.5)
    Array(1.5, dtype=float32)
    """
    check_range("strength", strength, "[0, inf)")
    return trees.total(
        trees.lift_wide(lambda h, strength: strength * _mean(magnitude(h)), activations, numbers=(strength,))
    )


def kl_sparsity(activations: Tree, target: Number = 0.05, strength: Number = 1.0, *, eps: Number = 1e-4) -> jax.Array:
    """``strength * sum_units KL(target || r)``, r a unit's mean activation: each unit on for a part of the examples.

    ``KL = target log(target / r) + (1 - target) log((1 - target) / (1 - r))`` for r in [eps, 1 - eps]; beyond, where
    it goes to infinity, it goes on along its tangents, so that a unit that is never on still has a finite slope.

    Args:
        activations: in [0, 1], of a sigmoid (or ``(1 + tanh) / 2``), ``[examples, ...]``, or a tree of them.
        target: in (0, 1), dimensionless; may be traced.
        strength: >= 0, in loss units; may be traced.
        eps: in (0, 0.5), dimensionless, where the tangents begin; may be traced.

    Returns:
        A scalar of at least float32.

    Raises:
        ValueError: a concrete number lies outside its range; activations without an axis of examples.

    References: Ng (2011), lecture notes on sparse autoencoders; Lee, Ekanadham & Ng (2008) for its square.

    >>> kl_sparsity(jnp.array([[0.75, 0.0], [0.25, 1.0]]), target=0.5)
    Array(0., dtype=float32)
    >>> print(f"{kl_sparsity(jnp.array([[0.5]]), target=0.25, strength=2.0):.3f}")
    0.262
    """
    check_range("target", target, "(0, 1)")
    check_range("strength", strength, "[0, inf)")
    check_range("eps", eps, "(0, 0.5)")

    def at_leaf(h, target, strength, eps):
        mean = _mean(h)
        inside = jnp.clip(mean, eps, 1 - eps)
        at = jax.lax.stop_gradient(inside)
        divergence = target * jnp.log(target / inside) + (1 - target) * jnp.log((1 - target) / (1 - inside))
        slope = (1 - target) / (1 - at) - target / at
        return strength * (divergence + slope * (mean - inside))

    return trees.total(trees.lift_wide(at_leaf, activations, numbers=(target, strength, eps)))


def _mean(h: jax.Array) -> jax.Array:
    """Over examples."""
    if not h.ndim:
        raise ValueError("activations must be of shape [examples, ...], got a single number")
    return jnp.mean(widen(h)[0], axis=0)
