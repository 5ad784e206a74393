"""Penalties."""

from collections.abc import Callable

import jax

from regopt import penalties
from regopt._core.types import Number, Penalty
from regopt.testing._row import PROX, Numbers, ProxTraits, Row

ENTRIES, GROUPS, MATRICES = "entry by entry", "groups and norms", "matrices"
COUPLED, ACTIVATIONS, SUMS = "between parameters", "activations", "sums"
NOT_CONVEX = ProxTraits(convex=False)
SPECTRAL = ProxTraits(odd=False, keeps_zeros=False, steps_by_entry=False)  # a zero among others does not stay 0
STRENGTH: Numbers = {"strength": (0.3, 1.7)}
RATIO: Numbers = {**STRENGTH, "l1_ratio": (0.3, 0.9)}
NONE: Numbers = {"strength": (0.0,)}
RATIO_ENDS: Numbers = {**NONE, "l1_ratio": (0.0, 1.0)}
TO_A_POINT = ProxTraits(odd=False, keeps_zeros=False)
SET = ProxTraits(odd=False, finite=False)


def flipped(w: jax.Array) -> jax.Array:
    """The rows backwards and the columns in another order."""
    return w[::-1, ::-1]


def tied(strength) -> Penalty:
    """The penalty that ties the parameters to half of them, as a function of the parameters alone."""
    penalty = penalties.tie("first", "second", strength)

    def pair(params):
        return {"first": params, "second": jax.tree.map(lambda w: w / 2, params)}

    return penalty._replace(
        value=lambda params: penalty.value(pair(params)),
        prox=lambda params, step: penalty.prox(pair(params), step)["first"],
    )


def of_activations(penalize) -> Callable[..., Penalty]:
    """The penalty of activations, with the parameters in their place."""
    return lambda **numbers: Penalty(lambda params: penalize(params, **numbers), None, lambda params: params)


def sparse_groups(entries, groups, squares) -> Penalty:
    """A sum of three penalties, whose prox combines all of them."""
    return penalties.total(penalties.l2(squares), penalties.group_lasso(groups), penalties.l1(entries))


def doubled(**numbers: Number) -> dict[str, Number]:
    """The numbers with twice the strength."""
    return numbers | {"strength": 2 * numbers["strength"]}


def same(**numbers: Number) -> dict[str, Number]:
    """The same numbers."""
    return numbers


def row(
    factory, group: str, numbers: Numbers = STRENGTH, ends: Numbers = NONE, prox: ProxTraits | None = PROX, build=None
) -> Row:
    """The row of a penalty that has a strength alone, unless told otherwise."""
    return Row(factory, "penalty", numbers, ends, build, group=group, prox=prox)


ROWS = [
    row(penalties.l1, ENTRIES, prox=ProxTraits(permute=flipped, scaled=doubled)),
    row(penalties.l2, ENTRIES, prox=ProxTraits(permute=flipped, scaled=same)),
    row(penalties.elastic_net, ENTRIES, RATIO, RATIO_ENDS),
    row(penalties.huber, ENTRIES, {**STRENGTH, "delta": (0.4, 1.3)}),
    # a gamma below the step of 0.5, where the prox jumps, too
    row(penalties.mcp, ENTRIES, {**STRENGTH, "gamma": (1.5, 3.0, 0.4)}, prox=NOT_CONVEX),
    row(penalties.scad, ENTRIES, {**STRENGTH, "gamma": (1.2, 3.7)}, {**NONE, "gamma": (1.5,)}, NOT_CONVEX),
    row(penalties.log_sum, ENTRIES, {**STRENGTH, "eps": (0.2, 2.0)}, prox=NOT_CONVEX),
    row(penalties.l0, ENTRIES, prox=NOT_CONVEX),
    row(penalties.box, ENTRIES, {"lower": (-0.3, 0.1), "upper": (0.4, 0.7)}, {}, SET._replace(keeps_zeros=False)),
    row(penalties.non_negative, ENTRIES, {}, {}, SET),
    row(penalties.group_lasso, GROUPS, prox=ProxTraits(permute=flipped, scaled=doubled)),
    row(penalties.sparse_group_lasso, GROUPS, RATIO, RATIO_ENDS, ProxTraits(permute=flipped)),
    row(penalties.exclusive_lasso, GROUPS, prox=ProxTraits(permute=flipped, scaled=same)),
    row(penalties.l2_norm, GROUPS, prox=ProxTraits(permute=flipped, scaled=doubled)),
    # the pool of an entry holds others, so that it has no prox with steps by entry
    row(penalties.sorted_l1, GROUPS, RATIO, RATIO_ENDS, ProxTraits(permute=flipped, steps_by_entry=False)),
    row(penalties.nuclear, MATRICES, prox=SPECTRAL),
    row(penalties.spectral_norm, MATRICES, prox=SPECTRAL),
    row(penalties.orthogonality, MATRICES),
    row(penalties.tie, COUPLED, prox=None, build=tied),
    row(penalties.l2_sp, COUPLED, {"reference": (0.4, -1.2), **STRENGTH}, prox=TO_A_POINT)._replace(
        refused={"reference": ()}
    ),
    # neighbours of a zero move it; a tie between pieces is decided by rounding, which has a sign
    row(penalties.total_variation, COUPLED, prox=ProxTraits(odd=False, keeps_zeros=False, scaled=doubled)),
    row(penalties.activity_l1, ACTIVATIONS, build=of_activations(penalties.activity_l1)),
    row(
        penalties.kl_sparsity,
        ACTIVATIONS,
        {"target": (0.05, 0.3), **STRENGTH, "eps": (1e-4, 0.1)},
        build=of_activations(penalties.kl_sparsity),
    ),
    row(
        penalties.total,
        SUMS,
        {"entries": (0.1, 0.4), "groups": (0.3, 0.8), "squares": (0.2, 1.5)},
        {"entries": (0.0,), "groups": (0.0,), "squares": (0.0,)},
        build=sparse_groups,
    ),
    row(
        penalties.scaled,
        SUMS,
        {"factor": (0.3, 1.7)},
        {"factor": (0.0,)},
        build=lambda factor: penalties.scaled(penalties.l1(0.6), factor),
    ),
]
