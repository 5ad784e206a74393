"""Transformations around an optimizer."""

from collections.abc import Callable, Mapping
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


GUARDED = {"learning_rate": 1e-1, "max_norm": 10.0}
SLOW = {"learning_rate": 1e-3}
AHEAD: Numbers = {"sync_period": (1.0, 2.5), "slow_step_size": (0.0, 1.0)}
EVERY: Numbers = {"every": (1.0, 2.5)}


def around(
    factory, optimizer, numbers: Numbers, ends: Numbers, variant: str = "", suite: Mapping[str, float] | None = None
) -> Row:
    """The row of a transformation around an optimizer, with the optimizer's learning rate among its numbers."""

    def build(learning_rate: Number, **own: Number) -> optax.GradientTransformationExtraArgs:
        return factory(optimizer(learning_rate), **own)

    numbers, ends = {**numbers, **RATE}, {**ends, **NO_RATE}
    return Row(factory, "transform", numbers, ends, build, variant=variant, group=AROUND, suite=suite)


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
    around(transforms.guard, optimizers.adam, {"max_norm": (0.7, 1.5)}, {"max_norm": (0.0,)}, suite=GUARDED),
    around(transforms.sam, optimizers.sgd, {"rho": (0.05, 0.3)}, {"rho": (0.0,)}, suite={**SLOW, "rho": 1e-3}),
    around(transforms.sam, optimizers.adam, {"rho": (0.05, 0.3)}, {"rho": (0.0,)}, variant="of adam"),
    around(transforms.lookahead, optimizers.adam, {"sync_period": (2.0, 3.0), "slow_step_size": (0.4, 0.7)}, AHEAD),
    around(
        transforms.lookahead,
        optimizers.sgd,
        {"sync_period": (2.0, 3.0), "slow_step_size": (0.5, 0.7)},
        AHEAD,
        variant="of sgd",
        suite={**SLOW, "sync_period": 5, "slow_step_size": 0.5},
    ),
    around(transforms.average_params, optimizers.adam, {}, {}),
    around(
        transforms.average_params,
        optimizers.adam,
        {"decay": (0.8, 0.99)},
        {"decay": (0.0,)},
        variant="exponential",
        suite={"learning_rate": 1e-1, "decay": 0.9},
    ),
    around(transforms.accumulate, optimizers.adam, {"every": (2.0, 3.0)}, EVERY),
    around(
        transforms.accumulate,
        optimizers.sgd,
        {"every": (2.0, 3.0)},
        EVERY,
        variant="of sgd",
        suite={**SLOW, "every": 2},
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
