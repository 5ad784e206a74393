"""A thread that reads data while others compute.

The thread is a daemon, so that a process which is interrupted does not wait for data that never come. The threads in
which XLA compiles are in ``_executables.py``.
"""

import atexit
import threading
import weakref
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

Read = TypeVar("Read")


class Reader:
    """A thread that calls functions in turn; it ends once the reader is garbage-collected.

    Args:
        name: the name of the thread.
    """

    def __init__(self, name: str):
        self._calls: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._pending: set[Future[Any]] = set()
        threading.Thread(target=_in_turn, args=(self._calls,), name=name, daemon=True).start()
        weakref.finalize(self, self._calls.put, None).atexit = False
        _READERS.add(self)

    def submit(self, function: Callable[..., Read], *arguments: object) -> Future[Read]:
        """Have a function called after those that were submitted before."""
        done: Future[Read] = Future()
        self._pending.add(done)
        done.add_done_callback(self._pending.discard)
        self._calls.put((self, done, function, arguments))
        return done

    def wait(self) -> None:
        """Wait for all that was submitted."""
        futures.wait(list(self._pending))


_READERS: weakref.WeakSet[Reader] = weakref.WeakSet()


@atexit.register
def _wait() -> None:
    """Wait at the end of the process, as Python aborts if JAX returns to it in a daemon thread; see ``end_with``."""
    for reader in list(_READERS):
        reader.wait()


def _in_turn(calls: SimpleQueue[tuple[Any, ...] | None]) -> None:
    while (call := calls.get()) is not None:
        reader, done, function, arguments = call
        try:
            done.set_result(function(*arguments))
        except BaseException as error:
            done.set_exception(error)
        del call, reader, done, function, arguments  # they would otherwise live until the next call
