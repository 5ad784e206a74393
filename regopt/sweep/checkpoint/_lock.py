"""One writer at a time: a lock file that names its holder, under a lock of the system that dies with the holder.

The system's lock (``flock``) decides; a killed process cannot keep it, and a reused process number does not have it.
The name in the file tells people whom to ask, and guards where file systems keep such locks to one host or have none.
"""

import contextlib
import errno
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from regopt.sweep.checkpoint._errors import StoreError, StoreInUseError, reason

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

NAME = "lock"


class Holder(NamedTuple):
    """A process, so that no other one is mistaken for it."""

    host: str
    pid: int
    started: str  # when the process started, in the system's own words
    since: str  # when it took the lock, for people

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it ran on this host, so that one can look."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; only for one of this host."""
        return process_start(self.pid) == self.started


@contextlib.contextmanager
def held(folder: Path, say: Callable[[str], Any], abandoned_after: float = 3600.0) -> Iterator[Callable[[], None]]:
    """Hold the folder's lock within the block.

    Args:
        folder: what is locked; it exists.
        say: told when the lock of a process that is gone is taken over.
        abandoned_after: seconds without a sign of life from a holder on another host after which it counts as gone.

    Yields:
        A function that raises ``StoreError`` once another host has taken this process for gone.

    Raises:
        StoreError: another process holds the lock, may hold it on another host, or it cannot be written.
    """
    path = folder / NAME
    try:
        descriptor = _locked(path)
    except OSError as error:
        raise StoreError(f"cannot lock {folder}: {reason(error)}") from error
    try:
        silent_for = time.time() - os.fstat(descriptor).st_mtime
        _check(path, _parse(os.pread(descriptor, 4096, 0)), say, lost=silent_for > abandoned_after)
        pid = os.getpid()
        own = Holder(socket.gethostname(), pid, process_start(pid) or "", time.strftime("%Y-%m-%d %H:%M:%S"))
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(own._asdict()).encode(), 0)
            os.fsync(descriptor)
        except OSError as error:
            raise StoreError(f"cannot lock {folder}: {reason(error)}") from error

        def check_ours() -> None:
            found = _parse(path.read_bytes())
            if found != own:
                raise StoreError(f"{folder} has been taken over by {found or 'another process'}: nothing is saved")

        try:
            yield check_ours
        finally:
            with contextlib.suppress(OSError, StoreError):
                check_ours()
                path.unlink()  # before the lock is free: whoever waits for this file sees that it is gone
    finally:
        os.close(descriptor)


def holder(folder: Path | str) -> Holder | None:
    """Who has a store open, as far as one can tell from this host.

    Args:
        folder: the sweep's.

    Returns:
        The process; None if there is none or it is gone.
    """
    try:
        found = _parse((Path(folder) / NAME).read_bytes())
    except OSError:
        return None
    return None if found is None or (found.is_here and not found.is_alive) else found


def process_start(pid: int) -> str | None:
    """When a process of this host started, a string that no later process of the same number has; None if gone."""
    if Path("/proc/self/stat").exists():
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name may hold anything
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"  # ended, but not yet collected; clock ticks
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def _locked(path: Path) -> int:
    """A descriptor of the lock file that has the system's lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _flock(descriptor)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            found = _parse(os.pread(descriptor, 4096, 0))
            os.close(descriptor)
            message = f"{path.parent} is in use by {found or 'another process'}: wait until it ends, or end it"
            raise StoreInUseError(message) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder has just ended and removed the name


def _flock(descriptor: int) -> None:
    """Take the system's lock; nothing happens where the system or the file system knows none."""
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise


def alive(folder: Path) -> None:
    """A sign of life from the holder of the folder's lock."""
    with contextlib.suppress(OSError):
        os.utime(folder / NAME)


def _check(path: Path, before: Holder | None, say: Callable[[str], Any], *, lost: bool) -> None:
    """Refuse a holder that may still be there; tell of one that is gone."""
    if before is None:
        return
    if not before.is_here and not lost:
        raise StoreInUseError(
            f"{path.parent} is in use by {before}, which cannot be checked from {socket.gethostname()}: "
            f"once that process has ended, remove {path}, or wait for an hour without a sign of it"
        )
    if before.is_here and before.is_alive:  # this file system gives the lock to everyone
        raise StoreInUseError(f"{path.parent} is in use by {before}: wait until it ends, or end it")
    say(f"{path.parent} was left by {before}, which is gone: taking over")


def _parse(text: bytes) -> Holder | None:
    """The holder that a lock file names; None where it is empty or was cut short."""
    try:
        found = Holder(**json.loads(text))
        return found if isinstance(found.pid, int) else None
    except (ValueError, TypeError):
        return None
