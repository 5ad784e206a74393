"""Kills at random moments of sweeps on an executor: of workers, and of the coordinator, which is started again."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

VICTIMS = ("coordinator", "worker", "worker", "worker that leaves")  # the first three by SIGKILL, which are counted
NO_WORKERS = 75  # the exit code of a coordinator whose engine has no worker left
LONGEST = 300.0  # seconds that the sweep may take between two kills, and after the last


def trained(folder: Path) -> Path:
    """The file that a coordinator touches whenever lanes have trained."""
    return folder.with_suffix(".trained")


def slowly(folder: Path) -> Callable[[int, object, object], None]:
    """A callback that says that lanes have trained, and takes its time."""

    def on_segment(step, settings, metrics):
        trained(folder).touch()
        time.sleep(0.02)

    return on_segment


def processes(below: psutil.Process, is_worker: Callable[[str], bool]) -> list[psutil.Process]:
    """The processes that a process has started, or these have, whose command line is that of a worker."""
    found = []
    for process in below.children(recursive=True):
        try:
            if is_worker(" ".join(process.cmdline())):
                found.append(process)
        except psutil.Error:
            continue
    return found


def killed(
    folder: Path,
    started: Callable[[], subprocess.Popen[bytes]],
    workers: Callable[[int], list[psutil.Process]],
    kills: int,
    random: np.random.Generator,
    longest_pause: float,
    most_idle: int,
    renew: Callable[[], None] | None = None,
) -> int:
    """Train one sweep to its end, and kill at random moments meanwhile.

    Args:
        folder: where the sweep is saved.
        started: starts a coordinator, which goes on from what is saved, and fails where the bits are not those of one
            process.
        workers: gives the processes of the workers from the process id of the coordinator.
        kills: the largest number of kills.
        random: draws moments and victims.
        longest_pause: seconds between two kills, at most.
        most_idle: kills in a row before something has trained.
        renew: makes new workers where the engine has none left, which its coordinator then says; the same one goes on.

    Returns:
        The number of kills.
    """
    done, coordinator, began = 0, started(), time.monotonic()
    idle = 0
    while (ended := coordinator.poll()) in (None, NO_WORKERS) and time.monotonic() - began < LONGEST:
        if ended == NO_WORKERS and renew is not None:
            print(f"{folder.name}: no worker is left after {time.monotonic() - began:.1f} s", flush=True)
            renew()
            coordinator, began = started(), time.monotonic()
        time.sleep(random.uniform(0.5, longest_pause))
        victim = VICTIMS[random.integers(len(VICTIMS))]
        if trained(folder).exists():
            trained(folder).unlink()
            idle = 0
        if done == kills or idle == most_idle or coordinator.poll() is not None:
            continue
        alive = workers(coordinator.pid)
        if victim == "coordinator":
            coordinator.kill()
            coordinator.wait(timeout=60)
            coordinator = started()
        elif alive:
            chosen = alive[random.integers(len(alive))]
            chosen.kill() if victim == "worker" else chosen.terminate()
        else:
            continue
        done += victim != "worker that leaves"
        idle += 1
        print(f"{folder.name} kill {done} after {time.monotonic() - began:.1f} s: {victim}", flush=True)
        began = time.monotonic()
    if coordinator.poll() is None:
        coordinator.kill()
    assert coordinator.wait(timeout=60) == 0, "the sweep did not end, or to other bits"
    return done
