"""The lasso for all strengths: its solution is a piecewise linear function of the strength.

The path is exact and takes one linear system for each knot, so the Gram matrix must fit in memory. Least-angle
regression without the sign condition of the lasso, and other losses, are not covered.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, check_whole, like, safe_divide, widen
from regopt._core.types import Number


class LassoPath(NamedTuple):
    """The knots of the lasso path, from the strength at which all coefficients are zero downwards.

    The number of knots is fixed; unused ones repeat the last knot, with ``moves`` 0.
    """

    strengths: jax.Array  # [knots], descending; the last is 0 where the path is complete
    coefficients: jax.Array  # [knots, features]: the solutions at the knots
    moves: jax.Array  # [knots], int32: j + 1 where feature j enters at this knot, -(j + 1) where it leaves, else 0

    def at(self, strength: Number) -> jax.Array:
        """The solution at a strength, by linear interpolation between the knots; zero above the first knot.

        Args:
            strength: strength of the L1 penalty, >= 0; may be traced. The derivative with respect to it is exact
                between the knots. Below the last knot of an incomplete path, the solution is that of the last knot.

        Returns:
            The coefficients, ``[features]``.

        Raises:
            ValueError: a concrete strength is negative or NaN.
        """
        check_range("strength", strength, "[0, inf)")
        strength = like(strength, self.strengths)
        after = jnp.clip(jnp.sum(self.strengths > strength), 1, len(self.strengths) - 1)
        length = self.strengths[after - 1] - self.strengths[after]
        share = jnp.clip(safe_divide(self.strengths[after - 1] - strength, length), 0, 1)
        return (1 - share) * self.coefficients[after - 1] + share * self.coefficients[after]


def lasso_path(x: jax.Array, y: jax.Array, *, max_moves: int | None = None) -> LassoPath:
    """The minimisers of ``|X w - y|**2 / (2 n) + strength * |w|_1`` for every strength, by the homotopy of LARS.

    At each knot a coefficient enters or leaves the active set A. Between the knots ``w`` is linear in the strength:
    where ``n * strength`` falls by 1, ``w_A`` moves by ``(X_A' X_A)^-1 sign(w_A)``. There is no intercept, so the
    columns of ``x`` and ``y`` should be centred first. The columns are not rescaled.

    Args:
        x: inputs, ``[n, features]``.
        y: targets, ``[n]``.
        max_moves: largest number of times that a coefficient enters or leaves, >= 1; static. None stands for
            ``3 min(n, features) + 8``, which suffices for typical data.

    Returns:
        The path, with ``max_moves + 1`` knots. If ``strengths[-1] > 0``, the path is incomplete: it needs more
        moves, or it has come to columns that are linearly dependent.

    Raises:
        ValueError: the shapes do not match, or ``max_moves`` is no whole number >= 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import lasso_path
        >>> lasso_path(jnp.eye(2), jnp.array([4.0, -2.0])).at(0.5)
        Array([ 3., -1.], dtype=float32)

    References:
        Osborne, M. R., Presnell, B., & Turlach, B. A. (2000). A new approach to variable selection in least squares
        problems. IMA Journal of Numerical Analysis, 20(3), 389-403.

        Efron, B., Hastie, T., Johnstone, I., & Tibshirani, R. (2004). Least angle regression. Annals of Statistics,
        32(2), 407-499. Sections 2 and 3.1.
    """
    x, y = widen(x, y)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"x must have shape [examples, features] and y [examples], got {x.shape} and {y.shape}")
    max_moves = 3 * min(x.shape) + 8 if max_moves is None else max_moves
    check_whole("max_moves", max_moves, "[1, inf)")
    path = homotopy(x.T @ x, x.T @ y, max_moves)
    return path._replace(strengths=path.strengths / len(x))


def homotopy(gram: jax.Array, products: jax.Array, max_moves: int) -> LassoPath:
    """The minimisers of ``w' G w / 2 - q' w + strength * |w|_1`` for every strength; see ``lasso_path``."""
    first = jnp.argmax(jnp.abs(products))
    start = _Knot(jnp.max(jnp.abs(products)), jnp.zeros_like(products), jnp.zeros_like(products), first + 1)
    start = start._replace(signs=start.signs.at[first].set(jnp.sign(products[first])))

    def move_on(knot, _):
        knot = _next_knot(knot, gram, products)
        return knot, knot

    _, later = jax.lax.scan(move_on, start, length=max_moves)
    knots = jax.tree.map(lambda one, many: jnp.concatenate([one[None], many]), start, later)
    moves = jnp.where(products[first] == 0, 0, knots.move).astype(jnp.int32)
    return LassoPath(knots.correlation, knots.coefficients, moves)


class _Knot(NamedTuple):
    correlation: jax.Array  # shape (): max_j |x_j' r|, which all active features share; n times the strength
    coefficients: jax.Array  # [features]
    signs: jax.Array  # [features]: of the correlations of the active features, 0 for the others
    move: jax.Array  # shape (), the last move


def _next_knot(knot: _Knot, gram: jax.Array, products: jax.Array) -> _Knot:
    active = knot.signs != 0
    block = jnp.where(active[:, None] & active[None], gram, jnp.eye(len(gram), dtype=gram.dtype))
    factor = jax.lax.linalg.cholesky(block, symmetrize_input=False)
    half = jax.lax.linalg.triangular_solve(factor, knot.signs[:, None], left_side=True, lower=True)
    direction = jax.lax.linalg.triangular_solve(factor, half, left_side=True, lower=True, transpose_a=True)[:, 0]
    singular = jnp.any(jnp.isnan(direction))  # then the path ends here and is incomplete
    direction = jnp.where(singular, 0, direction)
    correlations = products - gram @ knot.coefficients
    slopes = gram @ direction  # how fast the correlations fall
    features = jnp.arange(len(gram))
    just_left = features == -knot.move - 1

    # the fall at which an inactive feature reaches the common correlation, except the one that just left
    def meeting(sign):
        fall = _meeting(knot.correlation, sign * correlations, sign * slopes)
        return jnp.where(active | (just_left & (sign * correlations > 0)), jnp.inf, fall)

    enters = jnp.minimum(meeting(1), meeting(-1))
    toward_zero = active & (knot.coefficients * direction < 0)
    leaves = jnp.where(toward_zero, -safe_divide(knot.coefficients, direction), jnp.inf)

    step = jnp.minimum(jnp.min(enters), jnp.min(leaves))
    # where the residual vanishes, all features meet up to rounding: the path ends without a move
    ended = knot.correlation - step <= 100 * jnp.finfo(step.dtype).eps * jnp.max(jnp.abs(products))
    step = jnp.where(ended, knot.correlation, jnp.where(singular, 0, step))
    leaver, enterer = jnp.argmin(leaves), jnp.argmin(enters)
    out = ~ended & ~singular & (leaves[leaver] <= enters[enterer])
    into = ~ended & ~singular & ~out
    coefficients = knot.coefficients + step * direction
    coefficients = jnp.where(out & (features == leaver), 0, coefficients)
    entering_sign = jnp.sign(correlations[enterer] - step * slopes[enterer])
    signs = jnp.where(out & (features == leaver), 0, knot.signs)
    signs = jnp.where(into & (features == enterer), entering_sign, signs)
    move = jnp.where(out, -leaver - 1, jnp.where(into, enterer + 1, 0))
    return _Knot(jnp.where(ended, 0, knot.correlation - step), coefficients, signs, move)


def _meeting(common: jax.Array, correlations: jax.Array, slopes: jax.Array) -> jax.Array:
    """The fall after which ``correlations - fall * slopes`` equals ``common - fall``; infinite where it never does."""
    closing = 1 - slopes
    never = closing <= jnp.finfo(closing.dtype).eps ** 0.75  # a copy of an active feature always keeps its correlation
    return jnp.where(never, jnp.inf, jnp.maximum(common - correlations, 0) / jnp.where(never, 1, closing))
