"""A tree of arrays as bytes on disk, bit for bit, and back onto the devices where it was.

Orbax writes the bytes. Its cost grows with the number of arrays (about 1 ms each), so small leaves travel together in
one; and it is given bytes alone, since it has no place for random keys, nor for an array without elements.
"""

import contextlib
import functools
import itertools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.checkpoint._errors import StoreError

Arrays = dict[str, np.ndarray]  # names and bytes
LARGE = 2**22  # bytes from which a leaf is an array of its own, written without a copy and beside the others
SMALL = "small"  # all other leaves, one behind the other


def describe(tree: Tree) -> list[list[Any]]:
    """For each leaf of a tree, of arrays or of ``jax.ShapeDtypeStruct``, its path, dtype and shape as JSON values."""
    return [
        [jax.tree_util.keystr(path, simple=True, separator="."), str(leaf.dtype), list(leaf.shape)]
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.tree.map(_as_array, tree))
    ]


def check_alike(stored: list[list[Any]], like: Tree, where: Path) -> None:
    """Refuse a stored tree whose leaves are not those of ``like``.

    Args:
        stored: what ``describe`` gave when it was saved.
        like: what is wanted.
        where: the store, for the message.

    Raises:
        StoreError: a leaf is missing, too many, or of another dtype or shape.
    """
    wanted = describe(like)
    if stored == wanted:
        return
    before, now = ({path: f"{dtype}{shape}" for path, dtype, shape in leaves} for leaves in (stored, wanted))
    path = next((path for path in [*before, *now] if before.get(path) != now.get(path)), "")
    raise StoreError(
        f"the state in {where} is of another run: leaf {path!r} was {before.get(path, 'not there')}, "
        f"is {now.get(path, 'not there')}"
    )


def on_host(leaf: Any) -> np.ndarray:
    """A leaf as a contiguous NumPy array; of random keys their data."""
    array = np.asarray(jax.device_get(jax.random.key_data(leaf) if _is_keys(leaf) else leaf))
    if array.dtype.hasobject:
        raise TypeError(f"a tree to be stored must have arrays of numbers as leaves, got {type(leaf).__name__}")
    return np.ascontiguousarray(array).reshape(array.shape)  # the former makes a scalar a vector


def pack(tree: Tree) -> Arrays:
    """The bytes of all leaves: a large one by its number and that of the piece, the small ones together."""
    arrays, small = {}, [np.zeros(1, np.uint8)]  # orbax refuses an empty array
    for number, leaf in enumerate(jax.tree.leaves(tree)):
        pieces = [on_host(piece).reshape(-1).view(np.uint8) for piece in _pieces(leaf)]
        if pieces[0].size >= LARGE:
            arrays |= {_name(number, place): piece for place, piece in enumerate(pieces)}
        else:
            small += pieces
    return {**arrays, SMALL: np.concatenate(small)}


def unpack(arrays: Arrays, like: Tree) -> Tree:
    """The inverse of ``pack``: JAX arrays with the sharding of ``like``, NumPy arrays where it has those."""
    leaves, structure = jax.tree.flatten(like)
    small, found = 1, []
    for number, leaf in enumerate(leaves):
        wanted = _as_array(leaf)
        keys = _is_keys(wanted)
        form = jax.eval_shape(jax.random.key_data, _shape(wanted)) if keys else wanted
        array: Any = np.empty(form.shape, form.dtype)
        room = array.reshape(-1).view(np.uint8)
        names = (_name(number, place) for place in itertools.count())
        if pieces := [arrays[name] for name in itertools.takewhile(arrays.__contains__, names)]:
            np.concatenate(pieces, out=room)
        else:
            room[:] = arrays[SMALL][small : small + room.size]
            small += room.size
        if not isinstance(wanted, np.ndarray):
            value = jax.random.wrap_key_data(jnp.asarray(array), impl=_implementation(wanted.dtype)) if keys else array
            array = jax.device_put(value, wanted.sharding)
        found.append(array)
    return jax.tree.unflatten(structure, found)


def write(folder: Path, arrays: Arrays) -> None:
    """Write arrays into a folder that is not there yet."""
    if _is_one_of_many():  # there orbax writes the arrays of the first process alone, and says nothing
        folder.mkdir()
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        return
    try:
        with _quiet():
            _checkpointer().save(folder.absolute(), arrays)
    except OSError:
        raise
    except Exception as error:  # TensorStore's own, of several classes
        if cause := re.search(r"os_error_code='(\d+)'", str(error)):
            raise OSError(int(cause[1]), os.strerror(int(cause[1]))) from error
        raise OSError(f"{type(error).__name__}: {str(error)[:200]}") from error


def read(folder: Path) -> Arrays:
    """The arrays of a folder that ``write`` wrote; the caller knows that its files are whole."""
    plain = {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}
    if plain:
        return plain
    with _quiet():
        return _checkpointer().restore(folder.absolute())


def _name(number: int, place: int) -> str:
    return f"{number}-{place}"


def _pieces(leaf: Any) -> list[Any]:
    """What lies on each device of a leaf whose first axis is spread over devices, where it is large; else the leaf.

    On a CPU the pieces are NumPy arrays as they lie, and the whole would be a copy.
    """
    if not isinstance(leaf, jax.Array) or leaf.is_fully_replicated or not leaf.is_fully_addressable:
        return [leaf]
    shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    pieces = [shard.data for shard in shards]
    by_rows = all(piece.shape[1:] == leaf.shape[1:] for piece in pieces) and sum(map(len, pieces)) == len(leaf)
    return pieces if by_rows and min(piece.nbytes for piece in pieces) >= LARGE else [leaf]


def _as_array(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "dtype") and hasattr(leaf, "shape") else np.asarray(leaf)


def _is_keys(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _implementation(dtype: Any) -> str:
    """The name by which ``jax.random.key`` knows a dtype of keys."""
    for name in ("threefry2x32", "rbg", "unsafe_rbg"):
        if jax.eval_shape(lambda name=name: jax.random.key(0, impl=name)).dtype == dtype:
            return name
    raise TypeError(f"random keys of {dtype} cannot be stored")


def _is_one_of_many() -> bool:
    return jax.distributed.is_initialized() and jax.process_count() > 1


@functools.cache
def _checkpointer() -> Any:
    import orbax.checkpoint as ocp  # takes a third of a second, for sweeps that are kept

    handler = ocp.type_handlers.NumpyHandler(deepcopy_host_arrays=False)
    registry = ocp.type_handlers.create_type_handler_registry((np.ndarray, handler))
    # One file for an array, uncompressed: the other formats take twice as long, and leave some kB in memory each time.
    return ocp.Checkpointer(
        ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_compression=False, type_handler_registry=registry)
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax's running commentary from the terminal; its errors are raised as well."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
