"""A script: jobs of submitit are asked to requeue while they train, which changes no bit.

Its folder is an argument. A job is sent the signal of submitit once it has set its handler, as SLURM does before it
preempts a job: the lease in hand is written down as the job's next order, and the job starts again.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import psutil
import submitit

from regopt import sweep
from support import killed_sweep
from support.same_sweeps import same

OPTIONS = {"steps": 4, "scheduler": None, "slots": None, "chunk": 12}
SIGNAL = signal.SIGUSR2


def hears(pid: int) -> bool:
    """Whether a process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (SIGNAL - 1) & 1)


def interrupt(ended: threading.Event, asked: set[int]) -> None:
    """Ask each of the first jobs of this process once."""
    while not ended.wait(0.02) and len(asked) < 3:
        for process in psutil.Process().children(recursive=True):
            try:
                if "submitit.core._submit" in process.cmdline() and process.pid not in asked and hears(process.pid):
                    os.kill(process.pid, SIGNAL)
                    asked.add(process.pid)
            except (psutil.Error, OSError):
                continue


def main(folder: Path) -> None:
    """Train on jobs that are interrupted, and in this process, and compare."""
    executor = submitit.LocalExecutor(folder / "jobs")
    executor.update_parameters(timeout_min=60)  # less than 50 minutes count as over at once
    ended, asked = threading.Event(), set()
    thread = threading.Thread(target=interrupt, args=(ended, asked))
    thread.start()
    try:
        found = killed_sweep.run(folder / "sweep", executor=sweep.Futures(executor, shards=2), **OPTIONS)
    finally:
        ended.set()
        thread.join()
    logs = "".join(path.read_text() for path in (folder / "jobs").rglob("*_log.*"))
    requeued = logs.count("Requeued job")
    assert requeued, "no job was requeued"
    same(found, killed_sweep.run(**OPTIONS))
    print(f"{requeued} jobs were requeued: the same to the bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
