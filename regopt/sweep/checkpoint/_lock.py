"""One writer at a time, ensured by a record of the holder and a lock of the operating system.

The record decides: a process that finds the record of a living process is refused. A soft lock, a file that exists only
while a process reads the record and writes its own, serialises these accesses on any file system. The lock of the
operating system is released when its process dies; it protects the folder where processes cannot see each other, as in
two containers. ``filelock`` provides both locks.
"""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
from filelock import FileLock, SoftFileLock, Timeout

from regopt._core.io import write_json
from regopt._core.messages import reason
from regopt.sweep.checkpoint._errors import StoreAccessError, StoreInUseError, StoreTakenOverError
from regopt.sweep.checkpoint._files import read_small

LOCK, SOFT_LOCK, RECORD = "lock", "lock.soft", "lock.json"
MISSING = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)  # the file system has no locks
PATIENCE = 0.2  # seconds of further attempts, for a lock file that is just being removed
QUEUE = 10.0  # seconds to wait for other processes that read the record
SAME_START = 2.0  # seconds of tolerance: corrections of the clock change the start time of a process


class Holder(NamedTuple):
    """A process, identified by its host, number and start, since numbers are reused."""

    host: str
    pid: int
    started: float  # when the process started, in seconds since the epoch
    since: str  # when it took the lock, for people

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this host, which alone can tell whether it is alive."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; only for a process of this host."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < SAME_START  # else the number was reused
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


@contextlib.contextmanager
def held(folder: Path, say: Callable[[str], object], abandoned_after: float = 3600.0) -> Iterator[Callable[[], None]]:
    """Hold the folder's lock within the block.

    Args:
        folder: what is locked; it exists.
        say: called with one line when the lock of a process that is gone is taken over.
        abandoned_after: seconds without a sign of life from a holder on another host after which it counts as gone.

    Yields:
        A function that raises ``StoreTakenOverError`` once another process has taken over the lock.

    Raises:
        StoreInUseError: another process holds the lock, or may hold it on another host.
        StoreAccessError: the lock cannot be written.
    """
    with contextlib.ExitStack() as locks:
        try:
            locks.enter_context(_system_lock(folder))
            with _one_by_one(folder):
                _check(folder, say, abandoned_after)
                own = _own()
                write_json(folder / RECORD, own._asdict())
        except OSError as error:
            raise StoreAccessError(f"cannot lock {folder}: {reason(error)}") from error

        def check_ours() -> None:
            found = _recorded(folder)
            if found != own:
                who = found or "another process"
                raise StoreTakenOverError(f"{folder} has been taken over by {who}: nothing is saved")

        try:
            yield check_ours
        finally:
            with contextlib.suppress(OSError, StoreTakenOverError):
                check_ours()
                (folder / RECORD).unlink()


def holder(folder: Path | str) -> Holder | None:
    """Find who has a store open, as far as one can tell from this host.

    Args:
        folder: the folder of the sweep.

    Returns:
        The process; None if there is none or it is gone.
    """
    try:
        found = _recorded(Path(folder))
    except OSError:
        return None
    return None if found is None or (found.is_here and not found.is_alive) else found


def alive(folder: Path) -> None:
    """Give other hosts a sign of life from the holder of the folder's lock."""
    with contextlib.suppress(OSError):
        os.utime(folder / RECORD)


@contextlib.contextmanager
def _system_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the operating system; on a file system without locks this does nothing."""
    lock = FileLock(folder / LOCK, timeout=PATIENCE, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        found = holder(folder) or "another process"
        raise StoreInUseError(f"{folder} is in use by {found}: wait until it ends, or end it") from None
    except OSError as error:
        if error.errno not in MISSING:
            raise
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _one_by_one(folder: Path) -> Iterator[None]:
    """Hold the soft lock."""
    lock = SoftFileLock(folder / SOFT_LOCK, timeout=QUEUE, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise StoreInUseError(
            f"{folder} is being opened by another process: try again, or remove {folder / SOFT_LOCK} if there is "
            "no such process"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _check(folder: Path, say: Callable[[str], object], abandoned_after: float) -> None:
    """Raise if the record names a holder that may still run; call ``say`` if it has ended."""
    try:
        before = _recorded(folder)
    except FileNotFoundError:
        return
    if before is None:
        return
    if before.is_here and before.is_alive:  # this file system does not enforce the lock
        raise StoreInUseError(f"{folder} is in use by {before}: wait until it ends, or end it")
    if not before.is_here and time.time() - (folder / RECORD).stat().st_mtime <= abandoned_after:
        raise StoreInUseError(
            f"{folder} is in use by {before}, which cannot be checked from {socket.gethostname()}: "
            f"once that process has ended, remove {folder / RECORD}, or wait until it has shown no sign of life for an "
            "hour"
        )
    say(f"{folder} was left by {before}, which is gone: taking over")


def _own() -> Holder:
    """The record of the calling process."""
    process = psutil.Process()
    return Holder(socket.gethostname(), process.pid, process.create_time(), time.strftime("%Y-%m-%d %H:%M:%S"))


def _recorded(folder: Path) -> Holder | None:
    """The holder that the record names; None where no process wrote it; OSError where it cannot be read."""
    try:
        found = Holder(**json.loads(read_small(folder / RECORD, 4096) or b""))
    except (ValueError, TypeError, RecursionError):
        return None
    is_valid = type(found.pid) is int and found.pid > 0 and isinstance(found.started, int | float)
    return found if is_valid and isinstance(found.host, str) and isinstance(found.since, str) else None
