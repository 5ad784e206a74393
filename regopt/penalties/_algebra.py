"""Sums and multiples of penalties.

The proximal operator of a sum is known in three cases: the penalties act on different parameters, all but one of them
are squares (``l2``, ``l2_sp``), or they are one of the pairs listed in ``_AFTER``. Other sums have a value and a
gradient only.
"""

from functools import reduce

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.checks import check_penalty
from regopt._core.numerics import as_float, check_number, like, safe_divide, widen
from regopt._core.placing import gathered
from regopt._core.types import Number, NumberTree, Penalty, ScheduledNumber, Tree
from regopt.penalties._leafwise import CONE, ENTRIES, FUSED, GROUPS, SQUARE, WHOLE
from regopt.penalties._scheduled import takes_schedules

# The stages that may follow a stage in the prox of a sum. The second prox must preserve the subgradients of the first
# penalty: after FUSED it keeps the order of all entries (with one step for all of them), after CONE and ENTRIES it
# keeps zeros and signs, and after GROUPS it scales each group as a whole.
_AFTER: dict[int | None, set[int]] = {
    FUSED: {CONE, ENTRIES, WHOLE},
    CONE: {CONE, ENTRIES, GROUPS, WHOLE},
    ENTRIES: {ENTRIES, GROUPS, WHOLE},
    GROUPS: {WHOLE},
}
_AFTER_BY_COORDINATE: dict[int | None, set[int]] = {stage: _AFTER[stage] for stage in (CONE, ENTRIES)}


@takes_schedules
def total(*penalties: Penalty) -> Penalty:
    """``sum_k penalty_k(w)``, with a proximal operator where it is known.

    ``l2`` and ``l2_sp`` change the point and the step of the other proximal operator, so they can be combined with any
    penalty. For parameters that several of the other penalties act on, the proximal operators of ``non_negative``,
    ``l1``, ``group_lasso`` and ``l2_norm`` are applied in this order; ``total_variation`` comes before all of these but
    ``group_lasso``, with which it cannot be combined. The sparse group lasso is ``total(l1(a), group_lasso(b))`` and
    the fused lasso is ``total(total_variation(a), l1(b))``.

    Args:
        *penalties: at least one penalty. A penalty that is itself a sum is treated as a single penalty.

    Returns:
        The penalty, whose mask is the union of the masks. ``prox`` is None where one of the penalties has none, and
        raises when it is called and the proximal operator of the sum is not known. ``strength_max`` is that of the one
        penalty that is not a square; None where there are several or none.

    Raises:
        ValueError: no penalty is given, or a list of them, or (when ``prox`` is called) two penalties that cannot be
            combined act on the same leaf.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l1, l2, total
        >>> total(l1(0.5), l2(1.0)).prox(jnp.array([2.5, -0.25]), 1.0)
        Array([1., 0.], dtype=float32)

    References:
        Yu, Y.-L. (2013). On decomposing the proximal map. NeurIPS. Theorem 1 and section 4.

        Friedman, J., Hastie, T., Hoefling, H., & Tibshirani, R. (2007). Pathwise coordinate optimization. Annals of
        Applied Statistics, 1(2), 302-332. Proposition 1 (fused lasso).

        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 2.2 (squares).
    """
    if not penalties:
        raise ValueError("total needs at least one penalty")
    if isinstance(penalties[0], list | tuple) and not isinstance(penalties[0], Penalty):
        raise ValueError("total takes its penalties one by one, got a list: write total(*penalties)")
    for each in penalties:
        check_penalty("a penalty of total", each)
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

    def terms(params):
        parts = [p.terms(params) for p in penalties if p.terms is not None]
        return [tuple(term for terms in leaf for term in terms) for leaf in zip(*parts, strict=True)]

    return Penalty(
        value,
        prox if all(p.has_prox for p in penalties) else None,
        mask,
        strength_max=strength_max if len(others) == 1 and others[0].has_strength_max else None,
        terms=terms if all(p.terms is not None for p in penalties) else None,
    )


@takes_schedules
def scaled(penalty: Penalty, factor: ScheduledNumber = 1.0) -> Penalty:
    """``factor * penalty(w)``: a multiple of a penalty, with its proximal operator.

    Args:
        penalty: any penalty.
        factor: multiple, >= 0, dimensionless; may be traced or scheduled.

    Returns:
        The penalty. It has a proximal operator and a ``strength_max`` where the given penalty has them.

    Raises:
        ValueError: a concrete factor is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l1, scaled
        >>> scaled(l1(0.25), 2.0).prox(jnp.array([1.5]), 1.0)
        Array([1.], dtype=float32)

    References:
        Parikh, N., & Boyd, S. (2014). Proximal algorithms. Foundations and Trends in Optimization, 1(3), 127-239.
        Section 2.2.
    """
    check_penalty("penalty", penalty)
    check_number("factor", factor, "[0, inf)")

    def scaled_value(params):
        value = penalty.value(params)
        return like(factor, value) * value

    def scaled_prox(params, step):
        return penalty.prox(params, trees.lift_wide(jnp.multiply, step, numbers=(factor,)))

    def scaled_strength_max(grad_at_zero):
        largest = penalty.strength_max(grad_at_zero)
        by = like(factor, largest)
        return jnp.where((by == 0) & (largest > 0), jnp.inf, safe_divide(largest, by))

    def scaled_linear_minimum(grad, level):
        # times a positive factor, the minimum over value <= level / factor; a factor of 0 leaves the linear part alone
        by = as_float(factor)
        positive = jnp.where(by > 0, by, 1)
        minimum = positive * penalty.linear_minimum(
            trees.lift_wide(lambda g, by: g / by, grad, numbers=(positive,)), level / positive
        )
        flat = reduce(jnp.logical_and, [jnp.all(g == 0) for g in jax.tree.leaves(grad)], jnp.array(True))
        return jnp.where(by > 0, minimum, jnp.where(flat, 0, -jnp.inf))

    def scaled_terms(params):
        assert penalty.terms is not None
        return [
            tuple(t._replace(strength=_times(factor, t.strength)) for t in terms) for terms in penalty.terms(params)
        ]

    return penalty._replace(
        value=scaled_value,
        prox=scaled_prox if penalty.has_prox else None,
        strength_max=scaled_strength_max if penalty.has_strength_max else None,
        linear_minimum=scaled_linear_minimum if penalty.has_linear_minimum else None,
        terms=None if penalty.terms is None else scaled_terms,
    )


def _times(factor: ScheduledNumber, strength: Number) -> jax.Array:
    return jnp.multiply(*widen(factor, strength))


def _absorb(square: Penalty, params: Tree, step: NumberTree) -> tuple[Tree, NumberTree]:
    """The point and the step at which the prox of the other penalties is the prox of their sum with a square.

    ``(u - w)**2 / (2 s) + c (u - w0)**2 / 2`` equals ``(u - w')**2 / (2 s')`` up to a constant. Here ``w'`` is the prox
    of the square, and ``s'`` is the step times the slope ``1 / (1 + s c)`` of that prox. A leaf with one step and one
    strength keeps one step.
    """
    point, slopes = jax.jvp(lambda w: square.prox(w, step), (params,), (jax.tree.map(jnp.ones_like, params),))

    one = jax.tree.unflatten(jax.tree.structure(params), _one_slope(square, params))

    def shorter(s, slope, one):
        if one and not jnp.ndim(s):
            slope = jnp.ravel(gathered(slope))[0] if slope.size else jnp.ones((), slope.dtype)
        return like(s, slope) * slope

    return point, jax.tree.map(shorter, trees.by_leaf(step, params, "step"), slopes, one)


def _one_slope(square: Penalty, params: Tree) -> list[bool]:
    """Whether the prox of a square has one slope for a whole leaf, for each leaf: not where entries differ."""
    return [not differ for differ in _entries_differ(square, params)]


def _entries_differ(penalty: Penalty, params: Tree) -> list[bool]:
    """Whether a penalty has another strength for each entry or group of a leaf, for each leaf."""
    if penalty.terms is None:
        return [False] * len(jax.tree.leaves(params))
    return [any(jnp.ndim(term.strength) for term in terms) for terms in penalty.terms(params)]


def _check_known(penalties: list[Penalty], params: Tree, step: NumberTree) -> None:
    masks = [jax.tree.leaves(p.mask(params)) for p in penalties]
    steps = jax.tree.leaves(trees.by_leaf(step, params, "step"))
    for j, second in enumerate(penalties):
        for i, first in enumerate(penalties[:j]):
            both = [a and b for a, b in zip(masks[i], masks[j], strict=True)]
            common = [s for s, on in zip(steps, both, strict=True) if on]
            by_coordinate = any(jnp.ndim(s) for s in common)
            # pieces of total variation stay pieces only where the second penalty moves equal entries alike
            differ = [on and d for on, d in zip(both, _entries_differ(second, params), strict=True)]
            by_strength = first.stage == FUSED and any(differ)
            after = (_AFTER_BY_COORDINATE if by_coordinate or by_strength else _AFTER).get(first.stage, ())
            if common and second.stage not in after:
                kind = " for a step for each entry" if by_coordinate else ""
                kind = " for a strength for each entry" if by_strength else kind
                raise ValueError(
                    f"the prox of this sum of penalties on the same parameters is not known{kind}: give them masks "
                    'without common leaves, or use how="gradient", which takes any penalty'
                )
