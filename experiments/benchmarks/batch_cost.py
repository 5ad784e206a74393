"""Does a training step cost more when the data set has more rows, at the same batch size?

A small and a larger multilayer perceptron are trained by the engine on synthetic data sets that differ in their number
of rows alone; steps, batch size and validation set are equal. All take turns, and each figure is the median over the
rounds of the ratio to the smallest data set of the same model. Run it on an otherwise idle machine:

    python experiments/benchmarks/batch_cost.py configs/batch_cost/default.toml
"""

import sys
from dataclasses import dataclass, replace
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLUE, PALE, RED
from contenders import engine, in_turns, ratio, timed
from lane_models import by_hand
from lane_tasks import Job
from regopt import sweep
from regopt.data import Splits
from regopt.experiment import Claim
from regopt.layers import MLP
from regopt.losses import cross_entropy

CLASSES = 10
RATE, BY_HAND = "learning_rate", ", by hand"
SMALL, LARGE = (8, 32, CLASSES), (784, 64, CLASSES)


@dataclass(frozen=True)
class Config:
    """The job, the sizes of the data, and how often each is measured.

    Attributes:
        settings: number of settings that are trained at once, with one seed.
        steps: training steps of the small model.
        steps_of_large: training steps of the larger one.
        eval_every: steps between evaluations.
        batch_size: rows in a batch.
        validation: rows of the validation set.
        rows: rows of the training sets of the small model, ascending.
        rows_of_large: rows of the training sets of the larger one, ascending.
        rounds: measurements of each, in turn.
        seed: random seed of data, weights and batches.
    """

    settings: Annotated[int, Field(ge=1)] = 16
    steps: Annotated[int, Field(ge=1)] = 6_000
    steps_of_large: Annotated[int, Field(ge=1)] = 600
    eval_every: Annotated[int, Field(ge=1)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 128
    validation: Annotated[int, Field(ge=1)] = 500
    rows: tuple[Annotated[int, Field(ge=1)], ...] = (2_000, 100_000, 1_000_000, 10_000_000)
    rows_of_large: tuple[Annotated[int, Field(ge=1)], ...] = (6_000, 60_000)
    rounds: Annotated[int, Field(ge=1)] = 9
    seed: int = 0


def run(config, key):
    """Seconds for all settings, ``[data sets, rounds]``."""
    contenders = {}
    for layers, sizes, steps in _jobs(config):
        job = replace(config, steps=steps)
        task = sweep.supervised(
            lambda _, rngs, layers=layers: MLP(layers, rngs=rngs), cross_entropy, lambda h: regopt.adamw(h[RATE])
        )
        rates = {RATE: np.geomspace(1e-4, 1e-2, config.settings)}
        for rows in sizes:
            data = _data(rows, config.validation, layers[0], config.seed)
            contenders[_name(layers, rows)] = engine(job, key, data, rates, task=task)
            contenders[_name(layers, rows) + BY_HAND] = _by_hand(job, key, data, rates, task)
    return in_turns(contenders, config.rounds)


def _by_hand(config, key, data, rates, task):
    """The lanes of the engine in one ``vmap``, with the rows of all batches drawn beforehand."""
    train, arrays = by_hand(key, Job(task, data, config.steps, config.batch_size), config.steps // config.eval_every)
    once = jax.jit(jax.vmap(train, (None, 0)))
    return timed(lambda: once(arrays, jnp.asarray(rates[RATE], jnp.float32)))


def table(config, arrays):
    """Microseconds a step of a setting, and the ratio to the smallest data set of the model, also by hand."""
    import pandas

    names = _engines(arrays)
    seconds = dict(zip(arrays["contenders"].tolist(), np.median(arrays["seconds"], axis=1), strict=True))
    steps = {_name(layers, rows): steps for layers, sizes, steps in _jobs(config) for rows in sizes}

    def to_smallest(name, way=""):
        return ratio(arrays, name + way, _smallest(names, name) + way)

    return pandas.DataFrame(
        {
            "us a step of a setting": [1e6 * seconds[name] / (steps[name] * config.settings) for name in names],
            "to the smallest": [to_smallest(name) for name in names],
            "by hand, to the smallest": [to_smallest(name, BY_HAND) for name in names],
        },
        index=names,
    ).rename_axis("data")


def figure(config, arrays):
    """The ratio to the smallest data set over the number of rows."""
    drawing = Figure(figsize=(6, 3.6), layout="constrained")
    axes = drawing.subplots()
    names = _engines(arrays)
    for model, colour in zip(dict.fromkeys(name.partition(",")[0] for name in names), (RED, BLUE), strict=True):
        own = [name for name in names if name.startswith(model)]
        ratios = [ratio(arrays, name, own[0]) for name in own]
        axes.plot([_rows(name) for name in own], ratios, "o-", color=colour, label=model)
    axes.axhline(1, color=PALE, linewidth=1, zorder=0)
    axes.set(xscale="log", xlabel="rows of the training set", ylabel="time to that of the fewest rows", ylim=(0, None))
    axes.legend(frameon=False)
    return drawing


def claims(config, arrays):
    """The time does not depend on the number of rows."""
    names = _engines(arrays)
    return [
        Claim(
            f"{name}: time over that of {_rows(_smallest(names, name)):,} rows",
            "medians of alternating rounds",
            1.1,
            ratio(arrays, name, _smallest(names, name)),
            relation="at most",
        )
        for name in names
        if name != _smallest(names, name)
    ]


def _jobs(config):
    return (SMALL, config.rows, config.steps), (LARGE, config.rows_of_large, config.steps_of_large)


def _engines(arrays):
    return [name for name in arrays["contenders"].tolist() if not name.endswith(BY_HAND)]


def _name(layers, rows):
    return f"MLP {'-'.join(map(str, layers))}, {rows} rows"


def _rows(name):
    return int(name.split()[-2])


def _smallest(names, name):
    return min((other for other in names if other.partition(",")[0] == name.partition(",")[0]), key=_rows)


def _data(rows, validation, features, seed):
    """Normal inputs whose class is the largest of as many random projections; the validation set is the same."""
    weights = np.random.default_rng(seed).normal(size=(features, CLASSES)).astype(np.float32)

    def part(generator, count):
        x = generator.standard_normal((count, features), np.float32)
        return x, np.argmax(x @ weights, axis=1).astype(np.int32)

    return Splits(*(part(np.random.default_rng([seed, size]), size) for size in (rows, validation)))


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
