"""Does training take longer from a memory-mapped file than from the same rows in memory?

Two processes train the same settings of a multilayer perceptron on the same rows, one after the other in turns: one has
the rows in memory, the other reads them from a file and may hold less memory than the file has bytes (``RLIMIT_DATA``,
the ``ulimit -d`` of a shell). A third one shows that the rows would not fit under that limit. Each figure is a median
over the rounds. Run it on an otherwise idle machine:

    python experiments/benchmarks/streaming_cost.py configs/streaming_cost/default.toml
"""

import dataclasses
import multiprocessing
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLUE, RED
from regopt.experiment import Claim
from streaming_process import serve

FEATURES, CLASSES, PART = 784, 10, 10_000
IN_MEMORY, MAPPED = "rows in memory", "memory-mapped file"


@dataclass(frozen=True)
class Config:
    """The job, the size of the data, and the memory that a process may hold.

    Attributes:
        rows: rows of the training set, of 3,136 bytes each.
        limit: bytes that the process with the file may allocate.
        settings: number of settings.
        steps: training steps of each.
        eval_every: steps between evaluations, which is also the number of steps in a block.
        batch_size: rows in a batch.
        rounds: measurements of each, in turn.
        seed: random seed of data, weights and batches.
    """

    rows: Annotated[int, Field(ge=1)] = 640_000
    limit: Annotated[int, Field(ge=1, le=2**50)] = 1_600_000_000
    settings: Annotated[int, Field(ge=1)] = 16
    steps: Annotated[int, Field(ge=1)] = 400
    eval_every: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[int, Field(ge=1)] = 128
    rounds: Annotated[int, Field(ge=1)] = 5
    seed: int = 0


def run(config, key):
    """Seconds of each process, ``[2, rounds]``, the bytes of the file, and whether it fits under the limit."""
    del key  # each process has the same one
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        _write(config, Path(folder))
        pipes, processes = [], []
        for limit, mapped in ((None, False), (config.limit, True), (config.limit, False)):
            ours, theirs = spawn.Pipe()
            job = (dataclasses.asdict(config), folder, limit, mapped, theirs)
            process = spawn.Process(target=serve, args=job, daemon=True)
            process.start()
            pipes.append(ours)
            processes.append(process)
        ready = [pipe.recv() for pipe in pipes]
        seconds = [[_ask(pipe) for pipe in pipes[:2]] for _ in range(config.rounds)]
        for process in processes:
            process.terminate()
        return {
            "seconds": np.array(seconds).T,
            "bytes": np.array((Path(folder) / "x.npy").stat().st_size),
            "fits": np.array(ready[2]),
        }


def table(config, arrays):
    """Seconds of both, and their ratio."""
    import pandas

    medians = np.median(arrays["seconds"], axis=1)
    ratios = np.median(arrays["seconds"] / arrays["seconds"][0], axis=1)
    return pandas.DataFrame({"s": medians, "to memory": ratios}, index=[IN_MEMORY, MAPPED]).rename_axis("data")


def figure(config, arrays):
    """Seconds of each round."""
    drawing = Figure(figsize=(5, 3.6), layout="constrained")
    axes = drawing.subplots()
    for name, colour, seconds in zip((IN_MEMORY, MAPPED), (BLUE, RED), arrays["seconds"], strict=True):
        axes.plot(range(1, config.rounds + 1), seconds, "o-", color=colour, label=name)
    axes.set(xlabel="round", ylabel="seconds for all settings", ylim=(0, None))
    axes.legend(frameon=False)
    return drawing


def claims(config, arrays):
    """Reading from the file costs little, and its rows would not fit in the memory allowed."""
    ratio = float(np.median(arrays["seconds"][1] / arrays["seconds"][0]))
    source = "medians of alternating rounds"
    return [
        Claim("time from the file over that from memory", source, 1.15, ratio, 0.0, "at most"),
        Claim(
            "bytes of the file over those allowed", "sizes", 1.0, float(arrays["bytes"]) / config.limit, 0.0, "at least"
        ),
        Claim("the rows fit under the limit (1: yes)", "a third process", 0.0, float(arrays["fits"]), 0.0, "at most"),
    ]


def _write(config, folder):
    """Normal inputs whose class is the largest of as many random projections."""
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (config.rows, FEATURES))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.int32, (config.rows,))
    weights = np.random.default_rng(config.seed).normal(size=(FEATURES, CLASSES)).astype(np.float32)
    for start in range(0, config.rows, PART):
        size = min(PART, config.rows - start)
        x[start : start + size] = np.random.default_rng([config.seed, start]).standard_normal(
            (size, FEATURES), np.float32
        )
        y[start : start + size] = np.argmax(x[start : start + size] @ weights, axis=1)


def _ask(pipe):
    pipe.send(None)
    return pipe.recv()


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
