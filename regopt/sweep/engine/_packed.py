"""The numbers that a call gives for each lane in one array, so that one array crosses to the host.

Floating numbers cross as integers of the same bits, in one array with the integers of their size; booleans and complex
numbers keep their dtype. So there is one array for each of these dtypes, and in most sweeps only one.
"""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.types import PyTreeDef, Tree


class _Form(NamedTuple):
    structure: PyTreeDef
    dtypes: tuple[str, ...]  # of the leaves


@jax.tree_util.register_pytree_node_class
class Packed:
    """A tree of arrays ``[lanes]``, packed.

    Args:
        form: structure and dtypes of the tree.
        arrays: for each dtype in which numbers cross its leaves, ``[lanes, leaves]``.
    """

    def __init__(self, form: _Form, arrays: list[Tree]):
        self._form, self._arrays = form, arrays

    @classmethod
    def of(cls, tree: Tree) -> Self:
        """Pack a tree of arrays ``[lanes]``."""
        leaves, structure = jax.tree.flatten(tree)
        form = _Form(structure, tuple(str(x.dtype) for x in leaves))
        columns: dict[str, list[jax.Array]] = {}
        for x, dtype in zip(leaves, form.dtypes, strict=True):
            columns.setdefault(_carrier(dtype), []).append(jax.lax.bitcast_convert_type(x, _carrier(dtype)))
        return cls(form, [jnp.stack(each, axis=1) for each in columns.values()])

    def unpacked(self) -> Tree:
        """The tree, of NumPy arrays where the packed arrays are NumPy arrays."""
        carriers = dict.fromkeys(map(_carrier, self._form.dtypes))
        columns = dict(zip(carriers, (iter(x.T) for x in self._arrays), strict=True))
        leaves = (_with_bits_of(next(columns[_carrier(dtype)]), dtype) for dtype in self._form.dtypes)
        return self._form.structure.unflatten(leaves)

    @property
    def names(self) -> Tree:
        """The tree with the number of each leaf in its place."""
        return self._form.structure.unflatten(range(self._form.structure.num_leaves))

    def tree_flatten(self) -> tuple[list[Tree], _Form]:
        """The arrays are the children."""
        return self._arrays, self._form

    @classmethod
    def tree_unflatten(cls, form: _Form, arrays: list[Tree]) -> Self:
        """Rebuild it from its arrays."""
        return cls(form, list(arrays))


def _carrier(dtype: str) -> str:
    """The dtype in which numbers cross: integers of their size, or their own for booleans and complex numbers."""
    given = jnp.dtype(dtype)
    return f"int{8 * given.itemsize}" if given.kind != "b" and not jnp.issubdtype(given, jnp.complexfloating) else dtype


def _with_bits_of(column: jax.Array | np.ndarray, dtype: str) -> jax.Array | np.ndarray:
    if isinstance(column, np.ndarray):
        return np.ascontiguousarray(column).view(jnp.dtype(dtype))
    return jax.lax.bitcast_convert_type(column, jnp.dtype(dtype))
