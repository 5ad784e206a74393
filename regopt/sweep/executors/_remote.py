"""The workers of an executor of ``concurrent.futures``: they build the programs of a job once, and run its leases."""

import importlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.executors._fleet import check_alike
from regopt.sweep.executors._messages import Failure, Job, Lease, Left, Prepared, failure
from regopt.sweep.executors._pool import LostError, checked
from regopt.sweep.executors._worker import Worker

_END_SECONDS = 1.0  # that a process whose device failed goes on, so that its last answer arrives
_ending = threading.Event()  # whether this process ends


class File:
    """An array in a file of the folder.

    Args:
        path: the file.
        array: what is in it; the format of the file has no name for dtypes such as bfloat16.
    """

    def __init__(self, path: Path, array: np.ndarray):
        self._path, self._dtype = path, array.dtype
        self._streams = isinstance(array, np.memmap)  # as such data do, wherever they are

    def read(self) -> np.ndarray:
        """The array, in memory unless it was memory-mapped."""
        return np.load(self._path, mmap_mode="r" if self._streams else None, allow_pickle=False).view(self._dtype)


def _process() -> tuple[str, int]:
    """The host and the number of this process."""
    return socket.gethostname(), os.getpid()


@lru_cache(maxsize=2)
def _worker(token: str) -> list[Worker]:
    """A list for the worker that ``_built`` makes for a job; those of the two most recent jobs are kept."""
    del token
    return []


def _built(job: Job, where: Tree) -> Worker:
    place = _worker(job.token)
    if not place:
        place.append(Worker(job, jax.tree.map(lambda leaf: leaf.read() if isinstance(leaf, File) else leaf, where)))
    return place[0]


class Requeued:
    """A function that submitit calls again from its beginning if its job is preempted or runs out of time.

    Where the device of a process fails, the process ends, unless it is the coordinator's own, and another one takes the
    leases: a device that is lost does not come back to a process.

    Args:
        function: a function that keeps nothing between calls.
    """

    def __init__(self, function: Callable[..., object]):
        self._function, self._coordinator = function, _process()

    def __call__(self, *arguments: object) -> object:
        """Call the function.

        Raises:
            LostError: the device of this process failed, now or before.
            Exception: of submitit during the call, which is not the task's.
        """
        if _ending.wait(0):
            time.sleep(10 * _END_SECONDS)  # the process ends meanwhile
            raise LostError("its device failed before")
        answer = self._function(*arguments)
        if isinstance(answer, Failure):
            if type(answer.error).__module__.startswith("submitit."):
                raise answer.error
            if answer.is_of_device:
                self._end()
                checked(answer)
        return answer

    def _end(self) -> None:
        """Forget what was built, and end the process once the error is on its way."""
        _worker.cache_clear()
        if _process() != self._coordinator:
            _ending.set()
            end = threading.Timer(_END_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
            end.daemon = True
            end.start()

    def checkpoint(self, *arguments: object) -> object:
        """The call that submitit makes when it requeues the job: the same one."""
        return importlib.import_module("submitit.helpers").DelayedSubmission(self, *arguments)


def prepare(job: Job, where: Tree) -> Prepared | Failure:
    """Compile the programs of a job, with the data in these files."""
    return _built(job, where).prepare()


def run(job: Job, where: Tree, lease: Lease, expected: Prepared, mixed: bool) -> list[Tree] | Failure | Left:
    """Run a lease of a job, unless the environment or the programs of this process are not those that are expected."""
    worker = _built(job, where)
    try:
        check_alike(expected, worker.report(lease.shard), mixed=mixed)
    except Exception as error:
        return failure(error)
    return worker.run(lease)
