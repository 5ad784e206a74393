"""Data that do not fit in memory: batches that are read when they are needed, by their number.

The batch of a step depends on nothing but the number of the step. So a sweep that resumes knows its position in the
data, and a setting that starts late reads its own batches from the beginning. An evaluation reads its batches from the
first to the last. Not for what can only be iterated over (``_iterated.py``).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from regopt._core.io import digest
from regopt._core.messages import brief
from regopt._core.training_data import check_batch
from regopt._core.types import Key, Tree
from regopt.data import batch_indices
from regopt.sweep.engine._blocks import Block, as_jax, copied, stacked
from regopt.sweep.engine._iterated import InTurn, Iterated

MOST_BATCHES = 2**31 - 1  # a data set with more, such as one of grain that repeats itself, counts as endless


class Stream(NamedTuple):
    """Training batches by their step, read in blocks."""

    block: Callable[[int, int], Block]  # (first_step, steps) -> reader; only the reader may run in another thread
    size: int  # rows of memory-mapped arrays, batches of a data set with a length, 0 for a function
    code: Callable[[int], Tree] | None  # the function that gives the batches, for the fingerprint; None without one

    def sample(self) -> Tree:
        """The first batch, ``[1, batch, ...]``."""
        return self.block(0, 1)()


class Evaluated(NamedTuple):
    """Validation batches by their number, read from the first to the last in every evaluation."""

    read: Callable[[int], Tree]  # NumPy arrays [examples, ...]; only this may run in another thread
    count: int  # batches of an evaluation
    size: int  # see ``Stream``
    code: Callable[[int], Tree] | None  # see ``Stream``
    is_mapped: bool = False  # whether the batches are read from memory-mapped files, which the system caches


class _Given(NamedTuple):
    """Whole batches by their number."""

    at: Callable[[int], Tree]
    size: int  # batches; 0 for a function, which has no end
    code: Callable[[int], Tree] | None


def as_stream(train: Tree, batch_size: int | None, key: Key) -> Stream | Iterated | None:
    """The stream of a training part that is not held in memory; None for arrays that are.

    Args:
        train: arrays, memory-mapped arrays, a function from step to batch, a data set of batches, or an iterable of
            batches.
        batch_size: rows in a batch, for memory-mapped arrays.
        key: the key of the order of the rows.

    Returns:
        The stream.

    Raises:
        ValueError: there are no batches, or the batch size does not go with the data.
    """
    if _are_mapped(train):
        return None if batch_size is None else _rows(train, batch_size, key)
    given = _whole_batches("data.train", train)
    is_iterated = given is None and _is_iterated(train)
    if batch_size is not None and (given or is_iterated):
        raise ValueError(f"batch_size must be None where data.train gives whole batches, got {batch_size}")
    if given is None:
        return Iterated(train) if is_iterated else None
    return _batches((lambda step: given.at(step % given.size)) if given.size else given.at, given.size, given.code)


def as_evaluated(validation: Tree, eval_batch_size: int | None, eval_batches: int | None) -> Evaluated | None:
    """The batches of a validation part that is not held in memory; None for arrays that are.

    Args:
        validation: arrays, memory-mapped arrays, a function from the number of a batch to the batch, a data set of
            batches, or an iterable of batches that can be iterated over again.
        eval_batch_size: rows in a batch, for memory-mapped arrays.
        eval_batches: batches of an evaluation; None for all of them.

    Returns:
        The batches.

    Raises:
        ValueError: the batches can be iterated over only once, their number is unknown or smaller than
            ``eval_batches``, or a size does not go with the data.
    """
    mapped = _are_mapped(validation)
    given = None if mapped else _whole_batches("data.validation", validation)
    if given is None and _is_iterated(validation):
        given = _in_turn(validation)
    if given is None:
        if eval_batches is not None:
            raise ValueError(f"eval_batches must be None where data.validation holds arrays, got {eval_batches}")
        return None if eval_batch_size is None or not mapped else _rows_in_turn(validation, eval_batch_size)
    if eval_batch_size is not None:
        raise ValueError(f"eval_batch_size must be None where data.validation gives batches, got {eval_batch_size}")
    endless = not 0 < given.size <= MOST_BATCHES
    if eval_batches is None and endless:
        raise ValueError(
            "eval_batches must say how many batches an evaluation takes, as data.validation has no end: pass "
            "eval_batches=100, say"
        )
    if eval_batches is not None and not endless and eval_batches > given.size:
        raise ValueError(
            f"eval_batches must be at most {given.size}, the batches of data.validation, got {eval_batches}"
        )
    count = given.size if eval_batches is None else eval_batches
    return Evaluated(lambda number: copied(given.at(number)), count, count, given.code)


def leaves_of(part: Tree) -> list[Tree]:
    """The leaves of a part of the data; of an iterator, which JAX refuses as a leaf, the iterator itself."""
    return [part] if hasattr(part, "__next__") else jax.tree.leaves(part)


def _are_mapped(part: Tree) -> bool:
    return any(isinstance(leaf, np.memmap) for leaf in leaves_of(part))


def _whole_batches(name: str, part: Tree) -> _Given | None:
    """The reader of batches that are given whole; None for arrays."""
    if not _is_source(part):
        return None
    data_set: Tree = part
    if callable(part) and not hasattr(part, "__getitem__"):
        return _Given(data_set, 0, data_set)
    if hasattr(part, "__getitem__") and hasattr(part, "__len__"):
        if not len(data_set):
            raise ValueError(f"{name} must have at least one batch, got none")
        return _Given(lambda number: data_set[number], len(data_set), None)
    return None


def _in_turn(validation: Tree) -> _Given:
    """The reader of batches that are iterated over in each evaluation; without a length they have no known end."""
    if iter(validation) is validation:
        raise ValueError(
            f"data.validation must be something that each evaluation can iterate over again, got {brief(validation)}, "
            "which can be iterated over only once"
        )
    return _Given(InTurn(validation).at, len(validation) if hasattr(validation, "__len__") else 0, None)


def _is_source(part: Tree) -> bool:
    """Whether a part of the data is a single object that is not an array."""
    leaves = leaves_of(part)
    return len(leaves) == 1 and leaves[0] is part and not hasattr(part, "dtype") and not isinstance(part, str | bytes)


def _is_iterated(part: Tree) -> bool:
    return _is_source(part) and hasattr(part, "__iter__")


def _rows_in_turn(arrays: Tree, batch_size: int) -> Evaluated | None:
    """Batches of rows of arrays, the last one smaller where they do not divide; None where one batch has all rows."""
    examples = len(jax.tree.leaves(arrays)[0])
    if batch_size >= examples:
        return None

    def read(number: int) -> Tree:
        rows = slice(number * batch_size, (number + 1) * batch_size)
        return jax.tree.map(lambda x: as_jax(np.array(x[rows])), arrays)

    return Evaluated(read, -(-examples // batch_size), examples, None, is_mapped=True)


def _rows(arrays: Tree, batch_size: int, key: Key) -> Stream:
    """Batches of rows of arrays, in the order that arrays in memory have."""
    examples = len(jax.tree.leaves(arrays)[0])
    check_batch(batch_size, examples)

    def block(first_step: int, steps: int) -> Block:
        rows = np.asarray(_compiled_indices(key, first_step, steps, examples=examples, batch_size=batch_size))
        return lambda: jax.tree.map(lambda x: as_jax(np.asarray(x)[rows]), arrays)

    return Stream(block, examples, None)


@functools.partial(jax.jit, static_argnames=("steps", "examples", "batch_size"))
def _compiled_indices(key: Key, first_step: int, steps: int, *, examples: int, batch_size: int) -> jax.Array:
    return batch_indices(jax.random.clone(key), first_step, steps, examples=examples, batch_size=batch_size)


def _batches(batch_at: Callable[[int], Tree], size: int, code: Callable[[int], Tree] | None) -> Stream:
    """Batches that are given whole, each of the form of the first."""
    like = jax.tree.map(as_jax, batch_at(0))

    def block(first_step: int, steps: int) -> Block:
        return lambda: stacked(like, first_step, steps, batch_at)

    return Stream(block, size, code)


def sample_digest(stream: Stream | Iterated | Evaluated) -> str:
    """The SHA-256 of the first batches, which stand for data that are too large to be read."""
    if isinstance(stream, Iterated):
        return digest(stream.sample())
    if isinstance(stream, Stream):
        return digest(stream.block(0, 2)())
    return digest([stream.read(number) for number in range(min(2, stream.count))])
