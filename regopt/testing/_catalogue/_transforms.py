"""The links of chains."""

import jax

from regopt import transforms
from regopt.testing._catalogue._wrappers import AROUND
from regopt.testing._row import Row

ROWS = [
    Row(
        transforms.clip,
        "transform",
        {"max_delta": (0.25, 0.6)},
        {"max_delta": (0.0, 0.3)},
        group=AROUND,
        updates="incoming",
    ),
    Row(
        transforms.clip_by_global_norm,
        "transform",
        {"max_norm": (0.7, 1.5)},
        {"max_norm": (0.0,)},
        group=AROUND,
        updates="incoming",
    ),
    Row(
        transforms.clip_by_layer_norm,
        "transform",
        {"max_norm": (0.7, 1.5)},
        {"max_norm": (0.0,)},
        group=AROUND,
        updates="incoming",
    ),
    Row(
        transforms.clip_by_unit_norm,
        "transform",
        {"max_norm": (0.7, 0.4)},
        {"max_norm": (0.0,)},
        group=AROUND,
        updates="incoming",
    ),
    Row(
        transforms.add_gradient_noise,
        "transform",
        {"eta": (0.3, 0.01), "gamma": (0.55, 1.2)},
        {"eta": (0.0,), "gamma": (0.0,)},
        build=lambda eta, gamma: transforms.add_gradient_noise(jax.random.key(5), eta, gamma),
        group=AROUND,
        updates="incoming",
    ),
    Row(
        transforms.drop_updates,
        "transform",
        {"rate": (0.4, 0.15)},
        {"rate": (0.0, 1.0)},
        build=lambda rate: transforms.drop_updates(jax.random.key(5), rate),
        group=AROUND,
        updates="incoming",
    ),
    Row(
        transforms.drop_updates,
        "transform",
        {"rate": (0.4, 0.15)},
        {"rate": (0.0, 1.0)},
        build=lambda rate: transforms.drop_updates(jax.random.key(5), rate, inverted=True),
        updates="incoming",
        variant="inverted",
    ),
    Row(transforms.centralize, "transform", {}, group=AROUND, updates="incoming"),
]
