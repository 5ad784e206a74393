"""The numbers that a call gives for each lane in one array of each dtype, so that few arrays cross to the host."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp

from regopt._core.types import PyTreeDef, Tree


class _Form(NamedTuple):
    structure: PyTreeDef
    dtypes: tuple[str, ...]  # of the leaves


@jax.tree_util.register_pytree_node_class
class Packed:
    """A tree of arrays ``[lanes]``, packed.

    Args:
        form: structure and dtypes of the tree.
        arrays: of each dtype its leaves, ``[lanes, leaves]``.
    """

    def __init__(self, form: _Form, arrays: list[Tree]):
        self._form, self._arrays = form, arrays

    @classmethod
    def of(cls, tree: Tree) -> Self:
        """Pack a tree of arrays ``[lanes]``."""
        leaves, structure = jax.tree.flatten(tree)
        form = _Form(structure, tuple(str(x.dtype) for x in leaves))
        kinds = dict.fromkeys(form.dtypes)
        return cls(form, [jnp.stack([x for x in leaves if str(x.dtype) == kind], axis=1) for kind in kinds])

    def unpacked(self) -> Tree:
        """The tree."""
        kinds = dict.fromkeys(self._form.dtypes)
        columns = dict(zip(kinds, (iter(x.T) for x in self._arrays), strict=True))
        return self._form.structure.unflatten(next(columns[kind]) for kind in self._form.dtypes)

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
