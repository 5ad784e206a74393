"""Data that do not fit in memory: training batches that are read when they are needed, by their step.

The batch of a step depends on nothing but the number of the step. So a sweep that resumes knows its position in the
data, and a setting that starts late reads its own batches from the beginning. Not for what can only be iterated over.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from regopt._core.io import digest
from regopt._core.messages import brief
from regopt._core.tasks import check_batch
from regopt._core.types import Key, Tree
from regopt.data import batch_indices

Block = Callable[[], Tree]  # reads the batches of some steps: NumPy arrays [steps, batch, ...]


class Stream(NamedTuple):
    """Training batches by their step, read in blocks."""

    block: Callable[[int, int], Block]  # (first_step, steps) -> what reads them; only that may run in another thread
    size: int  # rows of memory-mapped arrays, batches of a data set with a length, 0 for a function
    code: Callable[[int], Tree] | None  # a function that gives the batches, whose code counts; None without one

    def read(self, first_step: int, steps: int) -> Tree:
        """The batches of some steps, ``[steps, batch, ...]``."""
        return self.block(first_step, steps)()


def as_stream(train: Tree, batch_size: int | None, key: Key) -> Stream | None:
    """The stream of a training part that is not held in memory; None for arrays that are.

    Args:
        train: arrays, memory-mapped arrays, a function from step to batch, or a data set of batches.
        batch_size: rows in a batch, for memory-mapped arrays.
        key: the key of the order of the rows.

    Returns:
        The stream.

    Raises:
        ValueError: there is no random access to batches, or the batch size does not go with the data.
    """
    leaves = jax.tree.leaves(train)
    if any(isinstance(leaf, np.memmap) for leaf in leaves):
        return None if batch_size is None else _rows(train, batch_size, key)
    if len(leaves) != 1 or leaves[0] is not train or hasattr(train, "dtype") or isinstance(train, str | bytes):
        return None
    data_set: Tree = train
    if callable(train) and not hasattr(train, "__getitem__"):
        stream = _batches(train, 0, train)
    elif hasattr(train, "__getitem__") and hasattr(train, "__len__"):
        size = len(data_set)
        if not size:
            raise ValueError("data.train must have at least one batch, got none")
        stream = _batches(lambda step: data_set[step % size], size, None)
    elif hasattr(train, "__iter__"):
        raise ValueError(
            "data.train must give the batch of any step: have __getitem__ and __len__ over batches, as a "
            f"grain.MapDataset has, or be a function of the step; got {brief(train)}, which can only be iterated over"
        )
    else:
        return None
    if batch_size is not None:
        raise ValueError(f"batch_size must be None where data.train gives whole batches, got {batch_size}")
    return stream


def _rows(arrays: Tree, batch_size: int, key: Key) -> Stream:
    """Batches of rows of arrays, in the order that arrays in memory have."""
    examples = len(jax.tree.leaves(arrays)[0])
    check_batch(batch_size, examples)

    def block(first_step: int, steps: int) -> Block:
        rows = np.asarray(_compiled_indices(key, first_step, steps, examples=examples, batch_size=batch_size))
        return lambda: jax.tree.map(lambda x: _as_jax(np.asarray(x)[rows]), arrays)

    return Stream(block, examples, None)


@functools.partial(jax.jit, static_argnames=("steps", "examples", "batch_size"))
def _compiled_indices(key: Key, first_step: int, steps: int, *, examples: int, batch_size: int) -> jax.Array:
    return batch_indices(jax.random.clone(key), first_step, steps, examples=examples, batch_size=batch_size)


def _batches(batch_at: Callable[[int], Tree], size: int, code: Callable[[int], Tree] | None) -> Stream:
    """Batches that are given whole, each of the form of the first."""
    like = jax.tree.map(_as_jax, batch_at(0))

    def block(first_step: int, steps: int) -> Block:
        def read() -> Tree:
            filled = jax.tree.map(lambda x: np.empty((steps, *x.shape), x.dtype), like)
            for number in range(steps):
                batch = jax.tree.map(_as_jax, batch_at(first_step + number))
                if _form(batch) != _form(like):
                    raise ValueError(
                        f"data.train must give batches of one form, {_form(like)[0]} at step 0, "
                        f"got {_form(batch)[0]} at step {first_step + number}"
                    )
                for whole, part in zip(jax.tree.leaves(filled), jax.tree.leaves(batch), strict=True):
                    whole[number] = part
            return filled

        return read

    return Stream(block, size, code)


def sample_digest(stream: Stream) -> str:
    """The SHA-256 of the first batches, which stand for data that are too many to be read."""
    return digest(stream.read(0, 2))


def _form(batch: Tree) -> tuple[list[str], object]:
    return [f"{x.dtype}{list(x.shape)}" for x in jax.tree.leaves(batch)], jax.tree.structure(batch)


def _as_jax(x: ArrayLike) -> np.ndarray:
    """An array of the dtype that it has on a device, float32 in place of float64."""
    x = np.asarray(x)
    return x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)
