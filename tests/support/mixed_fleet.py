"""A script: one of two workers is on another CPU, or has other flags of XLA, which is refused or said in the table.

The folder, the engine and the difference ("kind" or "flags") are its arguments. The worker on another CPU reads that
from a file that is mounted in place of /proc/cpuinfo in its own namespace, for which the script has to be run by root.
"""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from regopt import sweep
from support import killed_sweep
from support.same_sweeps import same

OTHER = "Another CPU"
NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
OPTIONS = {"steps": 24, "scheduler": None, "slots": None}


def differ(folder: Path, difference: str) -> None:
    """Make this process differ, before it starts JAX, if it is the first one that asks."""
    try:
        (folder / "differs").touch(exist_ok=False)
    except FileExistsError:
        return
    if difference == "flags":
        os.environ["XLA_FLAGS"] = "--xla_cpu_enable_fast_min_max=false"
        return
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    file = folder / "cpuinfo"
    file.write_text("\n".join(f"model name : {OTHER}" if line.startswith("model name") else line for line in lines))
    if ctypes.CDLL(None).unshare(NEW_MOUNTS):
        raise OSError("only root may have its own mounts")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", file, "/proc/cpuinfo"], check=True)


def starting(folder: Path, difference: str) -> Callable[[], None]:
    """``differ`` with these arguments; Ray takes nothing but a function."""

    def start() -> None:
        differ(folder, difference)

    return start


def batches(step: int) -> object:
    """Batches that take some time, so that each worker trains some settings."""
    time.sleep(0.02)
    return killed_sweep.batch_at(step)


def engine_of(name: str, start: Callable[[], None], *, mixed: bool) -> object:
    """Two workers of Ray or of loky, each of which calls a function first."""
    if name == "ray":
        import ray

        ray.shutdown()
        environment = {"worker_process_setup_hook": start}
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
        return sweep.Ray(workers=2, shards=2, mixed=mixed)
    import loky

    return sweep.Futures(loky.ProcessPoolExecutor(2, initializer=start), shards=2, mixed=mixed)


def main(folder: Path, name: str, difference: str) -> None:
    """Train with and without ``mixed``, and compare with this process."""
    options = OPTIONS | {"batches": batches}
    for mixed in (False, True):
        its = folder / f"mixed {mixed}"
        its.mkdir(parents=True)
        engine = engine_of(name, starting(its, difference), mixed=mixed)
        if not mixed or difference == "flags":
            part = {"flags": "flags", "kind": "device"}[difference]
            with pytest.raises(ValueError, match=f"the fleet is mixed: {part} is") as refused:
                killed_sweep.run(its / "sweep", executor=engine, **options)
            print(refused.value)
            assert ("mixed=True" in str(refused.value)) == (difference == "kind")
            continue
        found = killed_sweep.run(its / "sweep", executor=engine, **options)
        kinds = set(found.to_pandas()["device"])
        print(kinds)
        assert len(kinds) == 2
        assert OTHER in kinds
        same(found, killed_sweep.run(**options))  # in truth there is one kind
    print("as it should be")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
