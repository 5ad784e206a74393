"""A script: executors of several libraries train a sweep, compared with this process."""

import sys
from functools import partial
from pathlib import Path

from regopt import sweep
from support import killed_sweep
from support.same_sweeps import same

OPTIONS = {"steps": 24, "scheduler": sweep.asynchronous_halving(3, 3)}


def on_loky(folder: Path) -> sweep.Result:
    """On two processes of loky."""
    import loky

    engine = sweep.Futures(partial(loky.get_reusable_executor, 2), shards=2)
    return killed_sweep.run(folder, executor=engine, **OPTIONS)


def on_distributed(folder: Path) -> sweep.Result:
    """On a cluster of Dask with two workers."""
    import distributed

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        engine = sweep.Futures(client.get_executor(), shards=2)
        return killed_sweep.run(folder, executor=engine, **OPTIONS)


def on_submitit(folder: Path) -> sweep.Result:
    """On jobs of submitit's local executor."""
    import submitit

    executor = submitit.AutoExecutor(folder.parent / "jobs", cluster="local")
    executor.update_parameters(timeout_min=5)
    few = OPTIONS | {"steps": 4, "scheduler": None, "slots": None, "chunk": 12}
    engine = sweep.Futures(executor, shards=2)
    return killed_sweep.run(folder, executor=engine, **few)


def main(folder: Path, engine: str) -> None:
    """Train on the engine, and in this process, and compare."""
    found = {"loky": on_loky, "distributed": on_distributed, "submitit": on_submitit}[engine](folder)
    few = {"steps": 4, "scheduler": None, "slots": None, "chunk": 12} if engine == "submitit" else {}
    same(found, killed_sweep.run(**(OPTIONS | few)))
    print("the same to the bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
