"""The named optimizers."""

import regopt
from support.catalogue.row import Row

RATE = (0.02, 0.3)
ROWS = [
    Row(regopt.sgd, "transform", {"learning_rate": RATE}, {"learning_rate": (0.0,)}),
    Row(
        regopt.heavy_ball,
        "transform",
        {"learning_rate": RATE, "momentum": (0.9, 0.5)},
        {"learning_rate": (0.0,), "momentum": (0.0,)},
    ),
    Row(
        regopt.adam,
        "transform",
        {
            "learning_rate": RATE,
            "b1": (0.8, 0.95),
            "b2": (0.99, 0.9),
            "eps": (1e-3, 1e-6),
            "eps_root": (1e-4, 1e-2),
        },
        {"b1": (0.0,), "b2": (0.0,), "eps": (0.0,), "eps_root": (0.0,)},
    ),
    Row(
        regopt.adamw,
        "transform",
        {
            "learning_rate": RATE,
            "b1": (0.8, 0.95),
            "b2": (0.99, 0.9),
            "eps": (1e-3, 1e-6),
            "eps_root": (1e-4, 1e-2),
            "weight_decay": (0.05, 0.7),
        },
        {"b1": (0.0,), "b2": (0.0,), "eps": (0.0,), "eps_root": (0.0,), "weight_decay": (0.0,)},
    ),
]
