"""A script: workers of Dask or of loky, and coordinators, are killed at random moments, which changes no bit.

The folder, the engine, the number of kills and a seed are its arguments. It starts the coordinator as a process of its
own, again after each that it kills: this script with the folder and the address of Dask's scheduler, or "loky".
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from regopt import sweep
from regopt.sweep.executors._pool import NoWorkersError
from support import killed_sweep
from support.random_kills import NO_WORKERS, killed, processes, slowly
from support.same_sweeps import same

LOST_AFTER, IDLE = 30.0, 2  # IDLE: kills in a row before something has trained
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


class Cluster:
    """Two workers of Dask, each with a process that starts it again; loky starts its own.

    Attributes:
        address: for ``executor_at``.
    """

    def __init__(self, engine: str) -> None:
        self.address, self._cluster = engine, None
        if engine != "loky":
            self.renew()

    def renew(self) -> None:
        """Start workers in place of those there were."""
        import distributed

        self.close()
        self._cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        self.address = self._cluster.scheduler_address

    def close(self) -> None:
        """End the workers."""
        if self._cluster is not None:
            self._cluster.close()


def workers(coordinator: int, engine: str) -> list[psutil.Process]:
    """The processes that run leases: children of the coordinator, or of this process."""
    if engine == "loky":
        try:
            return processes(psutil.Process(coordinator), lambda words: "loky" in words and "tracker" not in words)
        except psutil.NoSuchProcess:
            return []
    return processes(psutil.Process(), lambda words: "spawn_main" in words)


def coordinate(folder: Path, address: str) -> None:
    """Train, slowly, until all is done, and compare with a sweep in this process."""
    try:
        with executor_at(address) as executor:
            engine = sweep.Futures(executor, shards=2, lost_after=LOST_AFTER)
            result = killed_sweep.run(folder, executor=engine, callbacks=[slowly(folder)], save_every=1.0, **OPTIONS)
    except NoWorkersError as error:
        print(error, *getattr(error, "__notes__", ()), file=sys.stderr)
        raise SystemExit(NO_WORKERS) from error
    same(result, killed_sweep.run(**OPTIONS))


def started(folder: Path, cluster: Cluster) -> subprocess.Popen[bytes]:
    """A coordinator, which goes on from what is saved."""
    return subprocess.Popen([sys.executable, __file__, folder, cluster.address], stdout=subprocess.DEVNULL)


def main(folder: Path, engine: str, kills: int, seed: int) -> None:
    """Train sweep after sweep on the engine until there were enough kills."""
    random, done, sweeps = np.random.default_rng(seed), 0, 0
    print(f"seed {seed}")
    cluster = Cluster(engine)
    while done < kills:
        its = folder / f"sweep {sweeps}"
        start, alive = partial(started, its, cluster), partial(workers, engine=engine)
        done += killed(its, start, alive, kills - done, random, 5.0, IDLE, cluster.renew)
        sweeps += 1
    cluster.close()
    print(f"{done} kills in {sweeps} sweeps: the same to the bit")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        coordinate(Path(sys.argv[1]), sys.argv[2])
    else:
        main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
