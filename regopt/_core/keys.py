"""The random keys of a run, one for each purpose."""

from collections.abc import Mapping
from typing import NamedTuple

import jax

from regopt._core.checks import check_key
from regopt._core.types import Key, Tree


class Keys(NamedTuple):
    """The key of a run or of a whole sweep, split by purpose."""

    init: Key  # for the initial state
    order: Key  # for the order of the data
    noise: Key


def split_key(key: Key) -> Keys:
    """Split a key into one for each purpose."""
    return Keys(*(jax.random.fold_in(key, purpose) for purpose in range(3)))


def of_seed(key: Key, h: Tree) -> Key:
    """The key, made different for each value of the number ``seed`` if the setting has one."""
    return jax.random.fold_in(key, h["seed"]) if isinstance(h, Mapping) and "seed" in h else key


def keys_of(key: Key | None, h: Tree) -> Keys:
    """Keys by purpose; a number ``seed`` in the setting changes the initial state and the order of the data."""
    if key is not None:
        check_key("key", key)
    init, order, noise = split_key(jax.random.key(0) if key is None else key)
    return Keys(of_seed(init, h), of_seed(order, h), noise)
