"""Losses of one linear predictor, such as generalised linear models, with the conjugates that duality gaps need.

Each loss is convex in the predictor eta, smooth, and shifted so that its infimum over eta is 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_number, check_whole, like
from regopt._core.types import Number


class Family(NamedTuple):
    """A loss of one predictor and its target, entry by entry; see ``gaussian`` and its like.

    ``conjugate(v, y) = sup_eta v eta - loss(eta, y)`` is evaluated at slopes ``v = d loss / d eta`` and between such a
    slope and 0; there it is finite.
    """

    loss: Callable[[jax.Array, jax.Array], jax.Array]  # (eta, y) -> loss, all of one shape
    conjugate: Callable[[jax.Array, jax.Array], jax.Array]  # (v, y) -> conjugate
    mean: Callable[[jax.Array], jax.Array]  # eta -> the expected target, or the decision value
    second_order: bool = False  # whether the proximal Newton method may be used for this loss
    curvature: float | None = None  # a bound on the second derivative of the loss in eta; None where there is none
    classes: int | None = None  # the length of the last axis of eta; None where eta has one entry for each example
    targets: str | None = None  # the interval of the targets; None where any target is allowed
    canonical: bool = False  # whether the slope of the loss is the mean less the target
    binary: bool = False  # whether a target is 0 or 1 and nothing between

    def slopes(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """``d loss / d eta``, with the shape and dtype of eta."""
        if self.canonical:
            return (self.mean(eta) - y).astype(eta.dtype)
        return jax.grad(lambda eta: jnp.sum(self.loss(eta, y)))(eta)

    def balance(self, shares: jax.Array, slopes: jax.Array, y: jax.Array) -> jax.Array:
        """The slopes ``[examples, ...]`` moved so that their weighted sum is 0, as the dual of an intercept demands."""
        if self.classes is None:
            return _balanced(shares, slopes)
        means, frequencies = shares @ (slopes + y), shares @ y
        kept = jnp.minimum(jnp.min(jnp.where(means > 0, frequencies / jnp.where(means > 0, means, 1), jnp.inf)), 1)
        return kept * (slopes + y) + (frequencies - kept * means)[None] - y


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
    return Family(squared_error, lambda v, y: v * v / 2 + v * y, lambda eta: eta, curvature=1.0, canonical=True)


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
        lambda eta, y: _softplus(eta) - y * eta - entropy(y),
        lambda v, y: entropy(y) - entropy(jnp.clip(v + y, 0, 1)),
        jax.nn.sigmoid,
        second_order=True,
        curvature=0.25,
        targets="[0, 1]",
        canonical=True,
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

    return Family(
        lambda eta, y: jnp.exp(eta) - y * eta + _xlogx(y) - y,
        conjugate,
        jnp.exp,
        second_order=True,
        targets="[0, inf)",
        canonical=True,
    )


def multinomial(classes: int) -> Family:
    """``log sum_k exp(eta_k) - sum_k y_k eta_k``, less its infimum, for ``[examples, classes]`` shares of the classes.

    The targets are one-hot, or any nonnegative numbers that sum to 1; the mean is ``softmax(eta)``. There is one
    predictor for each class, so adding a number to all of them changes nothing.

    Args:
        classes: the number of classes, >= 2; static.

    Returns:
        The family.

    Raises:
        ValueError: ``classes`` is not a whole number >= 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import multinomial
        >>> multinomial(4).loss(jnp.zeros((1, 4)), jnp.array([[0.0, 1.0, 0.0, 0.0]]))
        Array([1.3862944], dtype=float32)

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22. Section 4.
    """
    check_whole("classes", classes, "[2, inf)")
    return Family(
        lambda eta, y: jax.nn.logsumexp(eta, -1) - jnp.sum(y * eta, -1) + jnp.sum(_xlogx(y), -1),
        lambda v, y: jnp.sum(_xlogx(jnp.maximum(v + y, 0)) - _xlogx(y), -1),
        lambda eta: jax.nn.softmax(eta, -1),
        curvature=0.5,
        classes=classes,
        targets="[0, 1]",
        canonical=True,
    )


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

    return Family(
        lambda eta, y: eta + y * jnp.exp(-eta) - 1 - jnp.log(y),
        conjugate,
        jnp.exp,
        second_order=True,
        targets="(0, inf)",
    )


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

    return Family(loss, lambda v, y: v * v / 2 + v * y, lambda eta: eta, curvature=1.0)


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
        Table 12.1, which has no factor 1/2 and is linear for ``s eta < -1``.
    """

    def sign(y):
        return 2 * y - 1

    return Family(
        lambda eta, y: jnp.maximum(1 - sign(y) * eta, 0) ** 2 / 2,
        lambda v, y: v * v / 2 + v * sign(y),
        lambda eta: eta,
        curvature=1.0,
        targets="[0, 1]",
        binary=True,
    )


@jax.custom_jvp
def _softplus(eta: jax.Array) -> jax.Array:
    """``log(1 + exp(eta))``, in a third of the time of ``logaddexp``."""
    return jnp.maximum(eta, 0) + jnp.log1p(jnp.exp(-jnp.abs(eta)))


@_softplus.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _softplus(*primals), jax.nn.sigmoid(*primals) * tangents[0]


def _xlogx(x: jax.Array) -> jax.Array:
    """``x log(x)``, 0 at 0, with a finite slope there."""
    return jnp.where(x > 0, x * jnp.log(jnp.where(x > 0, x, 1)), 0)


def _balanced(shares: jax.Array, slopes: jax.Array) -> jax.Array:
    """The slopes with those of the prevailing sign shrunk, so that their weighted sum is 0."""
    up, down = jnp.sum(shares * jnp.maximum(slopes, 0)), jnp.sum(shares * jnp.maximum(-slopes, 0))
    shrink_up = jnp.where(up > down, down / jnp.where(up > 0, up, 1), 1)
    shrink_down = jnp.where(down > up, up / jnp.where(down > 0, down, 1), 1)
    return jnp.where(slopes > 0, slopes * shrink_up, slopes * shrink_down)
