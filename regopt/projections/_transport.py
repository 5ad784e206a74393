"""Projections onto transport plans: nonnegative matrices with given sums of rows and columns."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core.checks import check_array
from regopt._core.numerics import check_whole, like, widen
from regopt._core.placing import on_whole_arrays
from regopt._core.transformation import check_real
from regopt.projections._ordered import on_simplex


@on_whole_arrays
def projection_transport(plan: jax.Array, rows: jax.Array, columns: jax.Array, *, cycles: int = 500) -> jax.Array:
    """The nearest matrix with entries >= 0, whose rows sum to ``rows`` and whose columns sum to ``columns``.

    It is ``max(plan + f_i + g_j, 0)``; f and g are found in turn, each exactly. The rows' sums hold exactly, those of
    the columns up to convergence.

    Args:
        plan: the matrix, ``[n, m]``.
        rows: sums of the rows, ``[n]``, >= 0; may be traced.
        columns: sums of the columns, ``[m]``, >= 0, with the same total; may be traced.
        cycles: how often both are found, >= 1; static.

    Returns:
        The plan, ``[n, m]``.

    Raises:
        ValueError: the shapes do not fit, or concrete sums are negative or have different totals.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_transport
        >>> projection_transport(jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.ones(2), jnp.ones(2)).round(4)
        Array([[1., 0.],
               [0., 1.]], dtype=float32)

    References:
        Blondel, M., Seguy, V., & Rolet, A. (2018). Smooth and sparse optimal transport. AISTATS. Section 3, with the
        squared norm.
    """
    wide, rows, columns = _checked(plan, rows, columns, cycles)

    def shift(moved, sums):  # what makes the positive parts along the last axis sum to these
        after = on_simplex(moved, jnp.where(sums > 0, sums, 1))
        largest = jnp.argmax(moved, -1, keepdims=True)
        found = jnp.take_along_axis(after - moved, largest, -1)[..., 0]
        return jnp.where(sums > 0, found, -jnp.max(moved, -1))

    def cycle(f, _):
        g = shift(wide.T + f[None], columns)
        return shift(wide + g[None], rows), g

    f, g = jax.lax.scan(cycle, jnp.zeros_like(rows), length=cycles)
    return jnp.maximum(wide + f[:, None] + g[-1][None], 0).astype(plan.dtype)


def projection_birkhoff(plan: jax.Array, *, cycles: int = 500) -> jax.Array:
    """The nearest doubly stochastic matrix: entries >= 0, and every row and column sums to 1.

    Args:
        plan: the matrix, ``[n, n]``.
        cycles: as for ``projection_transport``; static.

    Returns:
        The matrix, ``[n, n]``.

    Raises:
        ValueError: the matrix is not square.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import projection_birkhoff
        >>> projection_birkhoff(jnp.zeros((2, 2)))
        Array([[0.5, 0.5],
               [0.5, 0.5]], dtype=float32)

    References:
        Blondel, M., Seguy, V., & Rolet, A. (2018). Smooth and sparse optimal transport. AISTATS. Section 3.
    """
    return projection_transport(plan, *_ones(plan), cycles=cycles)


@on_whole_arrays
def kl_projection_transport(scores: jax.Array, rows: jax.Array, columns: jax.Array, *, cycles: int = 500) -> jax.Array:
    """The transport plan P with the largest ``<scores, P> - sum_ij P_ij log P_ij``, by Sinkhorn's algorithm.

    It is the projection of ``exp(scores)`` in the Kullback-Leibler divergence, ``exp(scores + f_i + g_j)``. The rows'
    sums hold exactly, those of the columns up to convergence.

    Args:
        scores: the matrix, ``[n, m]``.
        rows: sums of the rows, ``[n]``, > 0; may be traced.
        columns: sums of the columns, ``[m]``, > 0, with the same total; may be traced.
        cycles: how often both are found, >= 1; static.

    Returns:
        The plan, ``[n, m]``.

    Raises:
        ValueError: the shapes do not fit, or concrete sums are negative or have different totals.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import kl_projection_transport
        >>> kl_projection_transport(jnp.zeros((2, 2)), jnp.array([1.0, 3.0]), jnp.array([2.0, 2.0])).round(4)
        Array([[0.5, 0.5],
               [1.5, 1.5]], dtype=float32)

    References:
        Cuturi, M. (2013). Sinkhorn distances: lightspeed computation of optimal transport. NeurIPS. Algorithm 1.
    """
    wide, rows, columns = _checked(scores, rows, columns, cycles, "scores")

    def cycle(f, _):
        g = jnp.log(columns) - jax.nn.logsumexp(wide + f[:, None], 0)
        return jnp.log(rows) - jax.nn.logsumexp(wide + g[None], 1), g

    f, g = jax.lax.scan(cycle, jnp.zeros_like(rows), length=cycles)
    return jnp.exp(wide + f[:, None] + g[-1][None]).astype(scores.dtype)


def kl_projection_birkhoff(scores: jax.Array, *, cycles: int = 500) -> jax.Array:
    """The doubly stochastic matrix nearest to ``exp(scores)`` in the Kullback-Leibler divergence.

    Args:
        scores: the matrix, ``[n, n]``.
        cycles: as for ``kl_projection_transport``; static.

    Returns:
        The matrix, ``[n, n]``.

    Raises:
        ValueError: the matrix is not square.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.projections import kl_projection_birkhoff
        >>> kl_projection_birkhoff(jnp.log(jnp.array([[2.0, 4.0], [3.0, 6.0]]))).round(4)
        Array([[0.5, 0.5],
               [0.5, 0.5]], dtype=float32)

    References:
        Sinkhorn, R. (1964). A relationship between arbitrary positive matrices and doubly stochastic matrices. Annals
        of Mathematical Statistics, 35(2), 876-879.
    """
    return kl_projection_transport(scores, *_ones(scores, "scores"), cycles=cycles)


def _ones(plan: jax.Array, name: str = "plan") -> tuple[jax.Array, jax.Array]:
    check_array(name, plan)
    if plan.ndim != 2 or plan.shape[0] != plan.shape[1]:
        raise ValueError(f"{name} must be a square matrix, got shape {plan.shape}")
    ones = jnp.ones(len(plan), widen(plan)[0].dtype)
    return ones, ones


def _checked(
    plan: jax.Array, rows: jax.Array, columns: jax.Array, cycles: int, name: str = "plan"
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The matrix and the sums in one dtype; what does not fit is refused."""
    check_whole("cycles", cycles, "[1, inf)")
    for each, array in ((name, plan), ("rows", rows), ("columns", columns)):
        check_array(each, array)
    if plan.ndim != 2 or rows.shape != plan.shape[:1] or columns.shape != plan.shape[1:]:
        raise ValueError(
            f"{name} must be [n, m], rows [n] and columns [m], got {plan.shape}, {rows.shape} and {columns.shape}"
        )
    if not isinstance(rows, Tracer) and not isinstance(columns, Tracer):
        first, second = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
        if (first < 0).any() or (second < 0).any():
            raise ValueError("rows and columns must not be negative")
        if abs(first.sum() - second.sum()) > 1e-5 * max(first.sum(), 1):
            raise ValueError(f"rows and columns must have one total, got {first.sum():g} and {second.sum():g}")
    check_real({name: plan})
    (wide,) = widen(plan)
    return wide, like(rows, wide), like(columns, wide)
