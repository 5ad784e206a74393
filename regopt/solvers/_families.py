"""Losses of one linear predictor, with the conjugates that duality gaps need: generalised linear models and their kin.

Each loss is convex in the predictor eta, smooth, and shifted so that its infimum over eta is 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_number, like
from regopt._core.types import Number


class Family(NamedTuple):
    """A loss of one predictor and its target, entry by entry; see ``gaussian`` and its like.

    ``conjugate(v, y) = sup_eta v eta - loss(eta, y)`` is evaluated at slopes ``v = d loss / d eta`` and between such a
    slope and 0; there it is finite.
    """

    loss: Callable[[jax.Array, jax.Array], jax.Array]  # (eta, y) -> loss, all of one shape
    conjugate: Callable[[jax.Array, jax.Array], jax.Array]  # (v, y) -> conjugate
    mean: Callable[[jax.Array], jax.Array]  # eta -> the expected target, or the decision value


def squared_error(eta: jax.Array, y: jax.Array) -> jax.Array:
    """``(eta - y)**2 / 2``, entry by entry."""
    return (eta - y) ** 2 / 2


def gaussian() -> Family:
    """``(eta - y)**2 / 2``, for targets of any size; the mean is eta.

    Returns:
        The family.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import gaussian
        >>> gaussian().loss(jnp.array([3.0]), jnp.array([1.0]))
        Array([2.], dtype=float32)

    References:
        McCullagh, P., & Nelder, J. A. (1989). Generalized Linear Models (2nd ed.). Chapman and Hall. Chapter 3.
    """
    return Family(squared_error, lambda v, y: v * v / 2 + v * y, lambda eta: eta)


def logistic() -> Family:
    """``log(1 + exp(eta)) - y eta``, less its infimum, for targets in [0, 1]; the mean is ``1 / (1 + exp(-eta))``.

    Returns:
        The family.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import logistic
        >>> logistic().loss(jnp.zeros(2), jnp.array([0.0, 1.0]))
        Array([0.6931472, 0.6931472], dtype=float32)

    References:
        McCullagh, P., & Nelder, J. A. (1989). Generalized Linear Models (2nd ed.). Chapman and Hall. Chapter 4.
    """

    def entropy(p):
        return -_xlogx(p) - _xlogx(1 - p)

    return Family(
        lambda eta, y: jnp.logaddexp(0, eta) - y * eta - entropy(y),
        lambda v, y: entropy(y) - entropy(jnp.clip(v + y, 0, 1)),
        jax.nn.sigmoid,
    )


def poisson() -> Family:
    """``exp(eta) - y eta``, less its infimum, for targets >= 0 (half the deviance); the mean is ``exp(eta)``.

    Returns:
        The family.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import poisson
        >>> poisson().loss(jnp.zeros(2), jnp.array([0.0, 1.0]))
        Array([1., 0.], dtype=float32)

    References:
        McCullagh, P., & Nelder, J. A. (1989). Generalized Linear Models (2nd ed.). Chapman and Hall. Chapter 6.
    """

    def conjugate(v, y):
        mean = jnp.maximum(v + y, 0)
        return _xlogx(mean) - mean - _xlogx(y) + y

    return Family(lambda eta, y: jnp.exp(eta) - y * eta + _xlogx(y) - y, conjugate, jnp.exp)


def gamma() -> Family:
    """``eta + y exp(-eta)``, less its infimum, for targets > 0 (half the deviance); the mean is ``exp(eta)``.

    Returns:
        The family.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import gamma
        >>> gamma().loss(jnp.zeros(1), jnp.array([1.0]))
        Array([0.], dtype=float32)

    References:
        McCullagh, P., & Nelder, J. A. (1989). Generalized Linear Models (2nd ed.). Chapman and Hall. Chapter 8.
    """

    def conjugate(v, y):
        share = 1 - v  # y exp(-eta) at the eta with slope v
        return v * (jnp.log(y) - jnp.log(share)) - (jnp.log(y) - jnp.log(share)) - share + 1 + jnp.log(y)

    return Family(lambda eta, y: eta + y * jnp.exp(-eta) - 1 - jnp.log(y), conjugate, jnp.exp)


def huber_loss(delta: Number = 1.0) -> Family:
    """``r**2 / 2`` up to ``|r| = delta`` and ``delta (|r| - delta / 2)`` beyond, with ``r = eta - y``; the mean is eta.

    Args:
        delta: where the loss becomes linear, > 0, in units of the target; may be traced.

    Returns:
        The family.

    Raises:
        ValueError: a concrete ``delta`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import huber_loss
        >>> huber_loss(1.0).loss(jnp.array([0.5, 3.0]), jnp.zeros(2))
        Array([0.125, 2.5  ], dtype=float32)

    References:
        Huber, P. J. (1964). Robust estimation of a location parameter. Annals of Mathematical Statistics, 35(1),
        73-101. Section 2.
    """
    check_number("delta", delta, "(0, inf)")

    def loss(eta, y):
        r = eta - y
        inside = jnp.clip(r, -like(delta, r), like(delta, r))
        return inside * (r - inside / 2)

    return Family(loss, lambda v, y: v * v / 2 + v * y, lambda eta: eta)


def squared_hinge() -> Family:
    """``max(1 - s eta, 0)**2 / 2`` with ``s = 2 y - 1``, for targets 0 and 1; the mean is the decision value eta.

    Returns:
        The family.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import squared_hinge
        >>> squared_hinge().loss(jnp.array([2.0, 2.0]), jnp.array([0.0, 1.0]))
        Array([4.5, 0. ], dtype=float32)

    References:
        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Table 12.1.
    """

    def sign(y):
        return 2 * y - 1

    return Family(
        lambda eta, y: jnp.maximum(1 - sign(y) * eta, 0) ** 2 / 2,
        lambda v, y: v * v / 2 + v * sign(y),
        lambda eta: eta,
    )


def _xlogx(x: jax.Array) -> jax.Array:
    """``x log(x)``, 0 at 0, with a finite slope there."""
    return jnp.where(x > 0, x * jnp.log(jnp.where(x > 0, x, 1)), 0)
