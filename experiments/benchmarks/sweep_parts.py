"""What do saving, progress, halving, refill and population based training cost or save in a sweep?

The same settings of AdamW on an MLP on handwritten digits are trained plainly and with each part, in turn, by programs
that were compiled before; each figure is a median of ratios within a round. Run it on an otherwise idle machine:

    python experiments/benchmarks/sweep_parts.py configs/sweep_parts/default.toml
"""

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLUE
from contenders import Job, digits_task, ratio, swept
from regopt import sweep
from regopt.data import digits
from regopt.experiment import Claim

PLAIN, SAVED = "plain", "saved in a folder, with progress"
HALVED, POPULATION = "successive halving", "population based training"


@dataclass(frozen=True)
class Config(Job):
    """The job and how often it is measured.

    Attributes:
        streamed: number of settings that pass once through fewer slots than settings.
        slots: number of slots that these settings share.
        patience: evaluations without improvement after which one of these settings stops.
        eta: reduction factor of successive halving.
        halved: numbers of settings of the sweeps with and without successive halving.
        halved_segments: the segments that the last of these settings train.
        rounds: measurements of each kind of sweep, in turn.
    """

    streamed: Annotated[int, Field(ge=16)] = 1000
    slots: Annotated[int, Field(ge=1)] = 160
    patience: Annotated[int, Field(ge=1)] = 2
    eta: Annotated[float, Field(gt=1)] = 3.0
    halved: tuple[int, ...] = (81, 1000)
    halved_segments: Annotated[int, Field(ge=3)] = 27
    rounds: Annotated[int, Field(ge=1)] = 5


def run(config, key):
    """Seconds of each kind of sweep, ``[kinds, rounds]``, and what they found."""
    data, task = digits(), digits_task(config)
    space = {"learning_rate": sweep.log_uniform(1e-4, 1e-2), "weight_decay": sweep.log_uniform(1e-3, 1.0)}
    numbers, many = (sweep.random(space, count, config.seed).numbers for count in (config.settings, config.streamed))
    kinds = {
        PLAIN: {"progress": False},
        SAVED: {"progress": True},
        HALVED: {"scheduler": sweep.successive_halving(config.eta)},
        POPULATION: {"scheduler": sweep.population_based_training(space)},
    }
    seconds, results = {name: [] for name in kinds}, {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(config.rounds + 1):  # the first compiles
            for name, options in kinds.items():
                saved = {"out": Path(folder) / str(turn)} if name == SAVED else {}
                began = time.perf_counter()
                results[name] = swept(config, key, data, numbers, task=task, **options, **saved)
                seconds[name].append(time.perf_counter() - began)
    halving = [_halving(config, key, data, space, count) for count in config.halved]
    streamed = swept(config, key, data, many, slots=config.slots, patience=config.patience)
    return {
        "contenders": np.array(list(kinds)),
        "seconds": np.array(list(seconds.values()))[:, 1:],
        "segments": np.array([result.history.segments.sum() for result in results.values()]),
        "busy_share": np.array([result.busy_share for result in results.values()]),
        "streamed_busy_share": np.array(streamed.busy_share),
        "best_loss": np.array([result.best().metrics["validation_loss"] for result in results.values()]),
        "halved": np.array(config.halved),
        "halving_time": np.array(halving),
        "devices": np.array(jax.local_device_count()),
    }


def _halving(config, key, data, space, count):
    """The time of halving over that of training all settings, per trained segment: wall clock, then processor.

    Without halving, all settings train only a ninth of the segments, because time is proportional to their number.
    """
    numbers = sweep.random(space, count, config.seed).numbers
    segments, some = config.halved_segments, max(config.halved_segments // 9, 1)
    lengths = {"all": some, "halving": segments}
    schedulers = {"all": None, "halving": sweep.successive_halving(config.eta)}
    tasks = {name: digits_task(config) for name in lengths}
    ratios = []
    for turn in range(config.rounds + 1):  # the first compiles
        spent, trained = {}, {}
        for name, length in lengths.items():
            job = replace(config, steps=length * config.eval_every)
            began = np.array([time.perf_counter(), time.process_time()])
            result = swept(job, key, data, numbers, task=tasks[name], scheduler=schedulers[name], progress=False)
            spent[name] = np.array([time.perf_counter(), time.process_time()]) - began
            trained[name] = result.history.segments.sum()
        if turn:
            ratios.append(spent["halving"] / spent["all"] * trained["all"] / trained["halving"])
    return np.median(ratios, axis=0)


def table(config, arrays):
    """Medians: seconds, segments trained, busy seats, the best validation loss."""
    import pandas

    return pandas.DataFrame(
        {
            "seconds": np.median(arrays["seconds"], axis=1),
            "segments": arrays["segments"],
            "busy seats": arrays["busy_share"],
            "best validation loss": arrays["best_loss"],
        },
        index=pandas.Index(arrays["contenders"].tolist(), name="sweep"),
    )


def figure(config, arrays):
    """Seconds of each kind of sweep."""
    drawing = Figure(figsize=(9, 3), layout="constrained")
    axes = drawing.subplots()
    bars = axes.barh(arrays["contenders"].tolist()[::-1], np.median(arrays["seconds"], axis=1)[::-1], color=BLUE)
    axes.bar_label(bars, fmt="{:.3g} s", padding=3)
    axes.set(xlabel=f"seconds of a sweep on {int(arrays['devices'])} CPU cores, median of rounds")
    axes.margins(x=0.12)
    return drawing


def claims(config, arrays):
    """The bars."""
    source = "medians of alternating rounds"
    at = {name: place for place, name in enumerate(arrays["contenders"].tolist())}
    loss, segments = arrays["best_loss"], arrays["segments"]
    generation = ratio(arrays, POPULATION, PLAIN) * segments[at[PLAIN]] / segments[at[POPULATION]]
    return [
        Claim("time with saving and progress over without", source, 1.03, ratio(arrays, SAVED, PLAIN), 0.0, "at most"),
        Claim("time of all settings over that of halving", source, 2.5, ratio(arrays, PLAIN, HALVED), 0.0, "at least"),
        Claim(
            "best validation loss of halving minus that of all settings (nats)",
            "same settings and batches",
            0.002,
            float(loss[at[HALVED]] - loss[at[PLAIN]]),
            relation="at most",
        ),
        *(
            Claim(
                f"{kind} of halving over its share of the segments, {settings} settings",
                source,
                1.8 if settings < 500 else 1.3,
                float(value),
                relation="at most",
            )
            for settings, pair in zip(arrays["halved"].tolist(), arrays["halving_time"], strict=True)
            for kind, value in zip(("time", "processor time"), pair, strict=True)
        ),
        Claim("time of a generation over a plain segment", source, 1.05, float(generation), relation="at most"),
        Claim(
            "share of seats that are busy while settings stream through",
            "counted",
            0.95,
            float(arrays["streamed_busy_share"]),
            relation="at least",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
