"""A script: 2,000 settings with asynchronous halving on two workers of Ray, compared with this process bit for bit."""

import sys
import time
from pathlib import Path

import numpy as np
import ray

from regopt import sweep
from regopt.data import Splits
from support import killed_sweep

SETTINGS = 2000


def run(out: Path | None = None, **options) -> sweep.Result:
    """The task of ``killed_sweep``, without its kills."""
    columns = {"rate": np.linspace(0.001, 0.95, SETTINGS), "seed": np.arange(SETTINGS) % 7}
    data = Splits((np.arange(12.0, dtype=np.float32),), (np.ones(3, np.float32),))
    scheduler = sweep.asynchronous_halving(3, 2)
    return sweep.run(
        killed_sweep.task(),
        sweep.from_columns(columns),
        data,
        steps=54,
        eval_every=2,
        batch_size=4,
        chunk=50,
        scheduler=scheduler,
        out=out,
        **options,
    )


def main(folder: Path) -> None:
    """Train on two workers, and in this process, and compare."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    began, used = time.monotonic(), time.process_time()
    found = run(folder, executor=sweep.Ray(workers=2, shards=2))
    seconds, own = time.monotonic() - began, time.process_time() - used
    ray.shutdown()
    whole = run()
    print(f"{seconds:.1f} s in all, {found.run_seconds:.1f} s of training (one process: {whole.run_seconds:.1f} s)")
    print(f"the coordinator used {own:.1f} s of a core with Ray's threads, the start and the saves")
    for name, curve in whole.history.curves.items():
        np.testing.assert_array_equal(found.history.curves[name], curve, err_msg=name)
    for name in ("pruned", "first_bad_step", "last_step", "seats"):
        np.testing.assert_array_equal(getattr(found.history, name), getattr(whole.history, name), err_msg=name)
    for row in [*range(0, SETTINGS, 97), found.best().index]:
        np.testing.assert_array_equal(found.state(row)["x"], whole.state(row)["x"])
    assert set(whole.status) == {"done", "pruned", "diverged"}
    print("the same to the bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
