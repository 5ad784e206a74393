"""Penalties on what a network computes instead of on its parameters: sparse representations.

These are functions of activations whose value is added to the loss. Each leaf of the activations has the shape
``[examples, ...]``, and each penalty is a sum over units of a function of the mean over examples.
"""

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import check_number, widen
from regopt._core.types import Number, Tree
from regopt.penalties._leafwise import magnitude


def activity_l1(activations: Tree, strength: Number = 1.0) -> jax.Array:
    """``strength * sum_units mean_examples |h|``: an L1 penalty on activations.

    It makes many activations small, and exactly 0 after a ReLU.

    Args:
        activations: h, an array ``[examples, ...]`` or a tree of such arrays, for example one for each layer.
        strength: factor of the penalty, >= 0, in loss units per unit of activation; may be traced.

    Returns:
        A scalar of at least float32, on the scale of a loss that is a mean over examples.

    Raises:
        ValueError: a concrete strength is negative or NaN, or the activations have no axis of examples.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import activity_l1
        >>> activity_l1(jnp.array([[1.0, -2.0], [3.0, 0.0]]), 0.5)
        Array(1.5, dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation (7.48).
    """
    check_number("strength", strength, "[0, inf)")
    return trees.total(
        trees.lift_wide(lambda h, strength: strength * _mean(magnitude(h)), activations, numbers=(strength,))
    )


def kl_sparsity(activations: Tree, target: Number = 0.05, strength: Number = 1.0, *, eps: Number = 1e-4) -> jax.Array:
    """``strength * sum_units KL(target || r)``, where r is the mean activation of a unit over the examples.

    ``KL = target log(target / r) + (1 - target) log((1 - target) / (1 - r))`` for r in [eps, 1 - eps]. Outside this
    interval, where the divergence tends to infinity, it is replaced by its tangent at the end of the interval. A unit
    that is never active therefore still has a finite gradient.

    Args:
        activations: values in [0, 1], for example of a sigmoid, ``[examples, ...]``, or a tree of such arrays.
        target: desired mean activation of each unit, in (0, 1), dimensionless; may be traced.
        strength: factor of the penalty, >= 0, in loss units; may be traced.
        eps: distance from 0 and from 1 at which the tangents begin, in (0, 0.5), dimensionless; may be traced.

    Returns:
        A scalar of at least float32.

    Raises:
        ValueError: a concrete number lies outside its range, or the activations have no axis of examples.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import kl_sparsity
        >>> kl_sparsity(jnp.array([[0.75, 0.0], [0.25, 1.0]]), target=0.5)
        Array(0., dtype=float32)
        >>> print(f"{kl_sparsity(jnp.array([[0.5]]), target=0.25, strength=2.0):.3f}")
        0.262

    References:
        Ng, A. (2011). Sparse autoencoder. CS294A lecture notes, Stanford University.

        Lee, H., Ekanadham, C., & Ng, A. Y. (2008). Sparse deep belief net model for visual area V2. NeurIPS. Where the
        penalty is the square of the difference.
    """
    check_number("target", target, "(0, 1)")
    check_number("strength", strength, "[0, inf)")
    check_number("eps", eps, "(0, 0.5)")

    def at_leaf(h, target, strength, eps):
        mean = _mean(h)
        inside = jnp.clip(mean, eps, 1 - eps)
        at = jax.lax.stop_gradient(inside)
        divergence = target * jnp.log(target / inside) + (1 - target) * jnp.log((1 - target) / (1 - inside))
        slope = (1 - target) / (1 - at) - target / at
        return strength * (divergence + slope * (mean - inside))

    return trees.total(trees.lift_wide(at_leaf, activations, numbers=(target, strength, eps)))


def _mean(h: jax.Array) -> jax.Array:
    """The mean over examples, in at least float32."""
    if not h.ndim:
        raise ValueError("activations must be of shape [examples, ...], got a single number")
    return jnp.mean(widen(h)[0], axis=0)
