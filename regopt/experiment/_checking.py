"""The claims of all experiments: one experiment after the other, or several at a time in processes of their own.

An experiment that breaks is one failed claim, and the others go on. The table of claims is made in ``_cli.py``.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

from regopt.experiment._claims import Claim, failure
from regopt.experiment._config import read_config
from regopt.experiment._discovery import Listing, configs_of, load_experiment
from regopt.experiment._runner import execute

POLL = 0.2  # seconds after which a signal is noticed


class Checked(NamedTuple):
    """The outcome of one experiment.

    Attributes:
        claims: its claims, or one that fails and says why the experiment broke.
        interrupted: whether it was ended early.
        trace: the traceback of the error that ended it, or nothing.
    """

    claims: tuple[Claim, ...]
    interrupted: bool = False
    trace: str = ""


class _Worker(NamedTuple):
    """A process that checks experiments, and the pipe to it."""

    process: SpawnProcess
    pipe: connection.Connection


def check_all(listings: Sequence[Listing], config_name: str, out: Path, jobs: int) -> tuple[list[Checked], bool]:
    """Run experiments and collect their claims.

    Args:
        listings: the experiments.
        config_name: which of their configs.
        out: the folder of all runs.
        jobs: how many run at a time; with more than one, each runs in another process.

    Returns:
        The outcomes of those that began, in the order of the listings, and whether they were interrupted.
    """
    if jobs > 1:
        return _check_side_by_side(listings, config_name, out, jobs)
    checked: list[Checked] = []
    for listing in listings:
        checked.append(check(listing, config_name, out))
        if checked[-1].interrupted:
            return checked, True
    return checked, False


def check(listing: Listing, config_name: str, out: Path) -> Checked:
    """Run one experiment; an error in it becomes a claim that fails."""
    try:
        config_path = configs_of(listing.path) / f"{config_name}.toml"
        experiment = load_experiment(listing.path)
        outcome = execute(experiment, read_config(config_path, experiment.config_class), out)
    except KeyboardInterrupt:
        return Checked((), interrupted=True)
    except (Exception, SystemExit) as error:
        return Checked((failure(listing.name, str(listing.path), error),), trace=traceback.format_exc())
    claims = [replace(claim, statement=f"{listing.name}: {claim.statement}") for claim in outcome.claims]
    return Checked(tuple(claims), outcome.interrupted)


def _check_side_by_side(
    listings: Sequence[Listing], config_name: str, out: Path, jobs: int
) -> tuple[list[Checked], bool]:
    """Experiments in processes of their own, which take the next one as soon as they are done."""
    checked: dict[int, Checked] = {}
    waiting = deque(range(len(listings)))
    busy: dict[int, _Worker] = {}
    idle: list[_Worker] = []
    with _noted_signals() as noted:
        handled = 0
        while busy or (waiting and not noted):
            while waiting and not noted and len(busy) < jobs:
                number = waiting.popleft()
                busy[number] = idle.pop() if idle else _start(jobs)
                busy[number].pipe.send((listings[number], config_name, out))
            ready = connection.wait([worker.pipe for worker in busy.values()], POLL)
            for number in [number for number, worker in busy.items() if worker.pipe in ready]:
                worker = busy.pop(number)
                checked[number] = _received(worker, listings[number])
                if worker.process.is_alive():
                    idle.append(worker)
            if len(noted) > handled:  # the first signal lets them save what they have
                _signal(busy.values(), signal.SIGKILL if handled else signal.SIGINT)
                handled = len(noted)
    for worker in idle:
        worker.pipe.close()
        worker.process.join()
    found = [checked[number] for number in sorted(checked)]
    return found, bool(noted) or any(each.interrupted for each in found)


def _start(jobs: int) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork of a process in which JAX has run may hang
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, jobs))
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return _Worker(process, ours)


def _serve(pipe: connection.Connection, jobs: int) -> None:
    """Check the experiments that arrive through a pipe until it is closed, on a ``1 / jobs`` share of the cores."""
    from regopt.sweep.engine import available_cores, use_all_cores

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until there is work
    os.setpgrp()  # Ctrl-C of a terminal reaches the parent, which tells its processes
    use_all_cores(max(1, available_cores() // jobs))  # each device compiles programs of its own
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            work = pipe.recv()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            checked = check(*work)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            pipe.send(checked)


def _received(worker: _Worker, listing: Listing) -> Checked:
    """The outcome that a process reports; where the process died, that of an experiment that broke."""
    try:
        return worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        error = RuntimeError(f"its process died with exit code {worker.process.exitcode}")
        return Checked((failure(listing.name, str(listing.path), error),))


def _signal(workers: Iterable[_Worker], number: signal.Signals) -> None:
    for worker in workers:
        if worker.process.pid is not None and worker.process.is_alive():
            os.kill(worker.process.pid, number)


@contextlib.contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, so that this process can end the others first; only in the main thread."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {
        number: signal.signal(number, lambda received, _: noted.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
