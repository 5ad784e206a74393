"""Nonlinear conjugate gradients: search directions that keep the progress of earlier line searches."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core.messages import brief
from regopt._core.numerics import safe_divide
from regopt.optimizers._flat import Link, descending, on_vector
from regopt.optimizers._linesearch import LineSearch, line_search

Variant = Literal["polak_ribiere", "fletcher_reeves", "hestenes_stiefel"]


class NonlinearCGState(NamedTuple):
    """State of ``nonlinear_cg``; the state of the line search follows it."""

    gradient: jax.Array  # [parameters], at least float32: that of the last update, or 0
    direction: jax.Array  # [parameters], at least float32: that of the last update, or 0


def nonlinear_cg(
    *, variant: Variant = "polak_ribiere", linesearch: LineSearch = "zoom"
) -> optax.GradientTransformationExtraArgs:
    """Nonlinear conjugate gradients, ``d <- -g + beta d``, followed by a line search along d.

    With ``g0`` and ``d0`` the gradient and the direction of the previous update, ``beta`` is

    * "polak_ribiere": ``max(0, g'(g - g0) / g0'g0)``, which restarts by itself where steps are short (PR+),
    * "fletcher_reeves": ``g'g / g0'g0``,
    * "hestenes_stiefel": ``g'(g - g0) / (g - g0)'d0``.

    The method restarts with ``d = -g`` where d is not a descent direction. On a quadratic with exact steps the three
    formulas agree, and the method ends after as many updates as the Hessian has distinct eigenvalues.

    Call ``update(grads, state, params, value_fn=...)``, as for ``newton``.

    Args:
        variant: the formula for beta; static.
        linesearch: ``"zoom"`` (strong Wolfe conditions with ``c2 = 0.1``) or ``"backtracking"``, which both start at
            the minimum of the parabola along the line; ``"exact_quadratic"``, which takes that minimum; or a line
            search of optax; static.

    Returns:
        The optimizer.

    Raises:
        ValueError: ``variant`` or ``linesearch`` is unknown.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> def loss(w):
        ...     return jnp.sum(jnp.array([1.0, 10.0]) * (w - 1.0) ** 2) / 2
        >>> params = jnp.zeros(2)
        >>> optimizer = regopt.nonlinear_cg(linesearch="exact_quadratic")
        >>> state = optimizer.init(params)
        >>> for _ in range(2):  # two distinct eigenvalues: two updates reach the minimum
        ...     updates, state = optimizer.update(jax.grad(loss)(params), state, params, value_fn=loss)
        ...     params = params + updates
        >>> params.round(4)
        Array([1., 1.], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.9 and equations 8.30
        and 8.31. The sign of g in the printed equation 8.29 is wrong; that in the algorithm is right.

        Nocedal, J., & Wright, S. J. (2006). Numerical Optimization (2nd ed.). Springer. Equations 5.41, 5.44, 5.45 and
        5.46.
    """
    if not isinstance(variant, str) or variant not in _BETA:
        raise ValueError(f"variant must be one of {', '.join(_BETA)}, got {brief(variant)}")

    def init(x):
        return NonlinearCGState(jnp.zeros_like(x), jnp.zeros_like(x))

    def update(gradient, state, x, **extra_args):
        del x, extra_args
        beta = _BETA[variant](gradient, state.gradient, state.direction)
        direction = descending(beta * state.direction - gradient, gradient)
        return direction, NonlinearCGState(gradient, direction)

    searches = [line_search(linesearch, curvature=0.1)]
    if linesearch in ("zoom", "backtracking"):
        searches.insert(0, line_search("exact_quadratic"))
    return on_vector(Link(init, update, NonlinearCGState), *searches)


def _polak_ribiere(gradient: jax.Array, before: jax.Array, direction: jax.Array) -> jax.Array:
    del direction
    return jnp.maximum(safe_divide(gradient @ (gradient - before), before @ before), 0)


def _fletcher_reeves(gradient: jax.Array, before: jax.Array, direction: jax.Array) -> jax.Array:
    del direction
    return safe_divide(gradient @ gradient, before @ before)


def _hestenes_stiefel(gradient: jax.Array, before: jax.Array, direction: jax.Array) -> jax.Array:
    change = gradient - before
    return safe_divide(gradient @ change, change @ direction)


_BETA = {
    "polak_ribiere": _polak_ribiere,
    "fletcher_reeves": _fletcher_reeves,
    "hestenes_stiefel": _hestenes_stiefel,
}
