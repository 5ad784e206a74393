"""Reading the leaves of a store's newest state without the program that saved them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from regopt.sweep.checkpoint import _arrays as arrays
from regopt.sweep.checkpoint._errors import StoreDamagedError
from regopt.sweep.checkpoint._manifest import damage, read


def read_leaves(folder: Path | str) -> dict[str, np.ndarray]:
    """The leaves of the newest state by their names, in the order of the tree; random keys as their data.

    Args:
        folder: of the sweep; a process may be writing into it.

    Returns:
        The leaves, as NumPy arrays.

    Raises:
        StoreDamagedError: no state was saved, or its files are damaged.
    """
    found = read(folder)
    if found is None:
        raise StoreDamagedError(f"{folder} has no saved state")
    if (broken := damage(found)) is not None:
        raise StoreDamagedError(f"state {found.path} ({broken}) is damaged")
    like = [_empty(dtype, shape) for _, dtype, shape in found.leaves]
    leaves = arrays.read(found.path, found.files, like)
    return {name: leaf for (name, _, _), leaf in zip(found.leaves, leaves, strict=True)}


def _empty(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    for name in ("threefry2x32", "rbg", "unsafe_rbg"):
        key = jax.random.key(0, impl=name)
        if str(key.dtype) == dtype:
            data = jax.random.key_data(key)
            return np.empty((*shape, *data.shape), data.dtype)
    return np.empty(shape, jnp.dtype(dtype))
