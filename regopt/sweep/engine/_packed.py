"""The numbers that a call gives for each lane in one array, so that one array crosses to the host.

Floating numbers cross as integers with the same bits, beside the integers of their size. So there are as many arrays as
sizes of numbers, which is one in most sweeps.
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
        arrays: of each size of numbers its leaves, ``[lanes, leaves]``.
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
        """The tree: of NumPy arrays where the packed ones are such, as on the host."""
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
        """Put it together again."""
        return cls(form, list(arrays))


def _carrier(dtype: str) -> str:
    """The dtype in which numbers cross: the integers of their size, or their own where they have no such."""
    given = jnp.dtype(dtype)
    return f"int{8 * given.itemsize}" if given.kind != "b" and not jnp.issubdtype(given, jnp.complexfloating) else dtype


def _with_bits_of(column: jax.Array | np.ndarray, dtype: str) -> jax.Array | np.ndarray:
    if isinstance(column, np.ndarray):
        return np.ascontiguousarray(column).view(jnp.dtype(dtype))
    return jax.lax.bitcast_convert_type(column, jnp.dtype(dtype))
