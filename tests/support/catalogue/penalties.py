"""Penalties."""

from collections.abc import Callable

import jax

from regopt import penalties
from regopt._core.types import Penalty
from support.catalogue.row import Row

STRENGTH = (0.3, 1.7)


def box_at_its_own_points(lower, upper) -> Penalty:
    """The box, its value taken at the projection, where it is finite."""
    penalty = penalties.box(lower, upper)
    return penalty._replace(value=lambda params: penalty.value(penalty.prox(params, 1.0)))


def tied(strength) -> Penalty:
    """Of the parameters and half of them, seen from the parameters."""
    penalty = penalties.tie("first", "second", strength)

    def pair(params):
        return {"first": params, "second": jax.tree.map(lambda w: w / 2, params)}

    return penalty._replace(
        value=lambda params: penalty.value(pair(params)),
        prox=lambda params, step: penalty.prox(pair(params), step)["first"],
    )


def of_activations(penalize) -> Callable[..., Penalty]:
    """The parameters as activations."""
    return lambda **numbers: Penalty(lambda params: penalize(params, **numbers), None, lambda params: params)


def sparse_groups(entries, groups, squares) -> Penalty:
    """A sum with everything that a prox of a sum has."""
    return penalties.total(penalties.l2(squares), penalties.group_lasso(groups), penalties.l1(entries))


ROWS = [
    Row(penalties.l1, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.l2, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(
        penalties.elastic_net,
        "penalty",
        {"strength": STRENGTH, "l1_ratio": (0.3, 0.9)},
        {"strength": (0.0,), "l1_ratio": (0.0, 1.0)},
    ),
    Row(penalties.huber, "penalty", {"strength": STRENGTH, "delta": (0.4, 1.3)}, {"strength": (0.0,)}),
    # a gamma below the step of 0.5, where the prox jumps, too
    Row(penalties.mcp, "penalty", {"strength": STRENGTH, "gamma": (1.5, 3.0, 0.4)}, {"strength": (0.0,)}),
    Row(penalties.scad, "penalty", {"strength": STRENGTH, "gamma": (1.2, 3.7)}, {"strength": (0.0,), "gamma": (1.5,)}),
    Row(penalties.log_sum, "penalty", {"strength": STRENGTH, "eps": (0.2, 2.0)}, {"strength": (0.0,)}),
    Row(penalties.l0, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.box, "penalty", {"lower": (-0.3, 0.1), "upper": (0.4, 0.7)}, {}, build=box_at_its_own_points),
    Row(penalties.non_negative, "penalty", {}),
    Row(penalties.l2_norm, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.group_lasso, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(
        penalties.sparse_group_lasso,
        "penalty",
        {"strength": STRENGTH, "l1_ratio": (0.3, 0.9)},
        {"strength": (0.0,), "l1_ratio": (0.0, 1.0)},
    ),
    Row(penalties.exclusive_lasso, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.nuclear, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.spectral_norm, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.orthogonality, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.total_variation, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}),
    Row(penalties.tie, "penalty", {"strength": STRENGTH}, {"strength": (0.0,)}, build=tied),
    Row(penalties.l2_sp, "penalty", {"reference": (0.4, -1.2), "strength": STRENGTH}, {"strength": (0.0,)}),
    Row(
        penalties.activity_l1,
        "penalty",
        {"strength": STRENGTH},
        {"strength": (0.0,)},
        build=of_activations(penalties.activity_l1),
    ),
    Row(
        penalties.kl_sparsity,
        "penalty",
        {"target": (0.05, 0.3), "strength": STRENGTH, "eps": (1e-4, 0.1)},
        {"strength": (0.0,)},
        build=of_activations(penalties.kl_sparsity),
    ),
    Row(
        penalties.total,
        "penalty",
        {"entries": (0.1, 0.4), "groups": (0.3, 0.8), "squares": (0.2, 1.5)},
        {"entries": (0.0,), "groups": (0.0,), "squares": (0.0,)},
        build=sparse_groups,
    ),
    Row(
        penalties.scaled,
        "penalty",
        {"factor": STRENGTH},
        {"factor": (0.0,)},
        build=lambda factor: penalties.scaled(penalties.l1(0.6), factor),
    ),
]
