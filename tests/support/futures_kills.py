"""A script: workers of Dask or of loky, and coordinators, are killed at random moments, which changes no bit.

The folder, the engine, the number of kills and a seed are its arguments. It starts the coordinator as a process of its
own, again after each that it kills: this script with the folder and the address of Dask's scheduler, or "loky".
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from regopt import sweep
from support import killed_sweep
from support.random_kills import killed, processes, slowly
from support.same_sweeps import same

START = 10.0  # seconds of a worker of Dask, which is not replaced if it dies before it is connected
OPTIONS = {"steps": 48, "scheduler": sweep.asynchronous_halving(3, 6), "slots": None}


@contextlib.contextmanager
def executor_at(address: str) -> Iterator[object]:
    """Two processes of loky, others of which take their places where one dies; or those of a cluster of Dask."""
    if address == "loky":
        import loky

        yield partial(loky.get_reusable_executor, 2)
        loky.get_reusable_executor().shutdown(kill_workers=True)
        return
    import distributed

    with distributed.Client(address) as client:
        yield client.get_executor()


@contextlib.contextmanager
def cluster_of(engine: str) -> Iterator[str]:
    """The address for ``executor_at``: of two workers of Dask, each with a process that starts it again."""
    if engine == "loky":
        yield engine
        return
    import distributed

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def workers(coordinator: int, engine: str) -> list[psutil.Process]:
    """The processes that run leases: children of the coordinator, or of this process."""
    if engine == "loky":
        try:
            return processes(psutil.Process(coordinator), lambda words: "loky" in words and "tracker" not in words)
        except psutil.NoSuchProcess:
            return []
    found = processes(psutil.Process(), lambda words: "spawn_main" in words)
    return [process for process in found if time.time() - process.create_time() > START]


def coordinate(folder: Path, address: str) -> None:
    """Train, slowly, until all is done, and compare with a sweep in this process."""
    with executor_at(address) as executor:
        engine = sweep.Futures(executor, shards=2, lost_after=60.0)
        result = killed_sweep.run(folder, executor=engine, callbacks=[slowly(folder)], save_every=1.0, **OPTIONS)
    same(result, killed_sweep.run(**OPTIONS))


def started(folder: Path, address: str) -> subprocess.Popen[bytes]:
    """A coordinator, which goes on from what is saved."""
    return subprocess.Popen([sys.executable, __file__, folder, address], stdout=subprocess.DEVNULL)


def main(folder: Path, engine: str, kills: int, seed: int) -> None:
    """Train sweep after sweep on the engine until there were enough kills."""
    random, done, sweeps = np.random.default_rng(seed), 0, 0
    print(f"seed {seed}")
    with cluster_of(engine) as address:
        while done < kills:
            its = folder / f"sweep {sweeps}"
            done += killed(
                its, partial(started, its, address), partial(workers, engine=engine), kills - done, random, 5.0, 1
            )
            sweeps += 1
    print(f"{done} kills in {sweeps} sweeps: the same to the bit")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        coordinate(Path(sys.argv[1]), sys.argv[2])
    else:
        main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
