"""The processes of ``streaming_cost``: each trains whenever it is asked, and answers with the seconds."""

import resource
from pathlib import Path

import jax
import numpy as np

import regopt
from regopt import sweep
from regopt.data import Splits
from regopt.layers import MLP
from regopt.losses import cross_entropy


def serve(job, folder, limit, mapped, pipe):
    """Train whenever asked; the first answer says whether there is enough memory.

    Args:
        job: the fields of the config.
        folder: the folder of the arrays.
        limit: bytes that may be allocated; None sets no limit.
        mapped: whether the rows stay in the file.
        pipe: a pipe to the process that asks.
    """
    sweep.use_all_cores()
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        train = tuple(np.load(Path(folder) / name, mmap_mode="r" if mapped else None) for name in ("x.npy", "y.npy"))
        result = _trained(job, Splits(train, tuple(np.array(part[:500]) for part in train)))
    except MemoryError:
        pipe.send(False)
        return
    pipe.send(True)
    while True:
        pipe.recv()
        pipe.send(result.refit().run_seconds)


def _trained(job, data):
    features, classes = data.train[0].shape[1], int(data.validation[1].max()) + 1
    task = sweep.supervised(
        lambda _, rngs: MLP((features, 64, classes), rngs=rngs), cross_entropy, lambda h: regopt.adamw(h["rate"])
    )
    return sweep.run(
        task,
        sweep.from_columns({"rate": np.geomspace(1e-4, 1e-2, job["settings"])}),
        data,
        steps=job["steps"],
        eval_every=job["eval_every"],
        batch_size=job["batch_size"],
        key=jax.random.key(job["seed"]),
    )
