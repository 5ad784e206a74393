"""A script: workers and coordinators of sweeps on a Ray cluster are killed at random moments, which changes no bit.

The folder, the number of kills and a seed are its arguments. It starts a cluster of three nodes and the coordinator as
a process of its own, again after each that it kills: this script with the folder and the address of the cluster.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from ray.cluster_utils import Cluster

from regopt import sweep
from support import killed_sweep
from support.same_sweeps import same

OPTIONS = {"steps": 120, "slots": None, "patience": 20, "scheduler": sweep.asynchronous_halving(3, 20)}
VICTIMS = ("coordinator", "worker", "worker", "worker that leaves")  # the first three by SIGKILL, which are counted
IDLE = 2  # kills in a row before something has trained; the third loss of the first worker would end the sweep
LONGEST = 300.0  # seconds that the sweep may take between two kills, and after the last


def coordinate(folder: Path, address: str) -> None:
    """Train, slowly, until all is done, and compare with a sweep in this process."""

    def slowly(step, settings, metrics):
        trained(folder).touch()
        time.sleep(0.02)

    engine = sweep.Ray(address=address, shards=2, lost_after=120.0)
    result = killed_sweep.run(folder, executor=engine, callbacks=[slowly], save_every=1.0, **OPTIONS)
    same(result, killed_sweep.run(**OPTIONS))


def trained(folder: Path) -> Path:
    """The file that a coordinator touches whenever lanes have trained."""
    return folder.with_suffix(".trained")


def started(folder: Path, address: str) -> subprocess.Popen[bytes]:
    """A coordinator, which goes on from what is saved."""
    return subprocess.Popen([sys.executable, __file__, folder, address], stdout=subprocess.DEVNULL)


def workers() -> list[psutil.Process]:
    """The processes of workers on the nodes, which this process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("ActingWorker" in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def killed(folder: Path, address: str, kills: int, random: np.random.Generator) -> int:
    """Train one sweep to its end, and kill at random moments meanwhile; how often, at most ``kills`` times."""
    done, coordinator, began = 0, started(folder, address), time.monotonic()
    idle = 0
    while coordinator.poll() is None and time.monotonic() - began < LONGEST:
        time.sleep(random.uniform(0.5, 10.0))
        victim = VICTIMS[random.integers(len(VICTIMS))]
        if trained(folder).exists():
            trained(folder).unlink()
            idle = 0
        if done == kills or idle == IDLE or coordinator.poll() is not None:
            continue
        alive = workers()
        if victim == "coordinator":
            coordinator.kill()
            coordinator.wait(timeout=60)
            coordinator = started(folder, address)
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


def main(folder: Path, kills: int, seed: int) -> None:
    """Start the cluster, and kill in sweep after sweep."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    random, done, sweeps = np.random.default_rng(seed), 0, 0
    print(f"seed {seed}")
    try:
        while done < kills:
            done += killed(folder / f"sweep {sweeps}", cluster.address, kills - done, random)
            sweeps += 1
    finally:
        cluster.shutdown()
    print(f"{done} kills in {sweeps} sweeps: the same to the bit")


if __name__ == "__main__":
    if ":" in sys.argv[2]:
        coordinate(Path(sys.argv[1]), sys.argv[2])
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
