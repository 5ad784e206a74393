"""A script: workers of Dask or of loky are killed at random moments while they train sweeps, which changes no bit.

The folder, the engine, the number of kills and a seed are its arguments.
"""

import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from regopt import sweep
from support import killed_sweep
from support.same_sweeps import same

OPTIONS = {"steps": 120, "scheduler": sweep.asynchronous_halving(3, 20), "slots": None}


@contextmanager
def on_loky():
    """Two processes of loky; others take their places where one dies."""
    import loky

    yield partial(loky.get_reusable_executor, 2)
    loky.get_reusable_executor().shutdown(kill_workers=True)


@contextmanager
def on_distributed():
    """Two workers of Dask, each with a process that starts it again."""
    import distributed

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


def workers() -> list[psutil.Process]:
    """The processes that run leases, those that have used the most time first."""
    found = [child for child in psutil.Process().children(recursive=True) if "tracker" not in " ".join(child.cmdline())]
    return sorted(found, key=lambda child: -child.cpu_times().user)[:2]


def kill(kills: int, random: np.random.Generator, ended: threading.Event, done: list[float]) -> None:
    """Kill a worker now and then, as often as asked for."""
    began = time.monotonic()
    while len(done) < kills and not ended.wait(random.uniform(1.0, 10.0)):
        try:
            chosen = workers()[random.integers(2)]
            chosen.kill()
        except (psutil.Error, IndexError):
            continue
        done.append(time.monotonic() - began)
        print(f"kill {len(done)} after {done[-1]:.1f} s: process {chosen.pid}", flush=True)


def main(folder: Path, engine: str, kills: int, seed: int) -> None:
    """Train sweep after sweep on the engine until there were enough kills, and compare each with this process."""

    def slowly(step, settings, metrics):
        time.sleep(0.02)

    whole, random, done, sweeps = killed_sweep.run(**OPTIONS), np.random.default_rng(seed), [], 0
    print(f"seed {seed}")
    with {"loky": on_loky, "distributed": on_distributed}[engine]() as executor:
        while len(done) < kills:
            ended = threading.Event()
            killer = threading.Thread(target=kill, args=(kills, random, ended, done))
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
