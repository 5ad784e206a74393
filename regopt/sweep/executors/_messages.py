"""Messages between the coordinator of a sweep and its workers: jobs, leases, answers, and arrays on their way."""

import copy
import itertools
import mmap
import pickle
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.io import JsonObject
from regopt._core.types import Leaf, Tree
from regopt.data import Splits
from regopt.sweep.engine._entries import is_key
from regopt.sweep.engine._placement import Places
from regopt.sweep.engine._recipe import Mapped

CACHE = (  # options of JAX, the folder first
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


class KeyArray(NamedTuple):
    """An array of random keys on its way to another process."""

    implementation: str
    data: np.ndarray


class MappedFile:
    """A memory-mapped array, or a view of one, on its way to another process, which must see the same file.

    Args:
        array: the array or the view, with at least one entry.
        whole: the array of the whole mapping.
    """

    def __init__(self, array: np.memmap, whole: np.memmap):
        self._file, self._dtype = str(whole.filename), array.dtype
        self._shape, self._strides = array.shape, array.strides
        reach = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)]
        self._first = -sum(step for step in reach if step < 0)  # bytes of the view before its first entry
        self._offset = whole.offset + array.ctypes.data - whole.ctypes.data - self._first
        self._bytes = sum(map(abs, reach)) + array.itemsize

    def read(self) -> np.memmap:
        """The array as a memory map, of which only the entries that are used are read from disk."""
        mapped = np.memmap(self._file, np.uint8, "r", self._offset, (self._bytes,))
        first = mapped[self._first :][: self._dtype.itemsize].view(self._dtype)
        return np.lib.stride_tricks.as_strided(first, self._shape, self._strides, writeable=False).view(np.memmap)


class Job(NamedTuple):
    """The order to build the programs of a sweep: all that a worker needs besides the data."""

    token: str  # a worker keeps what it has built for a token
    arguments: Mapping[str, Any]  # of ``SweepConfig``
    shards: int  # number of shards of the sweep
    workers: int  # number of workers at the start
    capacities: tuple[int, ...] | None  # places of a shard in each group; None for as many as are needed or fit
    choices: JsonObject | None  # chunks and mappings as another worker has chosen them; None to choose
    cache: tuple[tuple[str, object], ...] = ()  # options of JAX: where compiled programs are kept, if anywhere


class Facts(NamedTuple):
    """The report of a worker on a compiled group."""

    capacity: int  # places of a shard
    chunk: int
    price: float  # the cost of a segment of a lane, see ``Group``
    mapping: Mapped
    metrics: list[str]
    digests: dict[str, str]
    temporary_bytes: int
    trace_seconds: float
    compile_seconds: float


class Prepared(NamedTuple):
    """The report of a worker whose programs are compiled."""

    environment: JsonObject  # versions, kind of device and options, as ``regopt._core.io.environment`` has them
    groups: list[Facts]


class Start(NamedTuple):
    """Operation: initialise lanes at places of a shard."""

    lanes: np.ndarray  # positions in the group
    places: np.ndarray


class Train(NamedTuple):
    """Operation: some calls of a round, which trains the lanes of a shard from where they are to a number of segments.

    The calls of all segments are numbered from 0, ``calls`` to a segment; a segment that has fewer, because lanes ended
    in an earlier one, leaves the last numbers out. So a worker goes on from segment to segment by itself.
    """

    lanes: np.ndarray  # those that train when the round begins, as positions in the group
    segments: np.ndarray  # that each of them had done then
    seats: np.ndarray  # of the shard, the same in all segments
    calls: int  # of a segment, at most
    begin: int  # the first call of this part
    end: int  # the first call that is not of this part
    ended: tuple[np.ndarray, np.ndarray] | None = None  # if it is repeated: the lanes that ended, and when


class Write(NamedTuple):
    """Operation: put states and constants of lanes at places of a shard."""

    lanes: np.ndarray
    places: np.ndarray
    entries: Tree  # a pair of Lane and Constants, each leaf [lanes, ...]
    ended: np.ndarray | None = None  # the segment that each has ended with, else ``NEVER``; None: none has


class Read(NamedTuple):
    """Operation: give states and constants, a pair of Lane and Constants with leaves [lanes, ...]."""

    lanes: np.ndarray


Operation: TypeAlias = Start | Train | Write | Read


def pieces(train: Train, places: Places, ended: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The calls of a part of a round, one segment after the other.

    Args:
        train: the part.
        places: the places of the lanes on their shard.
        ended: for each lane of the group the segment in which it has ended, ``NEVER`` for others. It is read when a
            segment begins, so it must be up to date for the earlier segments by then.

    Yields:
        A segment, the lanes that it trains, and their seats.
    """
    first, at, order = int(train.segments.min()), train.begin, np.argsort(train.lanes)
    while at < train.end:
        segment, begin = first + at // train.calls, at % train.calls
        stop = min(train.calls, begin + train.end - at)
        going = (train.segments <= segment) & (ended[train.lanes] >= segment)
        calls = itertools.islice(places.calls(train.lanes[going], train.seats[going]), begin, stop)
        owners = [call.owners[call.owners >= 0] for call in calls]
        if owners:
            lanes = np.concatenate(owners)
            yield segment, lanes, train.seats[order[np.searchsorted(train.lanes, lanes, sorter=order)]]
        at += stop - begin


NEVER = np.iinfo(np.int32).max  # stands for the last segment of a lane that has not ended
_NOBODY = np.zeros(0, int), np.zeros(0, int)


class Lease(NamedTuple):
    """Operations on one shard of one group, in their order."""

    group: int
    shard: int
    operations: tuple[Operation, ...]


class Trained(NamedTuple):
    """The results of calls of one segment, lane by lane; all in one, because each array costs a message time."""

    segment: int
    lanes: np.ndarray
    seats: np.ndarray
    room: int  # the number of seats of the calls, busy or not
    outcome: Tree  # the pair of metrics and marks, each leaf [lanes]
    kind: str  # of the device


class Left(NamedTuple):
    """The answer of a worker that is about to end: nothing of the lease was done, and the lanes are returned."""

    bases: dict[int, Write]  # of the shard, by group


class WorkerTraceback(Exception):
    """The cause of an error that was raised in another process: the traceback there, as a text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Failure(NamedTuple):
    """An error that ended a lease: of the task or of an argument, which each worker meets, or of a worker's device."""

    error: Exception
    traceback: str = ""  # of the process that met it

    @property
    def is_of_device(self) -> bool:
        """Whether XLA raised it, as for a device that is lost or full; an error in a callback has that class too."""
        return isinstance(self.error, jax.errors.JaxRuntimeError)

    def raised(self) -> Exception:
        """The error to be raised, whose cause is its traceback in the other process."""
        if self.traceback:
            self.error.__cause__ = WorkerTraceback(self.traceback)
        return self.error


def failure(error: Exception) -> Failure:
    """An error as it travels to another process; one that cannot travel becomes a ``RuntimeError``."""
    text = "".join(traceback.format_exception(error))
    error = error.with_traceback(None)
    error.__cause__ = error.__context__ = None
    try:
        copy.copy(error)  # made anew from its arguments, as the other process will
        pickle.dumps((error.args, vars(error)))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Failure(error, text)


def again(operation: Operation, answer: Tree) -> Operation:
    """The operation that repeats one that was done; lanes end in the same segment, even on another kind of device."""
    if not isinstance(operation, Train):
        return operation
    over = [(done.lanes[ended], done.segment) for done in answer if (ended := done.outcome[1].ends).any()]
    if not over:
        return operation._replace(ended=_NOBODY)
    lanes = np.concatenate([its for its, _ in over]).astype(int)
    return operation._replace(ended=(lanes, np.repeat([when for _, when in over], [len(its) for its, _ in over])))


def portable(data: Splits) -> Splits:
    """The data with NumPy arrays and ``MappedFile`` in place of arrays; what streams otherwise is sent as it is."""

    def send(leaf: object) -> object:
        if isinstance(leaf, np.memmap):
            whole = leaf
            while isinstance(whole.base, np.memmap):
                whole = whole.base
            # what was written to a copy-on-write map is not in its file
            in_file = isinstance(whole.base, mmap.mmap) and whole.mode != "c"
            return MappedFile(leaf, whole) if in_file and leaf.size else leaf
        return np.asarray(leaf) if isinstance(leaf, jax.Array | np.ndarray) else leaf

    return jax.tree.map(send, data)


def encoded(tree: Tree) -> Tree:
    """The tree with NumPy arrays and ``KeyArray`` in place of arrays on devices."""

    def encode(x: object) -> object:
        if isinstance(x, jax.Array) and is_key(x):
            return KeyArray(str(jax.random.key_impl(x)), np.asarray(jax.random.key_data(x)))
        return np.asarray(x) if isinstance(x, jax.Array) else x

    return jax.tree.map(encode, tree)


def decoded(tree: Tree) -> Tree:
    """The inverse of ``encoded``, except that NumPy arrays stay NumPy arrays."""

    def decode(x: object) -> object:
        if isinstance(x, KeyArray):
            return jax.random.wrap_key_data(jnp.asarray(x.data), impl=x.implementation)
        return x

    return jax.tree.map(decode, tree, is_leaf=lambda x: isinstance(x, KeyArray))


def concatenated(parts: Sequence[Leaf]) -> Leaf:
    """The concatenation of arrays, as a NumPy array; random keys stay arrays of JAX."""
    return jnp.concatenate(parts) if is_key(parts[0]) else np.concatenate([np.asarray(part) for part in parts])
