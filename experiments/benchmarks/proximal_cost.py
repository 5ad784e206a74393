"""What does a proximal step in Adam's metric cost, beside Adam alone, on the leaves of a transformer?

The group prox solves an equation for each group, and a stronger penalty takes more passes over the weights. All
contenders take turns on one tree of 12 leaves for each layer. Each figure is a median over the rounds of the ratio in a
round, in processor time, which other programs disturb less. Run it on an otherwise idle machine:

    taskset -c 0 python experiments/benchmarks/proximal_cost.py configs/proximal_cost/default.toml

A claim here is a bar that regopt should clear; what fails is printed as failing.
"""

import sys
import time
from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from guard_cost import LEAVES, compiled, transformer
from regopt import penalties
from regopt.experiment import Claim

RATE = 1e-3


def proximal(penalty):
    """Adam with a proximal step."""
    return regopt.regularize(regopt.adam(RATE), penalty, "proximal")


CONTENDERS = {
    "Adam": lambda: regopt.adam(RATE),
    "l1": lambda: proximal(penalties.l1(1e-4)),
    "group lasso, strength 1e-4": lambda: proximal(penalties.group_lasso(1e-4)),
    "group lasso, strength 1e-2": lambda: proximal(penalties.group_lasso(1e-2)),
}


@dataclass(frozen=True)
class Config:
    """How much is measured.

    Attributes:
        layers: number of layers of the transformer.
        width: width of the model.
        steps: updates in one measurement.
        rounds: measurements of each contender, in turn.
    """

    layers: Annotated[int, Field(ge=1)] = 6
    width: Annotated[int, Field(ge=1)] = 128
    steps: Annotated[int, Field(ge=1)] = 5
    rounds: Annotated[int, Field(ge=1)] = 20


def run(config, key):
    """Seconds of an update ``[contender, round]``, and to trace and compile ``[contender]``."""
    params = transformer(key, config.layers, config.width)
    grads = jax.tree.map(lambda w: 0.1 * w, params)
    programs = [compiled(make(), params) for make in CONTENDERS.values()]
    carries = [carry for _, carry, _ in programs]
    seconds = np.zeros((len(CONTENDERS), config.rounds + 1))
    for turn in range(config.rounds + 1):
        for k, (step, _, _) in enumerate(programs):
            began = time.process_time()
            for _ in range(config.steps):
                carries[k] = step(*carries[k], grads)
            jax.block_until_ready(carries[k])
            seconds[k, turn] = (time.process_time() - began) / config.steps
    return {"seconds": seconds[:, 1:], "built": np.array([took for _, _, took in programs])}


def ratios(arrays):
    """Median over the rounds of the time over Adam's in the same round, for each contender."""
    return np.median(arrays["seconds"] / arrays["seconds"][0], axis=-1)


def table(config, arrays):
    """Milliseconds of an update, the ratio, and seconds to compile."""
    import pandas

    columns = {
        "optimizer": list(CONTENDERS),
        "update (ms)": 1e3 * np.median(arrays["seconds"], axis=-1),
        "over Adam": ratios(arrays),
        "compile (s)": arrays["built"],
    }
    return pandas.DataFrame(columns)


def figure(config, arrays):
    """Time of an update over that of Adam alone."""
    drawing = Figure(figsize=(7, 2.6), layout="constrained")
    axes = drawing.subplots()
    axes.barh(list(CONTENDERS)[::-1], ratios(arrays)[::-1])
    axes.set(xlabel="time of an update over that of Adam alone")
    return drawing


def claims(config, arrays):
    """The bars."""
    source = "medians of alternating rounds"
    return [
        Claim(
            f"{LEAVES * config.layers} leaves, {name}: time of an update over Adam's",
            source,
            2.5,
            float(value),
            relation="at most",
        )
        for name, value in zip(CONTENDERS, ratios(arrays), strict=True)
        if name.startswith("group")
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
