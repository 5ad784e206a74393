"""A script: a Ray cluster of three nodes on this machine trains a sweep and loses one of them.

It is a process of its own because Ray starts its own processes by forking.
"""

import sys
import threading
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from regopt import sweep
from support import killed_sweep
from support.same_sweeps import same

OPTIONS = {"steps": 60, "scheduler": sweep.asynchronous_halving(3, 5), "save_every": 0.5}


def lose(cluster, node, folder: Path, ended: threading.Event, removed: list) -> None:
    """Remove a node of the cluster once the sweep has saved its state."""
    while not ended.wait(0.1):
        if list(folder.glob("states/*")):
            cluster.remove_node(node, allow_graceful=False)
            removed.append(node)
            return


def main(folder: Path) -> None:
    """Train on a cluster that loses a node, and in this process, and compare."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    ended, removed = threading.Event(), []
    thread = threading.Thread(target=lose, args=(cluster, nodes[0], folder, ended, removed))
    thread.start()
    try:
        found = killed_sweep.run(folder, executor=sweep.Ray(shards=2), **OPTIONS)
    finally:
        ended.set()
        thread.join()
    assert removed, "the sweep ended before a node was removed"
    same(found, killed_sweep.run(**OPTIONS))
    ray.shutdown()
    cluster.shutdown()
    print("the same to the bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
