"""Entries of trees of arrays with a leading axis of lanes, in NumPy; random keys stay arrays of JAX."""

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.types import Leaf, Tree


def is_key(x: Leaf | jax.ShapeDtypeStruct) -> bool:
    """Whether an array, or a shape of one, holds random keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def zeros(shape: jax.ShapeDtypeStruct, *leading: int) -> Leaf:
    """Zeros of a shape, with leading axes before it."""
    return (jnp if is_key(shape) else np).zeros((*leading, *shape.shape), shape.dtype)


def rows_of(tree: Tree, rows: np.ndarray) -> Tree:
    """Some entries of each array."""
    return jax.tree.map(lambda x: x[rows], tree)


def with_rows(whole: Tree, rows: np.ndarray, some: Tree) -> Tree:
    """The tree with some of its entries replaced; NumPy arrays are changed in place."""

    def put(x: Tree, values: Tree) -> Tree:
        if is_key(x):
            return x.at[rows].set(jax.device_put(values, x.sharding))
        x[rows] = values
        return x

    return jax.tree.map(put, whole, some)


def on_host(x: Leaf) -> Leaf:
    """A NumPy array; random keys stay what they are."""
    return x if is_key(x) else np.asarray(x)


def entry(x: Leaf, at: int) -> Leaf:
    """A copy of one entry, from the devices that hold it; none of them need have room for all of it."""
    if is_key(x):
        return x[at]
    if not isinstance(x, jax.Array):
        return np.array(x[at])
    found = np.empty(x.shape[1:], x.dtype)
    for shard in x.addressable_shards:
        rows, *rest = shard.index
        first = rows.start or 0
        if shard.replica_id == 0 and first <= at < first + len(shard.data):
            found[tuple(rest)] = np.asarray(shard.data[at - first])
    return found
