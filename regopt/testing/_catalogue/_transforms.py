"""The links of chains."""

import jax

from regopt import transforms
from regopt.testing._catalogue._wrappers import AROUND
from regopt.testing._row import NONE, Numbers, Row


def link(factory, numbers: Numbers, ends: Numbers = NONE, build=None, variant: str = "", group: str = AROUND) -> Row:
    """The row of a link, whose updates have the dtypes of those that come in."""
    return Row(factory, "transform", numbers, ends, build, "incoming", variant, group)


def with_key(factory, **static):
    """The factory with a key before its numbers."""
    return lambda **numbers: factory(jax.random.key(5), **numbers, **static)


NORM: Numbers = {"max_norm": (0.0,)}
ROWS = [
    link(transforms.clip, {"max_delta": (0.25, 0.6)}, {"max_delta": (0.0, 0.3)}),
    link(transforms.clip_by_global_norm, {"max_norm": (0.7, 1.5)}, NORM),
    link(transforms.clip_by_layer_norm, {"max_norm": (0.7, 1.5)}, NORM),
    link(transforms.clip_by_unit_norm, {"max_norm": (0.7, 0.4)}, NORM),
    link(
        transforms.add_gradient_noise,
        {"eta": (0.3, 0.01), "gamma": (0.55, 1.2)},
        {"eta": (0.0,), "gamma": (0.0,)},
        with_key(transforms.add_gradient_noise),
    ),
    link(transforms.drop_updates, {"rate": (0.4, 0.15)}, {"rate": (0.0, 1.0)}, with_key(transforms.drop_updates)),
    link(
        transforms.drop_updates,
        {"rate": (0.4, 0.15)},
        {"rate": (0.0, 1.0)},
        with_key(transforms.drop_updates, inverted=True),
        "inverted",
        group="",
    ),
    link(transforms.centralize, {}),
]
