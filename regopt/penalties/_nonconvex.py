"""Nonconvex penalties that are a sum over single parameters. Unlike ``l1``, they shrink large parameters little.

Each proximal operator returns a global minimum for every step, also where its objective is not convex. If there are two
minima, it returns the one closer to 0.
"""

import jax.numpy as jnp

from regopt._core.numerics import check_range, safe_divide, safe_sqrt
from regopt._core.types import Mask, NumberOrSchedule, Penalty
from regopt.penalties._leafwise import largest, leafwise, magnitude, soft_threshold
from regopt.penalties._scheduled import takes_schedules


@takes_schedules
def mcp(strength: NumberOrSchedule = 1.0, gamma: NumberOrSchedule = 3.0, *, mask: Mask = "weights") -> Penalty:
    """``sum_i p(w_i)`` with ``p(w) = strength |w| - w**2 / (2 gamma)`` up to ``|w| = gamma strength``, then constant.

    This is the minimax concave penalty (MCP). Its proximal operator for ``step < gamma`` is firm thresholding: the
    result is 0 where ``|w| <= step strength``, w where ``|w| > gamma strength``, and linear in between. For larger
    steps it is hard thresholding at ``strength sqrt(step gamma)``.

    Args:
        strength: slope at 0, >= 0, in loss units per parameter unit; a number or a prefix tree of numbers; may be
            traced or scheduled.
        gamma: width of the concave part over the strength, > 0, in squared parameter units per loss unit; the limit at
            infinity is ``l1``; a number or a prefix tree of numbers; may be traced or scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import mcp
        >>> mcp(0.5, gamma=2.0).prox(jnp.array([0.25, -0.75, 2.0]), 1.0)
        Array([ 0. , -0.5,  2. ], dtype=float32)

    References:
        Zhang, C.-H. (2010). Nearly unbiased variable selection under minimax concave penalty. Annals of Statistics,
        38(2), 894-942. Section 2, with gamma > 1 for unit steps.
    """
    check_range("strength", strength, "[0, inf)")
    check_range("gamma", gamma, "(0, inf)")

    def value_at(w, strength, gamma):
        size = jnp.minimum(magnitude(w), gamma * strength)
        return strength * size - size * size / (2 * gamma)

    def prox_at(w, step, strength, gamma):
        size, reach = magnitude(w), step * strength
        between = safe_divide(size - reach, 1 - step / gamma)
        firm = jnp.where(size <= reach, 0, jnp.where(size <= gamma * strength, between, size))
        hard = jnp.where(size <= strength * safe_sqrt(step * gamma), 0, size)
        return jnp.sign(w) * jnp.where(step < gamma, firm, hard)

    return leafwise((strength, gamma), mask, value_at, prox_at, strength_max_at=lambda g, _: largest(g))


@takes_schedules
def scad(strength: NumberOrSchedule = 1.0, gamma: NumberOrSchedule = 3.7, *, mask: Mask = "weights") -> Penalty:
    """``sum_i p(w_i)`` with ``p(w) = strength |w|`` up to ``|w| = strength``, whose slope then falls to 0.

    This is the smoothly clipped absolute deviation (SCAD), a quadratic spline: the slope falls linearly from
    ``strength`` at ``|w| = strength`` to 0 at ``|w| = gamma strength``, beyond which p is constant. Its proximal
    operator is soft thresholding for small w, the identity for large w, and linear in between for
    ``step < gamma - 1``.

    Args:
        strength: slope at 0 and end of the linear part, >= 0; a number or a prefix tree of numbers; may be traced or
            scheduled.
        gamma: end of the concave part over the strength (a in the paper), > 1, dimensionless; a number or a prefix tree
            of numbers; may be traced or scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import scad
        >>> scad(0.5, gamma=3.0).prox(jnp.array([0.25, -0.75, 1.25, 2.0]), 1.0)
        Array([ 0.  , -0.25,  1.  ,  2.  ], dtype=float32)

    References:
        Fan, J., & Li, R. (2001). Variable selection via nonconcave penalized likelihood and its oracle properties.
        Journal of the American Statistical Association, 96(456), 1348-1360. Equations (2.7) and (2.8), with a > 2 for
        unit steps.
    """
    check_range("strength", strength, "[0, inf)")
    check_range("gamma", gamma, "(1, inf)")

    def value_at(w, strength, gamma):
        size = jnp.minimum(magnitude(w), gamma * strength)
        beyond = jnp.maximum(size - strength, 0)
        return strength * size - beyond * beyond / (2 * (gamma - 1))

    def prox_at(w, step, strength, gamma):
        size = magnitude(w)
        soft = soft_threshold(size, step * strength)
        between = safe_divide((gamma - 1) * size - step * gamma * strength, gamma - 1 - step)
        smooth = jnp.where(size <= gamma * strength, between, size)
        # beyond step = gamma - 1 the middle is concave, and soft jumps to w where both have the same objective
        jump = jnp.where(step <= gamma + 1, (gamma + 1 + step) / 2, safe_sqrt(step * (gamma + 1)))
        convex = step < gamma - 1
        start = strength * jnp.where(convex, 1 + step, jump)
        return jnp.sign(w) * jnp.where(size <= start, soft, jnp.where(convex, smooth, size))

    return leafwise((strength, gamma), mask, value_at, prox_at, strength_max_at=lambda g, _: largest(g))


@takes_schedules
def log_sum(strength: NumberOrSchedule = 1.0, eps: NumberOrSchedule = 0.1, *, mask: Mask = "weights") -> Penalty:
    """``strength * sum_i log(1 + |w_i| / eps)``: between ``l1`` (large eps) and ``l0`` (small eps).

    Its proximal operator returns 0 or the larger root of ``(u - |w|)(u + eps) + step strength = 0``, whichever has the
    smaller objective.

    Args:
        strength: factor of the penalty, >= 0, in loss units; a number or a prefix tree of numbers; may be traced or
            scheduled.
        eps: scale of the parameters, > 0, in parameter units; a number or a prefix tree of numbers; may be traced or
            scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import log_sum
        >>> log_sum(1.25, eps=1.0).prox(jnp.array([0.25, -2.0]), 1.0)
        Array([ 0. , -1.5], dtype=float32)

    References:
        Candes, E. J., Wakin, M. B., & Boyd, S. P. (2008). Enhancing sparsity by reweighted l1 minimization. Journal of
        Fourier Analysis and Applications, 14, 877-905. Section 2.2.
    """
    check_range("strength", strength, "[0, inf)")
    check_range("eps", eps, "(0, inf)")

    def value_at(w, strength, eps):
        return strength * jnp.log1p(magnitude(w) / eps)

    def prox_at(w, step, strength, eps):
        size, reach = magnitude(w), step * strength
        gap = (size + eps) ** 2 - 4 * reach
        root = safe_sqrt(jnp.maximum(gap, 0))
        # the second form of the same root where the first would cancel
        small = size < eps
        below = safe_divide(2 * (size * eps - reach), jnp.where(small, eps - size + root, 1))
        found = jnp.maximum(jnp.where(small, below, (size - eps + root) / 2), 0)
        gain = size * found - found * found / 2 - reach * jnp.log1p(found / eps)  # over the objective at 0
        convex = reach <= eps * eps
        return jnp.sign(w) * jnp.where((gap >= 0) & (convex | (gain > 0)), found, 0)

    return leafwise((strength, eps), mask, value_at, prox_at, strength_max_at=lambda g, eps: largest(eps * g))


@takes_schedules
def l0(strength: NumberOrSchedule = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength * |w|_0``: the strength times the number of parameters that are not 0.

    Its gradient is 0. Its proximal operator is hard thresholding: 0 where ``|w| <= sqrt(2 step strength)``, else w.

    Args:
        strength: factor of the penalty, >= 0, in loss units; a number or a prefix tree of numbers; may be traced or
            scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete strength is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l0
        >>> l0(0.5).prox(jnp.array([0.75, -1.25]), 1.0)
        Array([ 0.  , -1.25], dtype=float32)

    References:
        Blumensath, T., & Davies, M. E. (2008). Iterative thresholding for sparse approximations. Journal of Fourier
        Analysis and Applications, 14, 629-654. Section 2.
    """
    check_range("strength", strength, "[0, inf)")

    def value_at(w, strength):
        return jnp.where(w == 0, 0, strength)

    def prox_at(w, step, strength):
        return jnp.where(jnp.abs(w) <= safe_sqrt(2 * step * strength), 0, w)

    return leafwise((strength,), mask, value_at, prox_at)
