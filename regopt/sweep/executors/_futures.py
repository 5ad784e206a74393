"""Any executor of ``concurrent.futures`` as the engine of a sweep; its workers keep nothing between leases."""

import time
from collections.abc import Callable, Collection, Hashable
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from regopt._core.checks import check_switch
from regopt._core.io import free_bytes, replacing
from regopt._core.messages import brief, one_line, reason
from regopt._core.numerics import check_number, check_whole
from regopt._core.types import Tree
from regopt.data import Splits
from regopt.sweep.checkpoint import StoreAccessError
from regopt.sweep.engine._config import Submits
from regopt.sweep.executors._messages import Failure, Job, Lease, Left, Prepared
from regopt.sweep.executors._pool import LostError, NoWorkersError, checked
from regopt.sweep.executors._remote import File, Requeued, prepare, run

_STARTS = 3  # attempts to start the first worker
DATA = "data"  # the folder, within that of the sweep, in which workers find the examples


@dataclass(frozen=True)
class Futures:
    """Train a sweep on an executor of ``concurrent.futures``: a process pool, loky, Dask, submitit.

    Work is handed out in leases: one trains the lanes of one call for one segment, and carries their states to the
    worker and back. So any worker can take any lease, and a lease that is lost is given to another one. The workers
    read the data from the folder of the sweep. The executor must be able to send the functions of the task to its
    workers: loky, Dask and submitit send any function, the process pool of the standard library those that are defined
    in a module. A job of submitit that is preempted or runs out of time is requeued and repeats its lease.

    Args:
        executor: an object with ``submit(function, *arguments)``, or a function without arguments that makes one, which
            is called again where the executor breaks.
        shards: pieces that the lanes are divided into, >= 1, as many as there are workers or more. A shard computes as
            one device does: the result is bit for bit that of one process with as many devices.
        lost_after: seconds after which a lease without an answer counts as lost, > 0. They count from when a later
            lease is answered, or, where there is none, from the last answer, so this must be longer than the engine
            takes to start a job and to compile the programs. If nothing at all is answered for twice as long, the
            executor has lost its workers, and the sweep ends with an error; the same call goes on from the last save
            once there are others.
        mixed: whether workers may have different kinds of devices of one platform; see ``sweep.Ray``.

    Raises:
        ValueError: an argument is out of range, or ``executor`` is neither a function nor has a method ``submit``.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from regopt import sweep
        >>> sweep.Futures(ThreadPoolExecutor(2), shards=2).shards
        2
    """

    executor: Submits | Callable[[], Submits]
    shards: int
    lost_after: float = 600.0
    mixed: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not (callable(getattr(self.executor, "submit", None)) or callable(self.executor)):
            raise ValueError(f"executor must have a method submit, got {brief(self.executor)}")
        check_whole("shards", self.shards, "[1, inf)")
        check_number("lost_after", self.lost_after, "(0, inf)")
        check_switch("mixed", self.mixed)

    def pool(self, folder: Path | None) -> "FuturesPool":
        """See ``Engine``."""
        if folder is None:
            raise ValueError(
                "an executor of concurrent.futures needs a folder that all workers see: pass out, got None"
            )
        return FuturesPool(self, folder / DATA)


class FuturesPool:
    """The workers of an executor, presented as one worker that is never lost; see ``Pool``.

    Args:
        options: the engine, with the executor and the arguments of the user.
        folder: a folder that all workers see, for the data.
    """

    keeps_lanes = False

    def __init__(self, options: Futures, folder: Path):
        self._options, self._folder, self.lost_after = options, folder, options.lost_after
        self._executor: Submits | None = None
        self._job: Job | None = None
        self._where: Tree = None
        self._expected: Prepared | None = None

    def size(self) -> int:
        """See ``Pool``."""
        return self._options.shards

    def open(self, job: Job, data: Splits) -> Prepared:
        """See ``Pool``."""
        self._where = _stored(self._folder, data)
        return self._first(job, _STARTS)

    def _first(self, job: Job, attempts: int) -> Prepared:
        """The report of the first worker that is ready; a worker that is lost is replaced until no attempt is left."""
        try:
            handle = self._submit(Requeued(prepare), job, self._where)
            if self.wait([handle], self.lost_after) is None:
                raise LostError(f"no answer in lost_after = {self.lost_after:g} s")
            return checked(self._get(handle))
        except LostError as error:
            if attempts == 1:
                raise NoWorkersError(f"no worker of the executor starts: {error}") from error
        return self._first(job, attempts - 1)

    def join(self, job: Job, like: Prepared) -> None:
        """See ``Pool``; each lease checks the environment of the worker on which it runs."""
        self._job, self._expected = job, like

    def workers(self) -> list[str]:
        """See ``Pool``."""
        return ["executor"]

    def submit(self, worker: str, lease: Lease) -> Hashable:
        """See ``Pool``."""
        del worker
        return self._submit(Requeued(run), self._job, self._where, lease, self._expected, self._options.mixed)

    def clock(self) -> float:
        """See ``Pool``."""
        return time.monotonic()

    def wait(self, handles: Collection[Hashable], seconds: float) -> Hashable | None:
        """See ``Pool``."""
        until, pause = time.monotonic() + seconds, 1e-4
        while True:
            for handle in handles:
                if handle.done():  # type: ignore[attr-defined]
                    return handle
            if time.monotonic() > until:
                return None
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def result(self, handle: Hashable) -> list[Tree] | Failure | Left:
        """See ``Pool``."""
        return self._get(handle)

    def _get(self, handle: Any) -> Any:
        try:
            return handle.result()
        except LostError:
            raise
        except Exception as error:  # of the engine: an error of the task is returned as an answer
            raise LostError(f"{type(error).__name__}: {one_line(str(error))[:200]}") from error

    def drop(self, worker: str) -> None:
        """See ``Pool``; the executor itself replaces its workers."""

    def close(self) -> None:
        """See ``Pool``; the executor belongs to the caller."""
        self._executor = None

    def _submit(self, function: Callable[..., object], *arguments: object) -> Any:
        given = self._options.executor
        makes = not callable(getattr(given, "submit", None))
        if self._executor is None:
            self._executor = given() if makes else given  # type: ignore
        try:
            return self._executor.submit(function, *arguments)  # type: ignore[union-attr]
        except BrokenExecutor as error:
            if not makes:
                raise ValueError(
                    f"the executor is broken and takes no more work: {one_line(str(error))[:200]}; give "
                    "sweep.Futures a function that makes one, and run the same call again"
                ) from error
        self._executor = given()  # type: ignore
        return self._executor.submit(function, *arguments)  # type: ignore[union-attr]


def _stored(folder: Path, data: Splits) -> Tree:
    """The tree of the data, with its arrays saved in the folder and replaced by their files."""
    leaves, structure = jax.tree.flatten(data)
    files = []
    for number, leaf in enumerate(leaves):
        if not isinstance(leaf, np.ndarray):
            files.append(leaf)
            continue
        path = folder / f"{number}.npy"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, leaf, allow_pickle=False)
        except OSError as error:
            raise StoreAccessError(
                f"cannot write the data of the workers to {folder}: {reason(error)}; this needs {leaf.nbytes:,} bytes, "
                f"{free_bytes(folder)} are free"
            ) from error
        files.append(File(path.resolve(), leaf))
    return structure.unflatten(files)
