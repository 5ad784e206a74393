"""Blocks of batches in the memory of the host: the batches of the steps of a segment, stacked."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import numpy as np
from numpy.typing import ArrayLike

from regopt._core.types import Tree

Block: TypeAlias = Callable[[], Tree]  # reads the batches of some steps: NumPy arrays [steps, batch, ...]


def as_jax(x: ArrayLike) -> np.ndarray:
    """An array in the dtype that JAX gives it: without x64, float32 in place of float64."""
    x = np.asarray(x)
    return x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)


def copied(batch: Tree) -> Tree:
    """A batch in arrays of its own: a loader may use its arrays again, and JAX on a CPU may not copy them."""
    return jax.tree.map(lambda x: np.array(as_jax(x)), batch)


def stacked(like: Tree, first_step: int, steps: int, batch_at: Callable[[int], Tree]) -> Tree:
    """The batches of some steps, ``[steps, batch, ...]``.

    Args:
        like: the first batch of the data; all others must have its structure, shapes and dtypes.
        first_step: the first of the steps.
        steps: the number of steps.
        batch_at: gives the batch of a step; called in the order of the steps.

    Returns:
        The block.

    Raises:
        ValueError: a batch differs from the first one in structure, shapes or dtypes.
    """
    filled = jax.tree.map(lambda x: np.empty((steps, *x.shape), x.dtype), like)
    for number in range(steps):
        batch = jax.tree.map(as_jax, batch_at(first_step + number))
        if _form(batch) != _form(like):
            raise ValueError(
                f"data.train must give batches of one form, {_form(like)[0]} at step 0, "
                f"got {_form(batch)[0]} at step {first_step + number}"
            )
        for whole, part in zip(jax.tree.leaves(filled), jax.tree.leaves(batch), strict=True):
            whole[number] = part
    return filled


def _form(batch: Tree) -> tuple[list[str], object]:
    return [f"{x.dtype}{list(x.shape)}" for x in jax.tree.leaves(batch)], jax.tree.structure(batch)
