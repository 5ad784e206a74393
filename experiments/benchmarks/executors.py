"""What do workers in other processes cost: those of Ray, compared with the devices of one process?

Both train the same settings of AdamW on handwritten digits with one core to a device or a worker, in turns, and each
figure is a median over the rounds. Then a worker is killed, Ray Tune trains some of the settings with its own ASHA, one
at a time, and the coordinator's own time is measured with many settings. Needs the extra ``benchmark`` and as many
cores as workers:

    JAX_NUM_CPU_DEVICES=2 python experiments/benchmarks/executors.py configs/executors/default.toml
"""

import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Annotated

import jax
import numpy as np
import psutil
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLUE, ORANGE
from contenders import Job, digits_task, in_turns, rates_and_decays, ratio, swept
from regopt import sweep
from regopt.data import digits
from regopt.experiment import Claim
from tune_peer import tuned

ETA = 3.0
ONE, RAY = "devices of one process", "workers of Ray"


@dataclass(frozen=True)
class Config(Job):
    """The job, the workers, and how often it is measured.

    Attributes:
        settings: number of settings.
        workers: number of workers, each with one core.
        chunk: settings in a call.
        rounds: measurements of each contender, in turn.
        tuned: settings that are pruned by asynchronous halving, and by Ray Tune's.
        many: settings of the sweep in which the coordinator's own time is taken.
        save_every: seconds between saves in the sweep whose worker is killed.
    """

    settings: Annotated[int, Field(ge=16)] = 1000
    workers: Annotated[int, Field(ge=1)] = 2
    chunk: Annotated[int, Field(ge=1)] = 16
    rounds: Annotated[int, Field(ge=1)] = 3
    tuned: Annotated[int, Field(ge=9)] = 90
    many: Annotated[int, Field(ge=16)] = 10_000
    save_every: Annotated[float, Field(gt=0)] = 5.0


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
    differing = sum(np.sum(some != losses[0]) for some in losses)
    few = {name: column[:: max(config.settings // config.tuned, 1)][: config.tuned] for name, column in numbers.items()}
    pruned = seconds_to_pruning(config, key, data, few, task, ray)
    killed = seconds_lost(config, key, data, numbers, task, ray)
    own = own_shares(config, key, data, task, ray)
    import ray as cluster

    cluster.shutdown()
    return measured | {
        "differing": np.array(differing),
        "killed": np.array(killed),
        "own": np.array(own),
        "pruned": np.array([pruned, tuned(config, data, few, ETA, config.workers)]),
    }


def seconds_to_pruning(config, key, data, numbers, task, ray):
    """Seconds from the first metric to the end, and to the first setting that is pruned."""
    rule, times = sweep.asynchronous_halving(ETA), {}

    def decide(state):
        decision = rule.decide(state)
        if decision.prune.any():
            times.setdefault("pruned", time.monotonic())
        return decision

    def seen(step, settings, metrics):
        times.setdefault("first", time.monotonic())

    options = {"chunk": config.chunk, "scheduler": rule._replace(decide=decide), "callbacks": [seen]}
    swept(config, key, data, numbers, task=task, progress=False, executor=ray, **options)
    return time.monotonic() - times["first"], times["pruned"] - times["first"]


def seconds_lost(config, key, data, numbers, task, ray):
    """The longest time in which a shard brings nothing new, where a worker is killed in the middle of the sweep."""
    half = config.settings * (config.steps // config.eval_every) // 2
    last, gaps, done = {}, [], 0

    def seen(step, settings, metrics):
        nonlocal done
        shard, done = min(settings) % config.workers, done + len(settings)
        now = time.monotonic()
        if killed:
            gaps.append(now - max(last.get(shard, 0.0), killed[0]))
        last[shard] = now
        if done >= half and not killed:
            workers = [child for child in psutil.Process().children(recursive=True) if is_worker(child)]
            os.kill(workers[0].pid, signal.SIGKILL)
            killed.append(now)

    killed: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        options = {"chunk": config.chunk, "callbacks": [seen], "save_every": config.save_every, "out": folder}
        swept(config, key, data, numbers, task=task, progress=False, executor=ray, **options)
    return max(gaps)


def own_shares(config, key, data, task, ray):
    """The coordinator's processor time as a share of the time: of its own thread, and with those of Ray."""
    clocks, first = (time.thread_time, time.process_time, time.monotonic), []

    def seen(step, settings, metrics):
        if not first:
            first.extend(clock() for clock in clocks)

    numbers = rates_and_decays(replace(config, settings=config.many))
    options = {"chunk": config.chunk, "callbacks": [seen], "progress": False, "executor": ray}
    swept(config, key, data, numbers, task=task, **options)
    own, process, seconds = (clock() - before for clock, before in zip(clocks, first, strict=True))
    return own / seconds, process / seconds


def is_worker(process):
    """Whether a process is an actor that trains lanes."""
    try:
        return any("ActingWorker" in word for word in process.cmdline())
    except psutil.Error:
        return False


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
    (seconds, first), (tune_seconds, tune_first) = arrays["pruned"].tolist()
    own, process = arrays["own"].tolist()
    return [
        Claim(
            f"throughput of {config.workers} workers of Ray over that of as many devices in one process",
            "medians of alternating rounds",
            0.9,
            ratio(arrays, ONE, RAY),
            relation="at least",
        ),
        Claim("validation losses that differ", "the same bits", 0.0, float(arrays["differing"]), tolerance=0.0),
        Claim(
            "seconds without a metric of some lanes after their worker is killed",
            f"a save interval of {config.save_every:g} s and 10 s",
            config.save_every + 10,
            float(arrays["killed"]),
            relation="at most",
        ),
        Claim(
            f"settings a second with asynchronous halving over Ray Tune's {config.tuned / tune_seconds:.3g}",
            "from the first metric to the end",
            1.0,
            tune_seconds / seconds,
            relation="at least",
        ),
        Claim(
            f"seconds from the first metric to the first pruned setting, for Ray Tune {tune_first:.3g}",
            "no later than Ray Tune's",
            tune_first,
            first,
            relation="at most",
        ),
        Claim(
            f"the coordinator's own processor time as a share of the time, with Ray's threads {process:.2g}",
            f"{config.many} settings, from the first metric to the end",
            0.02,
            own,
            relation="at most",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
