"""What do workers beyond the process cost: Ray's, beside the devices of one process?

Both train the same settings of AdamW on handwritten digits with one core to a device or a worker, in turns, and each
figure is a median over the rounds. Needs the extra ``ray`` and as many cores as workers:

    JAX_NUM_CPU_DEVICES=2 python experiments/benchmarks/executors.py configs/executors/default.toml
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from contenders import BLUE, ORANGE, Job, digits_task, in_turns, rates_and_decays, ratio, swept
from regopt import sweep
from regopt.data import digits
from regopt.experiment import Claim

ONE, RAY = "devices of one process", "workers of Ray"


@dataclass(frozen=True)
class Config(Job):
    """The job, the workers, and how often it is measured.

    Attributes:
        settings: how many are trained.
        workers: how many train them, each with one core.
        chunk: settings in a call.
        rounds: measurements of each contender, in turn.
    """

    settings: Annotated[int, Field(ge=16)] = 1000
    workers: Annotated[int, Field(ge=1)] = 2
    chunk: Annotated[int, Field(ge=1)] = 16
    rounds: Annotated[int, Field(ge=1)] = 3


def run(config, key):
    """Both contenders in turn; seconds of training for all settings."""
    data, numbers, task = digits(), rates_and_decays(config), digits_task(config)

    def on(**options):
        result = swept(config, key, data, numbers, task=task, chunk=config.chunk, progress=False, **options)
        losses.append(result.history.curves["validation_loss"])
        return result.run_seconds

    losses: list[np.ndarray] = []
    ray = sweep.Ray(workers=config.workers, shards=config.workers)
    measured = in_turns(
        {ONE: lambda: on(devices=jax.local_devices()[: config.workers]), RAY: lambda: on(executor=ray)}, config.rounds
    )
    return measured | {"differing": np.array(sum(np.sum(some != losses[0]) for some in losses))}


def figure(config, arrays):
    """The seconds of each round."""
    drawing = Figure(figsize=(6, 3.5), layout="constrained")
    axes = drawing.subplots()
    for name, seconds, colour in zip(arrays["contenders"].tolist(), arrays["seconds"], (BLUE, ORANGE), strict=True):
        axes.plot(config.settings / np.asarray(seconds), "o-", label=name, color=colour)
    axes.set(xlabel="round", ylabel="settings a second", ylim=(0, None))
    axes.legend(frameon=False)
    return drawing


def claims(config, arrays):
    """Workers train nearly as fast, to the same bits."""
    return [
        Claim(
            f"throughput of {config.workers} workers of Ray over that of as many devices in one process",
            "medians of alternating rounds",
            0.9,
            ratio(arrays, ONE, RAY),
            relation="at least",
        ),
        Claim("validation losses that differ", "the same bits", 0.0, float(arrays["differing"]), tolerance=0.0),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
