"""A sweep that is killed and goes on: as a script that takes its folder, and as a function for comparison."""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from regopt import sweep
from regopt._core.types import Task
from regopt.data import Splits

SETTINGS, EVALUATIONS = 24, 120
DATA = Splits((np.arange(12.0, dtype=np.float32),), (np.ones(3, np.float32),))


def task():
    """Noisy descent on a parabola whose steps depend on batch, key and setting; some settings diverge."""

    def init(key, h):
        return {"x": jax.random.normal(key, (5,)), "count": jnp.zeros((), jnp.int32)}

    def step(state, batch, key, h):
        noise = jax.random.normal(key, (5,)) + jnp.mean(batch[0])
        x = state["x"] * (1 - h["rate"]) + 0.01 * noise
        x = jnp.where((h["rate"] > 0.9) & (state["count"] == 37), jnp.nan, x)
        return {"x": x, "count": state["count"] + 1}, {"loss": jnp.sum(x * x)}

    def evaluate(state, data, h):
        return {"validation_loss": jnp.sum(state["x"] ** 2) + 0 * jnp.sum(data.validation[0])}

    return Task(init, step, evaluate)


def batch_at(step):
    """The batch of a step, where the data stream."""
    return (np.random.default_rng([7, step]).uniform(0, 12, 4).astype(np.float32),)


def held_out_at(number):
    """A validation batch, where these stream; the second one is smaller."""
    return (np.ones(2 - number, np.float32),)


def iterated():
    """The same batches from an iterator of grain, which has a state."""
    import grain

    return grain.MapDataset.range(10**6).map(batch_at).to_iter_dataset()


def run(out=None, *, streams=False, iterates=False, batches=None, **options):
    """Halving, patience and few slots together: the most that a sweep has to remember."""
    columns = {"rate": np.linspace(0.01, 0.95, SETTINGS), "seed": np.arange(SETTINGS) % 5}
    options = {
        "steps": 2 * EVALUATIONS,
        "eval_every": 2,
        "batch_size": 4,
        "chunk": 2,
        "slots": 8,
        "patience": lambda h: jnp.where((h["rate"] > 0.4) & (h["rate"] < 0.7), 300, 60),
        "scheduler": sweep.asynchronous_halving(3, 20),
        "save_every": 0.1,
        "noise": "per lane",
    } | options
    data = DATA
    if streams:
        data, options = Splits(batch_at, held_out_at), options | {"batch_size": None, "eval_batches": 2}
    if batches is not None:
        data, options = Splits(batches, DATA.validation), options | {"batch_size": None}
    if iterates:
        data, options = Splits(iterated(), DATA.validation), options | {"batch_size": None, "slots": None, "chunk": 8}
    return sweep.run(task(), sweep.from_columns(columns), data, out=out, **options)


if __name__ == "__main__":
    print("go", flush=True)
    outcome = run(sys.argv[1], streams="streams" in sys.argv, iterates="iterates" in sys.argv)
    raise SystemExit(143 if outcome.interrupted else 0)
