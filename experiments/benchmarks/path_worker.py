"""The other libraries of ``paths.py`` in processes of their own: one that crashes or takes too long is ended.

A process keeps its library, and what the library has compiled, from problem to problem.
"""

import multiprocessing
import time
from collections.abc import Iterator
from enum import IntEnum
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from path_peers import fit_fold, peers
from path_problems import Problem, certificates, folds, problem

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 3e-9, 1e-9, 3e-10, 1e-10, 1e-12, 1e-14)


class State(IntEnum):
    """The outcome of a library on a problem."""

    MEASURED = 0
    NOT_FOR_IT = 1  # the library does not have the problem, or is not installed
    FAILED = 2
    LATE = 3  # it did not end within the time limit
    SHORT = 4  # it ended at its tightest tolerance without the gap


class Reached(NamedTuple):
    """What a library reaches on the rows outside fold 0 at one tolerance."""

    tolerance: float
    seconds: float
    gap: float  # the largest relative gap along the path
    objectives: np.ndarray  # [strengths]


class Worker:
    """The process of one library."""

    def __init__(self, peer: str):
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(peer, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def answers(self, request: tuple[str, tuple[object, ...]], limit: float) -> Iterator[object]:
        """The answers of the process to a request, one by one.

        Raises:
            TimeoutError: the last answer had not arrived within the limit, in seconds.
            RuntimeError: the library failed.
        """
        self._ours.send(request)
        deadline = time.perf_counter() + limit
        while self._ours.poll(max(0.0, deadline - time.perf_counter())):
            try:
                answer = self._ours.recv()
            except EOFError:
                raise RuntimeError("the process ended") from None
            if answer is None:
                return
            if isinstance(answer, str):
                raise RuntimeError(answer)
            yield answer
        raise TimeoutError

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _serve(peer: str, pipe: Connection) -> None:
    """Answer requests, each by some answers and None, or by the message of an error."""
    served: dict[tuple[object, ...], Problem] = {}
    while True:
        name, arguments = pipe.recv()
        try:
            which = arguments[:2]
            if which not in served:
                served = {which: problem(*which)}
            for answer in REQUESTS[name](peer, served[which], *arguments[2:]):
                pipe.send(answer)
            pipe.send(None)
        except Exception as error:  # a library that fails has no time; the others go on
            pipe.send(f"{type(error).__name__}: {error}"[:300])


def _prepare(peer: str, it: Problem, count: int) -> Iterator[object]:
    """Fit two strengths for a fold of each size, to compile most; yields whether the library has the problem."""
    fit, labels = peers(it).get(peer), folds(len(it.x), count)
    it = it._replace(strengths=it.strengths[:2])
    if fit is not None:
        for fold in np.unique(np.bincount(labels), return_index=True)[1]:
            fit_fold(fit, it, labels, fold, 1e-2)
    yield fit is not None


def _calibrate(peer: str, it: Problem, count: int, gap: float) -> Iterator[Reached]:
    """Fit the rows outside fold 0 to one tolerance after the other, until the gap is reached."""
    labels = folds(len(it.x), count)
    x, y = it.x[labels != 0], it.y[labels != 0]
    for tolerance in TOLERANCES:
        began = time.perf_counter()
        found = fit_fold(peers(it)[peer], it, labels, 0, tolerance)
        seconds = time.perf_counter() - began
        objectives, gaps = certificates(it, x, y, *found)
        reached = float(np.max(gaps / np.abs(objectives)))
        yield Reached(tolerance, seconds, reached, objectives)
        if reached <= gap:
            return


def _measure(peer: str, it: Problem, count: int, tolerance: float, used: int) -> Iterator[float]:
    """The seconds of some folds, scaled up to all folds."""
    labels = folds(len(it.x), count)
    began = time.perf_counter()
    for fold in range(used):
        fit_fold(peers(it)[peer], it, labels, fold, tolerance)
    yield (time.perf_counter() - began) * count / used


REQUESTS = {"prepare": _prepare, "calibrate": _calibrate, "measure": _measure}
