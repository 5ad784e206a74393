"""A script: one worker has a fault in the midst of training, which changes no bit.

The folder, the engine and the fault are its arguments: "device" has XLA ask for more memory than there is; "stops"
stops the process of the worker, which goes on once others have done its work; "disk" leaves it no room to write files.
"""

import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import psutil

from regopt import sweep
from support import killed_sweep
from support.same_sweeps import same

LOST_AFTER = 60.0  # seconds, in which a worker also has to start
OPTIONS = {"steps": 48, "scheduler": sweep.asynchronous_halving(3, 6), "slots": None}
FAULTS = {
    "device": lambda: jnp.zeros(2**50),
    "stops": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "disk": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY)),
}


class Said(logging.Handler):
    """The warnings of the sweep."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, and print it."""
        self.lines.append(record.getMessage())
        print(self.lines[-1], flush=True)


def once(file: Path, fault: str) -> Callable[[int], object]:
    """The batches of the sweep; the first worker that asks for one in the midst writes its number and has the fault."""

    def batches(step: int) -> object:
        if step == OPTIONS["steps"] // 4:
            try:
                with file.open("x") as mark:
                    mark.write(str(os.getpid()))
            except FileExistsError:
                pass
            else:
                FAULTS[fault]()
        return killed_sweep.batch_at(step)

    return batches


def resumed(file: Path, said: Said) -> Callable[[int, object, object], None]:
    """A callback that lets a worker go on that has stopped, some calls after it was given up."""
    later = []

    def on_segment(step, settings, metrics):
        time.sleep(0.02)
        if said.lines and len(later) < 8:
            later.append(step)
            if len(later) == 8:
                psutil.Process(int(file.read_text())).resume()
                time.sleep(3.0)  # its late answer comes

    return on_segment


def engine_of(name: str) -> tuple[object, Callable[[], object]]:
    """Two workers of Ray or of loky, and what ends them."""
    if name == "ray":
        import ray

        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        return sweep.Ray(workers=2, shards=2, lost_after=LOST_AFTER), ray.shutdown
    import loky

    make = partial(loky.get_reusable_executor, 2)
    return sweep.Futures(make, shards=2, lost_after=LOST_AFTER), lambda: make().shutdown(kill_workers=True)


def main(folder: Path, name: str, fault: str) -> None:
    """Train on the engine, and in this process, and compare."""
    folder.mkdir(exist_ok=True)
    said, file = Said(), folder / "fault"
    logging.getLogger("regopt").addHandler(said)
    engine, end = engine_of(name)
    options = OPTIONS | {"batches": once(file, fault)}
    callbacks = [resumed(file, said)] if fault == "stops" else []
    found = killed_sweep.run(folder / "sweep", executor=engine, callbacks=callbacks, **options)
    assert file.exists(), "no worker had the fault"
    assert bool(said.lines) == (fault != "disk"), said.lines
    same(found, killed_sweep.run(**options))
    end()
    print("the same to the bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
