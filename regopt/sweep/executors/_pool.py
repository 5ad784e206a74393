"""The interface of an engine: workers that run the leases of a coordinator and report those that are lost."""

from collections.abc import Collection, Hashable
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from regopt._core.messages import one_line
from regopt._core.types import Tree
from regopt.data import Splits
from regopt.sweep.executors._messages import Failure, Job, Lease, Left, Prepared

Answer = TypeVar("Answer")


class LostError(Exception):
    """A lease came back without an answer: its worker died, left, or does not answer, or its device failed."""


class NoWorkersError(LostError):
    """No worker of an engine answers, so that a sweep ends; what is saved goes on with other workers."""


def checked(answer: Answer | Failure) -> Answer:
    """The answer of a worker, unless it is an error.

    Raises:
        LostError: the error is of the worker's device, and another worker need not meet it.
        Exception: any other error, which is the task's own.
    """
    if not isinstance(answer, Failure):
        return answer
    error = answer.raised()
    if answer.is_of_device:
        raise LostError(f"its device failed: {one_line(str(error))[:240]}") from error
    raise error


class Pool(Protocol):
    """Workers of an engine.

    Attributes:
        keeps_lanes: whether a worker keeps its lanes between leases; else every lease carries them.
        lost_after: seconds without an answer after which a worker counts as lost.
    """

    keeps_lanes: bool
    lost_after: float

    def size(self) -> int:
        """The number of workers that there is room for."""
        ...

    def open(self, job: Job, data: Splits) -> Prepared:
        """Start one worker, which compiles the programs and chooses what the job leaves open."""
        ...

    def join(self, job: Job, like: Prepared) -> None:
        """Let other workers join; they build a job that leaves nothing open, and their environment must be the same."""
        ...

    def workers(self) -> list[str]:
        """The workers that are ready, at least one."""
        ...

    def submit(self, worker: str, lease: Lease) -> Hashable:
        """Hand a lease to a worker, which runs its leases in order, and return a handle."""
        ...

    def clock(self) -> float:
        """The seconds since an arbitrary start."""
        ...

    def wait(self, handles: Collection[Hashable], seconds: float) -> Hashable | None:
        """A handle whose lease has an answer, or None if there is none after so many seconds."""
        ...

    def result(self, handle: Hashable) -> list[Tree] | Failure | Left:
        """The answer of a lease.

        Raises:
            LostError: the worker was lost, so there will be no answer.
        """
        ...

    def drop(self, worker: str) -> None:
        """Give a worker up, so that all of its leases are lost."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


@runtime_checkable
class Engine(Protocol):
    """An engine, which trains lanes outside of the sweep's process; ``sweep.Ray`` and ``sweep.Futures`` are engines.

    Attributes:
        shards: pieces that the lanes are divided into; None leaves it to the number of workers.
        mixed: whether workers may have different kinds of devices.
    """

    @property
    def shards(self) -> int | None:
        """The pieces that the lanes are divided into; None leaves it to the number of workers."""
        ...

    @property
    def mixed(self) -> bool:
        """Whether workers may have different kinds of devices."""
        ...

    def pool(self, folder: Path | None) -> Pool:
        """The workers of the engine, for a sweep that is saved in this folder."""
        ...
