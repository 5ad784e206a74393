"""Comparisons of trees, and the one way in which a law says that it is broken."""

from contextlib import AbstractContextManager

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from regopt._core.types import Tree


def require(condition: bool | np.bool_ | jax.Array, message: str) -> None:
    """Raise AssertionError where a condition does not hold, with Python's optimization switched on, too."""
    if not condition:
        raise AssertionError(message)


def inexact(tree: Tree) -> list[jax.Array]:
    """The floating-point leaves."""
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact)]


def floats(tree: Tree) -> np.ndarray:
    """The floating-point leaves as one float64 vector."""
    return np.concatenate([np.zeros(0), *(np.asarray(leaf, np.float64).ravel() for leaf in inexact(tree))])


def all_finite(tree: Tree) -> bool:
    """Whether every floating-point number of a tree is finite."""
    return bool(np.isfinite(floats(tree)).all())


def assert_close(a: Tree, b: Tree, rtol: float = 2e-6) -> None:
    """Require equality up to a few roundings of float32, absolute ones near 0."""
    chex.assert_trees_all_equal_structs(a, b)
    np.testing.assert_allclose(floats(a), floats(b), rtol=rtol, atol=1e-6)


def assert_same_types(a: Tree, b: Tree, what: str) -> None:
    """Require one structure, and leaves of the same shapes and dtypes; the trees may be abstract."""
    chex.assert_trees_all_equal_structs(a, b)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        message = f"{what}{jax.tree_util.keystr(path)} is {_typed(x)} and becomes {_typed(y)}"
        require((x.shape, x.dtype) == (y.shape, y.dtype), message)


def _typed(x: jax.Array | jax.ShapeDtypeStruct) -> str:
    return f"{x.dtype.name}{list(x.shape)}"


def plain(x: jax.Array) -> jax.Array:
    """The numbers in an array, of random keys too."""
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def wide(dtype: DTypeLike) -> jnp.dtype:
    """The dtype of the arithmetic: at least float32."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def under(dtype: DTypeLike) -> AbstractContextManager[object]:
    """A context in which arrays of this dtype exist."""
    return jax.enable_x64(True) if dtype == jnp.float64 else jax.enable_x64(jax.config.read("jax_enable_x64"))
