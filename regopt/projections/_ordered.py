"""Projections that sort or pool: monotone sequences, sections of a box, and sparse points of a simplex."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from regopt._core.checks import check_switch
from regopt._core.messages import brief
from regopt._core.nearest import falling, threshold_to_sum
from regopt._core.numerics import check_number, check_whole, like, widen
from regopt._core.placing import on_whole_arrays
from regopt._core.transformation import check_real
from regopt._core.types import Number, Tree

_HALVINGS = 80  # of an interval, down to the rounding of float64


@on_whole_arrays
def projection_isotonic(params: Tree, *, decreasing: bool = False) -> Tree:
    """The nearest point with ``w_1 <= w_2 <= ... <= w_n``: means over blocks that pool what is out of order.

    Here w is the concatenation of the leaves of the tree. The derivative averages over the same blocks.

    Args:
        params: the tree to project, floating point.
        decreasing: whether the sequence must fall instead; static.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        TypeError: the tree holds something that is no array.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_isotonic
        >>> projection_isotonic(jnp.array([1.0, 3.0, 2.0, 5.0]))
        Array([1. , 2.5, 2.5, 5. ], dtype=float32)

    References:
        Best, M. J., & Chakravarti, N. (1990). Active set algorithms for isotonic regression; a unifying framework.
        Mathematical Programming, 47, 425-439. The pool adjacent violators algorithm.
    """
    check_real(params)
    check_switch("decreasing", decreasing)
    flat, unravel = ravel_pytree(params)
    (wide,) = widen(flat)
    pooled = falling(wide) if decreasing else falling(wide[::-1])[::-1]
    return unravel(pooled.astype(flat.dtype))


@on_whole_arrays
def projection_box_section(
    params: Tree, lower: ArrayLike, upper: ArrayLike, weights: ArrayLike = 1.0, total: Number = 1.0
) -> Tree:
    """The nearest point with ``lower <= w_i <= upper`` and ``sum_i weights_i w_i = total``.

    It is ``clip(w - t weights, lower, upper)``, where t is found by bisection; the derivative is that of the root.

    Args:
        params: the tree to project; w is the concatenation of its leaves, ``[n]``.
        lower: lower bound, a number or ``[n]``, finite; may be traced.
        upper: upper bound, at least ``lower``, in the same form; may be traced.
        weights: coefficients of the sum, a number or ``[n]``, not all 0; may be traced.
        total: the value of the sum; may be traced.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: concrete bounds are in the wrong order, or no point of the box has the sum.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_box_section
        >>> projection_box_section(jnp.array([0.9, 0.2, -3.0]), 0.0, 0.75, total=1.25).round(4)
        Array([0.75, 0.5 , 0.  ], dtype=float32)

    References:
        Helgason, R., Kennington, J., & Lall, H. (1980). A polynomially bounded algorithm for a singly constrained
        quadratic program. Mathematical Programming, 18, 338-343.
    """
    check_real(params)
    flat, unravel = ravel_pytree(params)
    for name, value in {"lower": lower, "upper": upper, "weights": weights}.items():
        _check_entries(name, value, flat.size)
    check_number("total", total, "(-inf, inf)")
    (w,) = widen(flat)
    low, high, a = (jnp.broadcast_to(like(x, w), w.shape) for x in (lower, upper, weights))
    c = like(total, w)
    _check_section(low, high, a, c)

    def excess(t):
        return a @ jnp.clip(w - t * a, low, high) - c

    def halve(_, ends):
        left, right = ends
        middle = (left + right) / 2
        above = excess(middle) > 0
        return jnp.where(above, middle, left), jnp.where(above, right, middle)

    # at these ends every entry with a weight is at a bound
    slack = jnp.where(a != 0, jnp.maximum(jnp.abs(w - low), jnp.abs(w - high)) / jnp.where(a != 0, jnp.abs(a), 1), 0)
    reach = jnp.max(slack, initial=0) + 1
    ends = jax.lax.stop_gradient((-reach, reach))
    t = jax.lax.stop_gradient(sum(jax.lax.fori_loop(0, _HALVINGS, halve, ends)) / 2)
    for _ in range(2):  # a step of Newton's method is exact on the piece, and carries the derivative
        moved = w - t * a
        slope = jnp.sum(jnp.where((moved > low) & (moved < high), a * a, 0))
        t = t + jnp.where(slope > 0, excess(t) / jnp.where(slope > 0, slope, 1), 0)
    return unravel(jnp.clip(w - t * a, low, high).astype(flat.dtype))


def _check_entries(name: str, value: object, size: int) -> None:
    """Require a finite number, or one for each entry."""
    if isinstance(value, Tracer):
        fits = value.shape in ((), (size,))
    else:
        array = (
            np.asarray(value) if isinstance(value, jax.Array | np.ndarray | np.number | int | float) else np.array("")
        )
        fits = array.shape in ((), (size,)) and array.dtype.kind in "iufV" and not isinstance(value, bool)
        fits = fits and bool(np.isfinite(array.astype(np.float64)).all())
    if not fits:
        raise ValueError(f"{name} must be a finite number, or one for each of the {size} entries, got {brief(value)}")


def _check_section(low: jax.Array, high: jax.Array, a: jax.Array, c: jax.Array) -> None:
    """Refuse concrete bounds in the wrong order and a sum that no point has."""
    if any(isinstance(x, Tracer) for x in (low, high, a, c)):
        return
    first, last, share = (np.asarray(x, np.float64) for x in (low, high, a))
    if (first > last).any():
        raise ValueError("lower must be at most upper in every entry")
    least, most = np.minimum(share * first, share * last).sum(), np.maximum(share * first, share * last).sum()
    rounding = 1e-6 * (1 + np.abs(share * first).sum() + np.abs(share * last).sum())
    if not least - rounding <= float(c) <= most + rounding:
        raise ValueError(f"total must lie between the sums at the bounds, {least:g} and {most:g}, got {float(c):g}")


@on_whole_arrays
def projection_sparse_simplex(params: Tree, max_nonzeros: int, scale: Number = 1.0) -> Tree:
    """A nearest point with ``w >= 0``, ``sum_i w_i = scale`` and at most ``max_nonzeros`` entries that are not 0.

    The largest entries are kept and projected onto their simplex. The set is not convex; of several nearest points the
    one of the first entries is returned.

    Args:
        params: the tree to project; w is the concatenation of its leaves.
        max_nonzeros: how many entries are kept, >= 1; static.
        scale: the sum, > 0, in parameter units; may be traced.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_sparse_simplex
        >>> projection_sparse_simplex(jnp.array([0.5, 0.25, 2.0, -1.0]), 1)
        Array([0., 0., 1., 0.], dtype=float32)

    References:
        Kyrillidis, A., Becker, S., Cevher, V., & Koch, C. (2013). Sparse projections onto the simplex. ICML.
        Algorithm 1.
    """
    check_real(params)
    check_whole("max_nonzeros", max_nonzeros, "[1, inf)")
    check_number("scale", scale, "(0, inf)")
    flat, unravel = ravel_pytree(params)
    (w,) = widen(flat)
    kept, places = jax.lax.top_k(w, min(max_nonzeros, w.size))
    return unravel(jnp.zeros_like(w).at[places].set(on_simplex(kept, scale)).astype(flat.dtype))


@partial(jnp.vectorize, signature="(n),()->(n)")
def on_simplex(w: jax.Array, scale: Number) -> jax.Array:
    """The nearest point with entries >= 0 that sum to the scale, along the last axis."""
    scale = like(scale, w)
    shifted = w - jax.lax.stop_gradient(jnp.min(w)) + scale  # all >= 0, and their sum is at least the scale
    return jnp.maximum(shifted - threshold_to_sum(shifted, scale), 0)
