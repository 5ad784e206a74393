"""Transformations around an optimizer."""

import optax

import regopt
from catalogue.row import Row
from regopt import penalties, transforms

RATE = (0.02, 0.3)
ROWS = [
    Row(
        transforms.add_penalty_gradient,
        "transform",
        {"scale": (-0.3, 0.2), "strength": (0.4, 0.05)},
        {"scale": (0.0,), "strength": (0.0,)},
        build=lambda scale, strength: transforms.add_penalty_gradient(penalties.l1(strength), scale),
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
]
