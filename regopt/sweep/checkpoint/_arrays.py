"""Writes a tree of arrays into files of a folder, bit for bit, and reads it back onto the devices of its leaves.

The small leaves share one file, since each file waits for the disk once. A large leaf has files of its own, one for
each piece that lies on a device, which threads write at the same time and without a copy.
"""

import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.io import on_host
from regopt._core.types import Tree
from regopt.sweep.checkpoint._errors import StoreDamagedError, StoreMismatchError
from regopt.sweep.checkpoint._files import FileRecord, read_array, write_arrays

LARGE = 2**22  # bytes from which a leaf has files of its own
SMALL = "small.npy"  # all other leaves, in the order of the tree
THREADS = 4  # pieces that are written, and on a GPU held on the host, at the same time

LeafRecord = tuple[str, str, tuple[int, ...]]  # path, dtype and shape


def describe(tree: Tree) -> list[LeafRecord]:
    """The path, dtype and shape of each leaf of a tree of arrays or of ``jax.ShapeDtypeStruct``."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="."), str(leaf.dtype), tuple(leaf.shape))
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.tree.map(_as_array, tree))
    ]


def check_alike(stored: list[LeafRecord], like: Tree, where: Path) -> None:
    """Refuse a stored tree whose leaves are not those of ``like``.

    Args:
        stored: what ``describe`` returned when the tree was saved.
        like: the tree that is wanted.
        where: the store, for the message.

    Raises:
        StoreMismatchError: a leaf is missing, unexpected, or of another dtype or shape.
    """
    wanted = describe(like)
    if stored == wanted:
        return
    before, now = ({path: f"{dtype}{list(shape)}" for path, dtype, shape in leaves} for leaves in (stored, wanted))
    path = next((path for path in [*before, *now] if before.get(path) != now.get(path)), "")
    raise StoreMismatchError(
        f"the state in {where} is of another run: leaf {path!r} was {before.get(path, 'not there')}, "
        f"is {now.get(path, 'not there')}: pass extend=True to go on with other settings, more steps or another "
        "scheduler"
    )


def write(folder: Path, tree: Tree) -> dict[str, FileRecord]:
    """Write the leaves of a tree into files of a folder that exists.

    Args:
        folder: the folder to write into.
        tree: a tree of NumPy or JAX arrays, numbers, or random keys.

    Returns:
        The size and the digest of each file, by name.
    """
    groups: dict[str, list[jax.Array | np.ndarray]] = {SMALL: []}
    for number, leaf in enumerate(map(_stored, jax.tree.leaves(tree))):
        if leaf.nbytes < LARGE:
            groups[SMALL].append(leaf)
        else:
            groups |= {_name(number, place): [piece] for place, piece in enumerate(_pieces(leaf))}

    def write_group(name: str) -> FileRecord:
        return write_arrays(folder / name, map(on_host, groups[name]))

    with ThreadPoolExecutor(THREADS) as threads:
        return dict(zip(groups, threads.map(write_group, groups), strict=True))


def size(tree: Tree) -> int:
    """The bytes of a tree's leaves."""
    return sum(_stored(leaf).nbytes for leaf in jax.tree.leaves(tree))


def read(folder: Path, files: Mapping[str, FileRecord], like: Tree) -> Tree:
    """Read what ``write`` wrote.

    Args:
        folder: the folder of the files, whose digests have been checked.
        files: what ``write`` returned.
        like: a tree of the same leaves, which determines where they are placed: JAX arrays with its shardings, and
            NumPy arrays where it has those.

    Returns:
        The tree.

    Raises:
        StoreDamagedError: the files do not hold these leaves.
    """
    leaves, structure = jax.tree.flatten(like)
    found = []
    with (folder / SMALL).open("rb") as small:
        for number, leaf in enumerate(leaves):
            wanted = _as_array(leaf)
            array = np.empty(_form(wanted).shape, _form(wanted).dtype)
            room, at = array.reshape(-1).view(np.uint8), 0
            names = itertools.takewhile(files.__contains__, (_name(number, place) for place in itertools.count()))
            for name in names:
                with (folder / name).open("rb") as file:
                    at += read_array(file, array.dtype, room[at:])
            at = at or read_array(small, array.dtype, room)
            if at != room.size:
                raise StoreDamagedError(f"{folder} holds only {at:,} of the {room.size:,} bytes of a leaf")
            found.append(_placed(array, wanted))
    return jax.tree.unflatten(structure, found)


def _name(number: int, place: int) -> str:
    return f"{number}-{place}.npy"


def _as_array(leaf: Tree) -> Tree:
    return leaf if hasattr(leaf, "dtype") and hasattr(leaf, "shape") else np.asarray(leaf)


def _is_keys(leaf: Tree) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _stored(leaf: Tree) -> jax.Array | np.ndarray:
    """The array that is stored for a leaf: of random keys their data."""
    array = _as_array(leaf)
    return jax.random.key_data(array) if _is_keys(array) else array


def _form(leaf: Tree) -> Tree:
    """The shape and dtype of what is stored for a leaf."""
    form = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return jax.eval_shape(jax.random.key_data, form) if _is_keys(leaf) else leaf


def _placed(array: np.ndarray, wanted: Tree) -> Tree:
    """The stored array in the form of the wanted leaf: on its devices, unless that is a NumPy array."""
    if isinstance(wanted, np.ndarray):
        return array
    value = (
        jax.random.wrap_key_data(jnp.asarray(array), impl=_implementation(wanted.dtype)) if _is_keys(wanted) else array
    )
    return jax.device_put(value, wanted.sharding)


def _pieces(leaf: jax.Array | np.ndarray) -> list[jax.Array | np.ndarray]:
    """The pieces of a leaf whose first axis is divided among devices, one for each device; else the leaf.

    On a CPU the pieces are NumPy arrays where they lie, while the whole would be a copy.
    """
    if not isinstance(leaf, jax.Array) or leaf.is_fully_replicated or not leaf.is_fully_addressable:
        return [leaf]
    shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    pieces: list[jax.Array | np.ndarray] = [shard.data for shard in shards]
    by_rows = all(piece.shape[1:] == leaf.shape[1:] for piece in pieces) and sum(map(len, pieces)) == len(leaf)
    return pieces if by_rows and min(piece.nbytes for piece in pieces) >= LARGE else [leaf]


def _implementation(dtype: object) -> str:
    """The name by which ``jax.random.key`` knows a dtype of keys."""
    for name in ("threefry2x32", "rbg", "unsafe_rbg"):
        if jax.eval_shape(lambda name=name: jax.random.key(0, impl=name)).dtype == dtype:
            return name
    raise TypeError(f"random keys of {dtype} cannot be stored")
