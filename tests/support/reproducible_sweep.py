"""A sweep with noise, seeds and early stopping, and the digest of what it found; a script for other processes, too."""

import hashlib
import json
import sys

import jax
import numpy as np

from regopt import sweep
from regopt._core.types import Task
from regopt.data import Splits
from regopt.layers import MLP
from regopt.losses import squared_error
from support.every_optimizer import FIRST_ORDER, SECOND_ORDER

SETTINGS, CHUNK, EVALUATIONS = 32, 4, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3)).astype(np.float32)
Y = (X @ RNG.normal(size=(3, 1)) + RNG.normal(size=(30, 1))).astype(np.float32)
DATA = Splits((X[:20], Y[:20]), (X[20:], Y[20:]))
COLUMNS = {
    "rate": np.geomspace(1e-3, 1e-1, SETTINGS),
    "dropout": np.linspace(0.0, 0.5, SETTINGS),
    "patience": np.arange(SETTINGS) % 3 + 1,
    "seed": np.arange(SETTINGS) % 5,
}


def task_of(name: str) -> Task:
    """A small network with dropout, but for the second-order methods, whose steps see nothing random."""
    optimizer = (FIRST_ORDER | SECOND_ORDER)[name]
    return sweep.supervised(
        lambda h, rngs: MLP((3, 8, 1), rate=None if name in SECOND_ORDER else h["dropout"], rngs=rngs),
        squared_error,
        lambda h: optimizer(h["rate"]),
    )


TASKS: dict[str, Task] = {}  # one of a name, so that its programs serve all its sweeps


def run(name: str = "adam", columns=COLUMNS, **options) -> sweep.Result:
    """The sweep with this optimizer, ``CHUNK`` settings at a time."""
    full = name in SECOND_ORDER
    task = TASKS.setdefault(name, task_of(name))
    given = {"steps": 5 * EVALUATIONS, "eval_every": 5, "chunk": CHUNK, "batch_size": None if full else 8}
    given |= {"patience": own_patience, "noise": "per lane"} | options
    with jax.debug_key_reuse(not full):  # a line search evaluates a loss with one key many times
        return sweep.run(task, sweep.from_columns(columns), DATA, **given)


def own_patience(h):
    return h["patience"]


def curves(result: sweep.Result) -> np.ndarray:
    """[settings, metrics, evaluations]"""
    return np.stack(list(result.history.curves.values()), axis=1)


def states(result: sweep.Result) -> np.ndarray:
    """[settings, numbers]: all numbers of the kept states but keys."""
    rows = [jax.tree.leaves(result.state(row)) for row in range(SETTINGS)]
    return np.array([np.concatenate([np.ravel(leaf).astype(float) for leaf in row]) for row in rows])


def digest(result: sweep.Result) -> str:
    """SHA-256 of curves, states and marks."""
    record = result.history
    arrays = [curves(result), states(result), record.last_step, record.best_step, record.first_bad_step]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


if __name__ == "__main__":
    names, devices = json.loads(sys.argv[1]), jax.devices()
    print(json.dumps([len(devices), {name: digest(run(name)) for name in names}]))
