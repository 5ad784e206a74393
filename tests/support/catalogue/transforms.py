"""The links of chains."""

import jax

from regopt import optimizers, transforms
from support.catalogue.row import Row

RATE = (0.02, 0.3)
ROWS = [
    Row(optimizers.scale_by_learning_rate, "transform", {"learning_rate": RATE}, {"learning_rate": (0.0,)}),
    Row(
        optimizers.scale_by_adam,
        "transform",
        {"b1": (0.8, 0.95), "b2": (0.99, 0.9), "eps": (1e-3, 1e-6), "eps_root": (1e-4, 1e-2)},
        {"b1": (0.0,), "b2": (0.0,), "eps": (0.0,), "eps_root": (0.0,)},
        updates="wide",
    ),
    Row(transforms.clip, "transform", {"max_delta": (0.25, 0.6)}, {"max_delta": (0.0, 0.3)}, updates="incoming"),
    Row(
        transforms.clip_by_global_norm, "transform", {"max_norm": (0.7, 1.5)}, {"max_norm": (0.0,)}, updates="incoming"
    ),
    Row(transforms.clip_by_layer_norm, "transform", {"max_norm": (0.7, 1.5)}, {"max_norm": (0.0,)}, updates="incoming"),
    Row(transforms.clip_by_unit_norm, "transform", {"max_norm": (0.7, 0.4)}, {"max_norm": (0.0,)}, updates="incoming"),
    Row(
        transforms.add_gradient_noise,
        "transform",
        {"eta": (0.3, 0.01), "gamma": (0.55, 1.2)},
        {"eta": (0.0,), "gamma": (0.0,)},
        build=lambda eta, gamma: transforms.add_gradient_noise(jax.random.key(5), eta, gamma),
        updates="incoming",
    ),
    Row(transforms.centralize, "transform", {}, updates="incoming"),
]
