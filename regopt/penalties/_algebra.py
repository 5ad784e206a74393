"""Sums and multiples of penalties.

The prox of a sum is known where the penalties act on different parameters, where all but one are squares, and for the
pairs of ``_AFTER``. Elsewhere a sum is for gradients.
"""

from functools import reduce

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import check_range, like, safe_divide, widen
from regopt._core.types import Number, NumberTree, Penalty, Tree
from regopt.penalties._leafwise import CONE, ENTRIES, FUSED, GROUPS, SQUARE, WHOLE

# What may follow a stage in the prox of a sum: a map that changes no subgradient of the first penalty. After FUSED, one
# that keeps the order of all entries (one step for all); after CONE and ENTRIES, one that keeps zeros and signs; after
# GROUPS, one that scales a group as a whole.
_AFTER: dict[int | None, set[int]] = {
    FUSED: {CONE, ENTRIES, WHOLE},
    CONE: {CONE, ENTRIES, GROUPS, WHOLE},
    ENTRIES: {ENTRIES, GROUPS, WHOLE},
    GROUPS: {WHOLE},
}
_AFTER_BY_COORDINATE: dict[int | None, set[int]] = {stage: _AFTER[stage] for stage in (CONE, ENTRIES)}


def total(*penalties: Penalty) -> Penalty:
    """The sum of the penalties; with a prox where that is known.

    ``l2`` and ``l2_sp`` are taken into the point and the step of the others' prox, so they go with any penalty. On
    parameters that two of the others penalise, ``non_negative``, ``l1``, ``group_lasso`` and ``l2_norm`` (and
    ``total_variation``, but for groups) go one after the other: the sparse group lasso is
    ``total(l1(a), group_lasso(b))``, the fused lasso ``total(total_variation(a), l1(b))``.

    Args:
        *penalties: at least one; other sums are not looked into.

    Returns:
        The penalty; its mask is the union. ``prox`` is None where one of them has none, and raises at a use where that
        of the sum is not known. ``strength_max``, where all but one are squares, is that one's.

    Raises:
        ValueError: no penalty is given; at a use of the prox, two penalties that do not go together penalise one leaf.

    References: Yu (2013), Theorem 1 and section 4; Friedman et al. (2007), Proposition 1, for the fused lasso; Parikh
    & Boyd (2014), section 2.2, for the square.

    >>> from regopt.penalties import l1, l2
    >>> total(l1(0.5), l2(1.0)).prox(jnp.array([2.5, -0.25]), 1.0)
    Array([1., 0.], dtype=float32)
    """
    if not penalties:
        raise ValueError("total needs at least one penalty")
    squares = [p for p in penalties if p.stage == SQUARE]
    others = sorted((p for p in penalties if p.stage != SQUARE), key=lambda p: -1 if p.stage is None else p.stage)

    def value(params):
        return reduce(lambda a, b: jnp.add(*widen(a, b)), [p.value(params) for p in penalties])

    def mask(params):
        return jax.tree.map(lambda *on: any(on), *(p.mask(params) for p in penalties))

    def prox(params, step):
        wide = trees.lift_wide(lambda w: w, params)
        for square in squares:
            wide, step = _absorb(square, wide, step)
        _check_known(others, params, step)
        for p in others:
            wide = p.prox(wide, step)
        return trees.lift(lambda _, w: w, params, wide)

    def strength_max(grad_at_zero):
        zeros = jax.tree.map(jnp.zeros_like, grad_at_zero)
        slopes = [jax.grad(square.value)(zeros) for square in squares]
        return others[0].strength_max(jax.tree.map(lambda *terms: reduce(jnp.add, terms), grad_at_zero, *slopes))

    return Penalty(
        value,
        prox if all(p.has_prox for p in penalties) else None,
        mask,
        strength_max=strength_max if len(others) == 1 and others[0].has_strength_max else None,
    )


def scaled(penalty: Penalty, factor: Number = 1.0) -> Penalty:
    """``factor`` times the penalty, value and prox.

    Args:
        penalty: any.
        factor: >= 0, dimensionless; may be traced.

    Returns:
        The penalty, with what the first had.

    Raises:
        ValueError: a concrete factor is negative or NaN.

    References: Parikh & Boyd (2014), section 2.2.

    >>> from regopt.penalties import l1
    >>> scaled(l1(0.25), 2.0).prox(jnp.array([1.5]), 1.0)
    Array([1.], dtype=float32)
    """
    check_range("factor", factor, "[0, inf)")

    def scaled_value(params):
        value = penalty.value(params)
        return like(factor, value) * value

    def scaled_prox(params, step):
        return penalty.prox(params, trees.lift_wide(jnp.multiply, step, numbers=(factor,)))

    def scaled_strength_max(grad_at_zero):
        largest = penalty.strength_max(grad_at_zero)
        by = like(factor, largest)
        return jnp.where((by == 0) & (largest > 0), jnp.inf, safe_divide(largest, by))

    return penalty._replace(
        value=scaled_value,
        prox=scaled_prox if penalty.has_prox else None,
        strength_max=scaled_strength_max if penalty.has_strength_max else None,
    )


def _absorb(square: Penalty, params: Tree, step: NumberTree) -> tuple[Tree, NumberTree]:
    """The point and the step from which the others' prox is that of their sum with the square.

    ``(u - w)**2 / (2 s) + c (u - w0)**2 / 2`` is ``(u - w')**2 / (2 s')`` and a constant, with ``w'`` the prox of the
    square and ``s'`` the step times its slope, ``1 / (1 + s c)``, one for a leaf where the step is.
    """
    point, slopes = jax.jvp(lambda w: square.prox(w, step), (params,), (jax.tree.map(jnp.ones_like, params),))

    def shorter(s, slope):
        if not jnp.ndim(s):
            slope = jnp.ravel(slope)[0] if slope.size else jnp.ones((), slope.dtype)
        return like(s, slope) * slope

    return point, jax.tree.map(shorter, trees.by_leaf(step, params), slopes)


def _check_known(penalties: list[Penalty], params: Tree, step: NumberTree) -> None:
    masks = [jax.tree.leaves(p.mask(params)) for p in penalties]
    steps = jax.tree.leaves(trees.by_leaf(step, params))
    for j, second in enumerate(penalties):
        for i, first in enumerate(penalties[:j]):
            common = [s for s, a, b in zip(steps, masks[i], masks[j], strict=True) if a and b]
            by_coordinate = any(jnp.ndim(s) for s in common)
            after = (_AFTER_BY_COORDINATE if by_coordinate else _AFTER).get(first.stage, ())
            if common and second.stage not in after:
                kind = " for a step for each entry" if by_coordinate else ""
                raise ValueError(
                    f"the prox of this sum of penalties on the same parameters is not known{kind}: give them masks "
                    'without common leaves, or use how="gradient", which takes any penalty'
                )
