"""A script: the README's sweep on a Ray cluster of three nodes, of which one is killed while it trains.

The folder and the config are its arguments. The command line runs on the cluster and on as many devices,
and compares what both have saved, bit for bit.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from ray.cluster_utils import Cluster

from regopt import sweep

NODES = 3
CHECKOUT = Path(__file__).parents[2]


def command(folder: Path, config: str, *words: str) -> list[str]:
    """The words of the README."""
    return [sys.executable, "-m", "regopt", "run", "sweep_digits", config, "--out", str(folder), *words]


def training() -> psutil.Process | None:
    """A worker that trains; Ray names its process after what it runs."""
    for process in psutil.Process().children(recursive=True):
        try:
            if any("ActingWorker.run" in word for word in process.cmdline()):
                return process
        except psutil.Error:
            continue
    return None


def on_cluster(folder: Path, config: str) -> str:
    """Run on three nodes, and kill the node of a worker that trains; what the command writes."""
    folder.mkdir(parents=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(NODES - 1):
        cluster.add_node(num_cpus=1)
    words = command(folder, config, "--executor", "ray", "--address", cluster.address)
    said = folder / "said.txt"
    with said.open("w") as errors:
        running = subprocess.Popen(words, cwd=CHECKOUT, stdout=errors, stderr=errors)
    try:
        while (worker := training()) is None:
            assert running.poll() is None, f"it ended before a worker trained: {said.read_text()}"
            time.sleep(0.02)
        ancestors = {process.pid for process in worker.parents()}
        others = cluster.list_all_nodes()[1:]  # the head is not removed
        node = next((node for node in others if ancestors & pids(node)), others[0])
        began = time.monotonic()
        cluster.remove_node(node, allow_graceful=False)
        removed = time.monotonic()
        running.wait(timeout=600)
        print(f"the node was removed in {removed - began:.1f} s, the rest took {time.monotonic() - removed:.1f} s")
    finally:
        running.kill()
        cluster.shutdown()
    assert running.returncode == 0, said.read_text()
    return said.read_text()


def pids(node) -> set[int]:
    """The processes of a node."""
    return {info.process.pid for infos in node.all_processes.values() for info in infos}


def main(folder: Path, config: str) -> None:
    """Run both, and compare."""
    said = on_cluster(folder / "cluster", config)
    print([line for line in said.splitlines() if line.startswith("worker ")])
    alone = os.environ | {"JAX_NUM_CPU_DEVICES": f"{NODES}"}
    subprocess.run(command(folder / "alone", config), cwd=CHECKOUT, env=alone, check=True, stdout=subprocess.DEVNULL)
    found, whole = (sweep.load(next((folder / name).rglob("sweep"))) for name in ("cluster", "alone"))
    assert found.to_pandas().equals(whole.to_pandas())
    for name, curve in whole.history.curves.items():
        np.testing.assert_array_equal(found.history.curves[name], curve, err_msg=name)
    print("the same to the bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
