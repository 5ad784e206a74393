"""A script: workers and coordinators of sweeps on a Ray cluster are killed at random moments, which changes no bit.

The folder, the number of kills and a seed are its arguments. It starts a cluster of three nodes and the coordinator as
a process of its own, again after each that it kills: this script with the folder and the address of the cluster.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from ray.cluster_utils import Cluster

from regopt import sweep
from support import killed_sweep
from support.random_kills import killed, processes, slowly
from support.same_sweeps import same

IDLE = 2  # kills before something has trained; the third loss of the first worker would end the sweep
OPTIONS = {"steps": 120, "slots": None, "patience": 20, "scheduler": sweep.asynchronous_halving(3, 20)}


def coordinate(folder: Path, address: str) -> None:
    """Train, slowly, until all is done, and compare with a sweep in this process."""
    engine = sweep.Ray(address=address, shards=2, lost_after=120.0)
    result = killed_sweep.run(folder, executor=engine, callbacks=[slowly(folder)], save_every=1.0, **OPTIONS)
    same(result, killed_sweep.run(**OPTIONS))


def started(folder: Path, address: str) -> subprocess.Popen[bytes]:
    """A coordinator, which goes on from what is saved."""
    return subprocess.Popen([sys.executable, __file__, folder, address], stdout=subprocess.DEVNULL)


def workers(coordinator: int) -> list[psutil.Process]:
    """The processes of workers on the nodes, which this process has started."""
    del coordinator
    return processes(psutil.Process(), lambda words: "ActingWorker" in words)


def main(folder: Path, kills: int, seed: int) -> None:
    """Start the cluster, and kill in sweep after sweep."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    random, done, sweeps = np.random.default_rng(seed), 0, 0
    print(f"seed {seed}")
    try:
        while done < kills:
            its = folder / f"sweep {sweeps}"
            done += killed(its, partial(started, its, cluster.address), workers, kills - done, random, 10.0, IDLE)
            sweeps += 1
    finally:
        cluster.shutdown()
    print(f"{done} kills in {sweeps} sweeps: the same to the bit")


if __name__ == "__main__":
    if ":" in sys.argv[2]:
        coordinate(Path(sys.argv[1]), sys.argv[2])
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
