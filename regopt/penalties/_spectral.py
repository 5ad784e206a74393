"""Penalties on the singular values of weight matrices: low rank, a small Lipschitz constant, orthogonal columns.

A leaf with more than two axes is treated as a matrix whose columns run along its last axis, and a leaf with fewer axes
as a single column. Gradients are finite for repeated and for zero singular values. For projections onto the balls of
these norms see ``regopt.projections``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core import linalg
from regopt._core.checks import check_index
from regopt._core.linalg import as_matrix, map_singular_values
from regopt._core.nearest import threshold_to_sum
from regopt._core.numerics import check_range, direction_and_norm, like
from regopt._core.placing import penalty_on_whole_arrays
from regopt._core.types import Mask, NumberOrSchedule, Penalty
from regopt.penalties._leafwise import leafwise
from regopt.penalties._scheduled import takes_schedules


@takes_schedules
def nuclear(strength: NumberOrSchedule = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength * sum_k s_k(W)``: the nuclear norm of each matrix, the sum of its singular values, for a low rank.

    Its proximal operator is ``U max(S - step strength, 0) V'``. Its gradient is the subgradient ``U V'`` over the
    singular values that are not 0.

    Args:
        strength: factor of the penalty, >= 0, in loss units per parameter unit; a number or a prefix tree of numbers;
            may be traced or scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty. Its proximal operator takes one step for each matrix.

    Raises:
        ValueError: a concrete strength is negative or NaN, or the proximal operator is given a step for each entry.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import nuclear
        >>> nuclear(0.5).prox(jnp.array([[3.0, 0.0], [0.0, 0.5]]), 2.0)
        Array([[2., 0.],
               [0., 0.]], dtype=float32)

    References:
        Cai, J.-F., Candes, E. J., & Shen, Z. (2010). A singular value thresholding algorithm for matrix completion.
        SIAM Journal on Optimization, 20(4), 1956-1982. Theorem 2.1.

        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 6.7.3.
    """
    check_range("strength", strength, "[0, inf)")

    def prox_at(w, step, strength):
        return _on_singular_values(_soft, w, step * strength, "nuclear")

    def ball(leaves, radius):
        sizes = [jnp.linalg.svd(as_matrix(w), compute_uv=False) for w in leaves if w.size]
        if not sizes:
            return leaves
        threshold = threshold_to_sum(jnp.concatenate(sizes), radius)
        return [_on_singular_values(_soft, w, like(threshold, w), "nuclear") for w in leaves]

    return penalty_on_whole_arrays(
        leafwise(
            (strength,),
            mask,
            lambda w, strength: strength * _norm(_polar, w),
            prox_at,
            strength_max_at=lambda g: _norm(_leading, g),
            norm=True,
            ball=ball,
            by_entry=(False,),
        )
    )


@takes_schedules
def spectral_norm(
    strength: NumberOrSchedule = 1.0, *, power_iterations: int | None = None, mask: Mask = "weights"
) -> Penalty:
    """``strength * max_k s_k(W)``: the spectral norm of each matrix, its largest singular value.

    The spectral norm is the Lipschitz constant of the linear map. Its proximal operator is ``U min(S, tau) V'`` with
    ``sum_k max(s_k - tau, 0) = step strength``, which follows from Moreau's identity and the projection onto the l1
    ball. Its gradient is ``u v'`` of the largest singular value, or the mean of these where several are equally large.

    Args:
        strength: factor of the penalty, >= 0, in loss units per parameter unit; a number or a prefix tree of numbers;
            may be traced or scheduled.
        power_iterations: number of steps of the power method, >= 1, that approximate the value from below, starting at
            a fixed vector. This is cheaper than a singular value decomposition, which None selects; static.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty. Its proximal operator takes one step for each matrix.

    Raises:
        ValueError: a concrete strength is negative or NaN, ``power_iterations`` is below 1, or the proximal operator is
            given a step for each entry.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import spectral_norm
        >>> spectral_norm(0.5).prox(jnp.array([[3.0, 0.0], [0.0, 0.5]]), 2.0)
        Array([[2. , 0. ],
               [0. , 0.5]], dtype=float32)

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Sections 6.5.2 and 6.7.2.

        Miyato, T., Kataoka, T., Koyama, M., & Yoshida, Y. (2018). Spectral normalization for generative adversarial
        networks. ICLR. Algorithm 1, for the power method.

        Yoshida, Y., & Miyato, T. (2017). Spectral norm regularization for improving the generalizability of deep
        learning. arXiv:1705.10941. Where the penalty is the square of the norm.
    """
    if power_iterations is not None:
        check_index("power_iterations", power_iterations)
    check_range("strength", strength, "[0, inf)")
    if power_iterations is not None and power_iterations < 1:
        raise ValueError(f"power_iterations must be at least 1 or None, got {power_iterations}")

    def value_at(w, strength):
        return strength * (_norm(_leading, w) if power_iterations is None else _power_method(w, power_iterations))

    def prox_at(w, step, strength):
        return _on_singular_values(_cut, w, step * strength, "spectral_norm")

    return penalty_on_whole_arrays(
        leafwise(
            (strength,),
            mask,
            value_at,
            prox_at,
            strength_max_at=lambda g: _norm(_polar, g),
            norm=True,
            by_entry=(False,),
        )
    )


@takes_schedules
def orthogonality(strength: NumberOrSchedule = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength / 2 * |W'W - I|_F^2``: a soft constraint that the columns of W be orthonormal.

    Where W has more columns than rows, the penalty is on its rows. It is 0 for every matrix whose singular values are
    all 1. Its gradient is ``2 strength W (W'W - I)``, which is 0 also at W = 0. It has no proximal operator and is used
    with ``how="gradient"``.

    Args:
        strength: factor of the penalty, >= 0, in loss units; a number or a prefix tree of numbers; may be traced or
            scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, without a proximal operator.

    Raises:
        ValueError: a concrete strength is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import orthogonality
        >>> orthogonality(0.5).value(jnp.array([[1.0, 0.0], [0.0, 2.0]]))
        Array(2.25, dtype=float32)

    References:
        Brock, A., Lim, T., Ritchie, J. M., & Weston, N. (2017). Neural photo editing with introspective adversarial
        networks. ICLR. Equation (1), without the factor 1/2.

        Bansal, N., Chen, X., & Wang, Z. (2018). Can we gain more from orthogonality regularizations in training deep
        networks? NeurIPS. Equations (2) and (3).
    """
    check_range("strength", strength, "[0, inf)")

    def value_at(w, strength):
        matrix = as_matrix(w)
        tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
        gap = jnp.matmul(tall.T, tall, precision="highest") - jnp.eye(tall.shape[1], dtype=w.dtype)
        return strength / 2 * jnp.square(gap)

    return penalty_on_whole_arrays(
        leafwise((strength,), mask, value_at, lambda w, *_: w, by_entry=(False,))._replace(prox=None)
    )


def _soft(s: jax.Array, reach: jax.Array) -> jax.Array:
    return jnp.maximum(s - reach, 0)


def _cut(s: jax.Array, reach: jax.Array) -> jax.Array:
    return jnp.minimum(s, threshold_to_sum(s, reach))


def _polar(s: jax.Array, rounding: jax.Array) -> jax.Array:
    """The slope of the sum of the singular values: 1 for each that is not 0 to rounding."""
    return jnp.where(s > rounding * s[0], 1, 0).astype(s.dtype)


def _leading(s: jax.Array, rounding: jax.Array) -> jax.Array:
    """The slope of the largest singular value: equal parts for all that are largest up to rounding."""
    largest = jnp.where((s >= (1 - rounding) * s[0]) & (s > 0), 1, 0).astype(s.dtype)
    return largest / jnp.maximum(jnp.sum(largest), 1)


def _on_singular_values(
    rule: Callable[[jax.Array, jax.Array], jax.Array], w: jax.Array, reach: jax.Array, name: str
) -> jax.Array:
    if reach.ndim:
        raise ValueError(
            f"the prox of {name} wants one step for each matrix, got one for each entry: take an optimizer with one "
            'learning rate for all entries (sgd, heavy_ball), or how="gradient"'
        )
    return map_singular_values(rule, as_matrix(w), reach).reshape(w.shape) if w.size else w


def _norm(rule: Callable[[jax.Array, jax.Array], jax.Array], w: jax.Array) -> jax.Array:
    """``sum_k rule(s)_k s_k``, whose slope is ``U rule(S) V'``; shape ()."""
    if not w.size:
        return jnp.zeros((), w.dtype)
    matrix = as_matrix(w)
    rounding = 8 * max(matrix.shape) * jnp.finfo(w.dtype).eps

    @jax.custom_jvp
    def norm(matrix):
        s = linalg.singular_values(matrix)
        return jnp.sum(rule(s, like(rounding, s)) * s)

    @norm.defjvp
    def slope(primals, tangents):
        (matrix,), (matrix_dot,) = primals, tangents
        slopes = map_singular_values(rule, matrix, like(rounding, matrix))
        return jnp.sum(slopes * matrix), jnp.sum(slopes * matrix_dot)

    return norm(matrix)


def _power_method(w: jax.Array, iterations: int) -> jax.Array:
    """``u' W v`` after the given number of iterations, with the gradient ``u v'``; shape ()."""
    matrix = as_matrix(w)
    fixed = jax.lax.stop_gradient(matrix)
    start = np.random.default_rng(0).normal(size=matrix.shape[1])  # any fixed vector that no structure is orthogonal to
    (v,), _ = direction_and_norm((jnp.asarray(start, w.dtype),))

    def onward(_, v):
        (u,), _ = direction_and_norm((fixed @ v,))
        return direction_and_norm((fixed.T @ u,))[0][0]

    v = jax.lax.fori_loop(0, iterations, onward, v)
    (u,), _ = direction_and_norm((fixed @ v,))
    return jnp.vdot(u, matrix @ v)
