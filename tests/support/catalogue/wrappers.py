"""Transformations around an optimizer."""

import jax.numpy as jnp
import optax

import regopt
from regopt import penalties, regularization, transforms
from support.catalogue.row import Row

RATE = (0.02, 0.3)


def fed(transform: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """The transformation with a metric that falls, stays and falls again, eight values for each update."""

    def init(params):
        return jnp.zeros((), jnp.int32), transform.init(params)

    def update(updates, state, params=None, **extra_args):
        place, inner = state
        metric = jnp.array([3.0, 2.5, 2.4, 1.5, 1.45, 1.4, 1.6, 1.3] + [1.35, 1.25] * 8 + [0.5, 0.6] * 4)
        for i in range(8):
            updates, inner = transform.update(updates, inner, params, value=metric[8 * place + i])
        return updates, (place + 1, inner)

    return optax.GradientTransformationExtraArgs(init, update)


ROWS = [
    Row(
        regularization.add_penalty_gradient,
        "transform",
        {"scale": (-0.3, 0.2), "strength": (0.4, 0.05)},
        {"scale": (0.0,), "strength": (0.0,)},
        build=lambda scale, strength: regularization.add_penalty_gradient(penalties.l1(strength), scale),
        updates="incoming",
    ),
    Row(
        regopt.regularize,
        "transform",
        {"strength": (0.4, 0.05), "learning_rate": RATE},
        {"strength": (0.0,), "learning_rate": (0.0,)},
        build=lambda strength, learning_rate: optax.chain(
            regopt.regularize(regopt.heavy_ball(0.1, 0.5), penalties.l2(strength)),
            regopt.regularize(regopt.sgd(0.3), penalties.l1(strength), "decoupled", learning_rate=learning_rate),
        ),
    ),
    Row(
        transforms.reduce_on_plateau,
        "transform",
        {
            "factor": (0.5, 0.2),
            "patience": (2.0, 3.0),
            "rtol": (0.05, 0.4),
            "atol": (0.04, 0.5),
            "cooldown": (1.0, 3.0),
            "accumulation_size": (2.0, 3.0),
            "min_scale": (0.3, 0.05),
        },
        {
            "factor": (1.0,),
            "patience": (1.0,),
            "rtol": (0.0, 1.0),
            "atol": (0.0,),
            "cooldown": (0.0,),
            "accumulation_size": (1.0,),
            "min_scale": (0.0, 1.0),
        },
        build=lambda **numbers: fed(transforms.reduce_on_plateau(**numbers)),
        updates="incoming",
    ),
    Row(
        regopt.guard,
        "transform",
        {"max_norm": (0.7, 1.5), "learning_rate": RATE},
        {"max_norm": (0.0,), "learning_rate": (0.0,)},
        build=lambda max_norm, learning_rate: regopt.guard(regopt.adam(learning_rate), max_norm),
    ),
    Row(
        regopt.accumulate,
        "transform",
        {"every": (2.0, 3.0), "learning_rate": RATE},
        {"every": (1.0, 2.5), "learning_rate": (0.0,)},
        build=lambda every, learning_rate: regopt.accumulate(regopt.adam(learning_rate), every),
    ),
    Row(
        regopt.average_params,
        "transform",
        {"learning_rate": RATE},
        {"learning_rate": (0.0,)},
        build=lambda learning_rate: regopt.average_params(regopt.adam(learning_rate)),
    ),
    Row(
        regopt.average_params,
        "transform",
        {"decay": (0.8, 0.99), "learning_rate": RATE},
        {"decay": (0.0,), "learning_rate": (0.0,)},
        build=lambda decay, learning_rate: regopt.average_params(regopt.adam(learning_rate), decay),
    ),
    Row(
        regopt.lookahead,
        "transform",
        {"sync_period": (2.0, 3.0), "slow_step_size": (0.4, 0.7), "learning_rate": RATE},
        {"sync_period": (1.0, 2.5), "slow_step_size": (0.0, 1.0), "learning_rate": (0.0,)},
        build=lambda sync_period, slow_step_size, learning_rate: regopt.lookahead(
            regopt.adam(learning_rate), sync_period, slow_step_size
        ),
    ),
    Row(
        regopt.sam,
        "transform",
        {"rho": (0.05, 0.3), "learning_rate": RATE},
        {"rho": (0.0,), "learning_rate": (0.0,)},
        build=lambda rho, learning_rate: regopt.sam(regopt.adam(learning_rate), rho),
    ),
    Row(
        regopt.schedule_free_sgd,
        "transform",
        {"learning_rate": RATE, "b1": (0.9, 0.6), "weight_decay": (0.05, 0.7)},
        {"learning_rate": (0.0,), "b1": (0.0, 1.0), "weight_decay": (0.0,)},
    ),
    Row(
        regopt.schedule_free_adamw,
        "transform",
        {"learning_rate": RATE, "b1": (0.9, 0.6), "b2": (0.99, 0.9), "eps": (1e-3, 1e-6), "weight_decay": (0.05, 0.7)},
        {"learning_rate": (0.0,), "b1": (0.0, 1.0), "b2": (0.0,), "eps": (0.0,), "weight_decay": (0.0,)},
    ),
]
