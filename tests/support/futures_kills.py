"""A script: workers of Dask or of loky are killed at random moments while they train sweeps, which changes no bit.

The folder, the engine, the number of kills and a seed are its arguments.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from regopt import sweep
from support import killed_sweep
from support.same_sweeps import same

OPTIONS = {"steps": 48, "scheduler": sweep.asynchronous_halving(3, 6), "slots": None}


@contextmanager
def on_loky():
    """Two processes of loky; others take their places where one dies."""
    import loky

    yield partial(loky.get_reusable_executor, 2), processes_of_loky
    loky.get_reusable_executor().shutdown(kill_workers=True)


@contextmanager
def on_distributed():
    """Two workers of Dask, each with a process that starts it again."""
    import distributed

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor(), lambda: [nanny.pid for nanny in cluster.workers.values() if nanny.pid]


def processes_of_loky() -> list[int]:
    """The processes that run leases."""
    found = []
    for child in psutil.Process().children():
        try:
            words = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if "loky" in words and "tracker" not in words:
            found.append(child.pid)
    return found


def kill(
    workers: Callable[[], list[int]],
    kills: int,
    random: np.random.Generator,
    trained: threading.Event,
    ended: threading.Event,
    done: list[float],
) -> None:
    """Kill a worker some time after something was trained, as often as asked for."""
    began = time.monotonic()
    while len(done) < kills and not ended.wait(random.uniform(0.1, 2.0)):
        if not trained.wait(0.0):
            continue
        trained.clear()
        alive = workers()
        if alive:
            os.kill(alive[random.integers(len(alive))], signal.SIGKILL)
            done.append(time.monotonic() - began)
            print(f"kill {len(done)} after {done[-1]:.1f} s", flush=True)


def main(folder: Path, engine: str, kills: int, seed: int) -> None:
    """Train sweep after sweep on the engine until there were enough kills, and compare each with this process."""

    def slowly(step, settings, metrics):
        trained.set()
        time.sleep(0.02)

    trained = threading.Event()
    whole, random, done, sweeps = killed_sweep.run(**OPTIONS), np.random.default_rng(seed), [], 0
    print(f"seed {seed}")
    with {"loky": on_loky, "distributed": on_distributed}[engine]() as (executor, workers):
        while len(done) < kills:
            trained.clear()
            ended = threading.Event()
            killer = threading.Thread(target=kill, args=(workers, kills, random, trained, ended, done))
            killer.start()
            try:
                its = sweep.Futures(executor, shards=2, lost_after=60.0)
                found = killed_sweep.run(folder / f"sweep {sweeps}", executor=its, callbacks=[slowly], **OPTIONS)
            finally:
                ended.set()
                killer.join()
            same(found, whole)
            sweeps += 1
    print(f"{len(done)} kills in {sweeps} sweeps: the same to the bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
