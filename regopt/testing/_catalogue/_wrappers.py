"""Transformations around an optimizer."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import jax.numpy as jnp
import optax

from regopt import optimizers, penalties, regularization, transforms
from regopt._core.types import Number, Penalty
from regopt.testing._row import Numbers, Row

AROUND = "around an optimizer"
RATE: Numbers = {"learning_rate": (0.02, 0.3)}
NO_RATE: Numbers = {"learning_rate": (0.0,)}
How: TypeAlias = Literal["gradient", "decoupled", "proximal"]
STRENGTH: Numbers = {**RATE, "strength": (0.01, 0.4)}
NO_STRENGTH: Numbers = {**NO_RATE, "strength": (0.0,)}
PLATEAU: Numbers = {
    "factor": (0.5, 0.2),
    "patience": (2.0, 3.0),
    "rtol": (0.05, 0.4),
    "atol": (0.04, 0.5),
    "cooldown": (1.0, 3.0),
    "accumulation_size": (2.0, 3.0),
    "min_scale": (0.3, 0.05),
}
PLATEAU_ENDS: Numbers = {
    "factor": (1.0,),
    "patience": (1.0,),
    "rtol": (0.0, 1.0),
    "atol": (0.0,),
    "cooldown": (0.0,),
    "accumulation_size": (1.0,),
    "min_scale": (0.0, 1.0),
}


def fed(transform: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """The transformation with a metric that falls, stays and falls again, eight values for each update."""

    def init(params):
        return jnp.zeros((), jnp.int32), transform.init(params)

    def update(updates, state, params=None, **_extra_args):
        place, inner = state
        metric = jnp.array([3.0, 2.5, 2.4, 1.5, 1.45, 1.4, 1.6, 1.3] + [1.35, 1.25] * 8 + [0.5, 0.6] * 4)
        for i in range(8):
            updates, inner = transform.update(updates, inner, params, value=metric[8 * place + i])
        return updates, (place + 1, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def regularized(variant: str, penalty: Callable[[Number], Penalty], how: How) -> Row:
    """Adam with a penalty of some strength, applied in one of the ways."""

    def build(learning_rate: Number, strength: Number) -> optax.GradientTransformationExtraArgs:
        rate = learning_rate if how == "decoupled" else None
        return regularization.regularize(optimizers.adam(learning_rate), penalty(strength), how, learning_rate=rate)

    return Row(regularization.regularize, "transform", STRENGTH, NO_STRENGTH, build, variant=variant, group=AROUND)


def elastic_net(strength: Number) -> Penalty:
    """The elastic net of which half is the L1 norm and half the square."""
    return penalties.elastic_net(strength, 0.5)


ROWS = [
    Row(
        transforms.guard,
        "transform",
        {"max_norm": (0.7, 1.5), **RATE},
        {"max_norm": (0.0,), **NO_RATE},
        build=lambda max_norm, learning_rate: transforms.guard(optimizers.adam(learning_rate), max_norm),
        group=AROUND,
        suite={"learning_rate": 1e-1, "max_norm": 10.0},
    ),
    Row(
        transforms.sam,
        "transform",
        {"rho": (0.05, 0.3), **RATE},
        {"rho": (0.0,), **NO_RATE},
        build=lambda rho, learning_rate: transforms.sam(optimizers.sgd(learning_rate), rho),
        group=AROUND,
        suite={"learning_rate": 1e-3, "rho": 1e-3},
    ),
    Row(
        transforms.sam,
        "transform",
        {"rho": (0.05, 0.3), **RATE},
        {"rho": (0.0,), **NO_RATE},
        build=lambda rho, learning_rate: transforms.sam(optimizers.adam(learning_rate), rho),
        variant="of adam",
        group=AROUND,
    ),
    Row(
        transforms.lookahead,
        "transform",
        {"sync_period": (2.0, 3.0), "slow_step_size": (0.4, 0.7), **RATE},
        {"sync_period": (1.0, 2.5), "slow_step_size": (0.0, 1.0), **NO_RATE},
        build=lambda sync_period, slow_step_size, learning_rate: transforms.lookahead(
            optimizers.adam(learning_rate), sync_period, slow_step_size
        ),
        group=AROUND,
    ),
    Row(
        transforms.lookahead,
        "transform",
        {"sync_period": (2.0, 3.0), "slow_step_size": (0.5, 0.7), **RATE},
        {"sync_period": (1.0, 2.5), "slow_step_size": (0.0, 1.0), **NO_RATE},
        build=lambda sync_period, slow_step_size, learning_rate: transforms.lookahead(
            optimizers.sgd(learning_rate), sync_period, slow_step_size
        ),
        variant="of sgd",
        group=AROUND,
        suite={"learning_rate": 1e-3, "sync_period": 5, "slow_step_size": 0.5},
    ),
    Row(
        transforms.average_params,
        "transform",
        RATE,
        NO_RATE,
        build=lambda learning_rate: transforms.average_params(optimizers.adam(learning_rate)),
        group=AROUND,
    ),
    Row(
        transforms.average_params,
        "transform",
        {"decay": (0.8, 0.99), **RATE},
        {"decay": (0.0,), **NO_RATE},
        build=lambda decay, learning_rate: transforms.average_params(optimizers.adam(learning_rate), decay),
        variant="exponential",
        group=AROUND,
        suite={"learning_rate": 1e-1, "decay": 0.9},
    ),
    Row(
        transforms.accumulate,
        "transform",
        {"every": (2.0, 3.0), **RATE},
        {"every": (1.0, 2.5), **NO_RATE},
        build=lambda every, learning_rate: transforms.accumulate(optimizers.adam(learning_rate), every),
        group=AROUND,
    ),
    Row(
        transforms.accumulate,
        "transform",
        {"every": (2.0, 3.0), **RATE},
        {"every": (1.0, 2.5), **NO_RATE},
        build=lambda every, learning_rate: transforms.accumulate(optimizers.sgd(learning_rate), every),
        variant="of sgd",
        group=AROUND,
        suite={"learning_rate": 1e-3, "every": 2},
    ),
    Row(
        regularization.regularize,
        "transform",
        {"strength": (0.4, 0.05), **RATE},
        NO_STRENGTH,
        build=lambda strength, learning_rate: optax.chain(
            regularization.regularize(optimizers.heavy_ball(0.1, 0.5), penalties.l2(strength)),
            regularization.regularize(
                optimizers.sgd(0.3), penalties.l1(strength), "decoupled", learning_rate=learning_rate
            ),
        ),
        variant="twice in a chain",
        descends=False,
    ),
    regularized("l2 in the gradient", penalties.l2, "gradient"),
    regularized("l2 decoupled", penalties.l2, "decoupled"),
    regularized("prox of l1", penalties.l1, "proximal"),
    regularized("prox of elastic net", elastic_net, "proximal"),
    regularized("prox of group lasso", penalties.group_lasso, "proximal"),
    Row(
        regularization.regularize,
        "transform",
        {"lower": (-1.5, -0.3), "upper": (0.4, 0.7), **RATE},
        NO_RATE,
        build=lambda lower, upper, learning_rate: regularization.regularize(
            optimizers.adam(learning_rate), penalties.box(lower, upper), "proximal"
        ),
        variant="prox of a box",
        group=AROUND,
    ),
    Row(
        regularization.add_penalty_gradient,
        "transform",
        {"scale": (-0.3, 0.2), "strength": (0.4, 0.05)},
        {"scale": (0.0,), "strength": (0.0,)},
        build=lambda scale, strength: regularization.add_penalty_gradient(penalties.l1(strength), scale),
        updates="incoming",
    ),
    Row(
        transforms.reduce_on_plateau,
        "transform",
        PLATEAU,
        PLATEAU_ENDS,
        build=lambda **numbers: fed(transforms.reduce_on_plateau(**numbers)),
        updates="incoming",
        group=AROUND,
    ),
]
