"""What do lanes reach on a device: settings a second, share of its peak, and what a plan foretold?

An MLP, a CNN and a transformer are trained for thousands of learning rates at once by the engine. Beside it, on the
same device, a compiled loop by hand trains one setting after the other; it takes a few, and its time is scaled up to
all. The peak is that of large products of float32 arrays at JAX's default precision. Run it on a device that nobody
else uses:

    python experiments/benchmarks/device.py configs/device/default.toml
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLUE, RED
from contenders import timed
from lane_models import by_hand
from lane_tasks import jobs
from regopt import sweep
from regopt.experiment import Claim

ENGINE, ALONE = "engine", "compiled scan, one by one"
COLOURS = {ENGINE: RED, ALONE: BLUE}


@dataclass(frozen=True)
class Config:
    """The job and how often it is measured.

    Attributes:
        models: which of "MLP", "CNN", "CNN by product" and "transformer".
        settings: how many the engine trains.
        alone: how many of them are trained one after the other.
        length: factor on the training steps of each model, which are 200 of the MLP and 20 of the others.
        evaluations: of each setting.
        rounds: measurements of each contender, in turn.
        peak_size: rows of the square matrices whose product shows the peak.
        on: the device as ``sweep.plan`` names it, for the plan that is compared with what is measured.
        seed: random seed of the weights and the batches.
    """

    models: tuple[str, ...] = ("MLP", "CNN", "transformer")
    settings: Annotated[int, Field(ge=2)] = 4096
    alone: Annotated[int, Field(ge=1)] = 4
    length: Annotated[float, Field(gt=0)] = 1.0
    evaluations: Annotated[int, Field(ge=1)] = 2
    rounds: Annotated[int, Field(ge=1)] = 3
    peak_size: Annotated[int, Field(ge=1)] = 8192
    on: str = "nvidia h200"
    seed: int = 0

    def __post_init__(self):
        if self.alone > self.settings:
            raise ValueError(f"alone must be at most settings = {self.settings}, got {self.alone}")


def run(config, key):
    """Seconds for all settings, ``[models, contenders, rounds]``, and what a plan said."""
    seconds, planned = [], []
    for name in config.models:
        contenders, plan = _contenders(config, key, name)
        turns = [[contenders[way]() for way in COLOURS] for _ in range(config.rounds)]
        seconds.append(np.transpose(turns))
        (group,) = plan.groups
        assert group.cost is not None
        planned.append([group.flops, plan.seconds, group.cost.kernels, len(group.cost.transposes)])
    return {
        "seconds": np.array(seconds, float),
        "planned": np.array(planned, float),
        "peak": np.array(peak(config.peak_size)),
        "device": np.array(jax.devices()[0].device_kind),
    }


def table(config, arrays):
    """Settings a second of each contender, the engine's share of the peak, and its time beside the plan's."""
    import pandas

    seconds, planned = np.median(arrays["seconds"], axis=2), arrays["planned"]
    columns = {f"{way}, settings/s": config.settings / seconds[:, place] for place, way in enumerate(COLOURS)}
    columns |= {
        "share of the peak": _shares(config, arrays),
        "measured, s": seconds[:, 0],
        "planned, s": planned[:, 1],
        "kernels a step": planned[:, 2],
        "transposes a step": planned[:, 3],
    }
    return pandas.DataFrame(columns, index=list(config.models)).rename_axis("model")


def figure(config, arrays):
    """Settings a second of each contender."""
    drawing = Figure(figsize=(9, 4.2), layout="constrained")
    axes = drawing.subplots()
    rates = config.settings / np.median(arrays["seconds"], axis=2)
    for place, (way, colour) in enumerate(COLOURS.items()):
        bars = axes.barh(np.arange(len(rates)) + 0.4 * (place - 0.5), rates[:, place], 0.36, color=colour, label=way)
        axes.bar_label(bars, fmt="{:.3g}", padding=2, fontsize=8)
    axes.set_yticks(range(len(rates)), list(config.models))
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel=f"settings a second on {arrays['device']}, median of rounds")
    axes.margins(x=0.12)
    axes.legend(frameon=False)
    return drawing


def claims(config, arrays):
    """The engine is faster than one setting after the other, and never faster than the bounds of a plan."""
    source, made = "medians of rounds in turn", []
    seconds, planned = np.median(arrays["seconds"], axis=2), arrays["planned"][:, 1]
    for model, (engine, alone), told in zip(config.models, seconds, planned, strict=True):
        made.append(Claim(f"{model}: time of {ALONE}, to the engine's", source, 1.0, alone / engine, 0.0, "at least"))
        if np.isfinite(told):
            made.append(Claim(f"{model}: measured time to the plan's", source, 1.0, engine / told, 0.0, "at least"))
    return made


def peak(size, products=8):
    """FLOP/s of products of square matrices, at the default precision."""
    multiply = jax.jit(lambda a: jax.lax.fori_loop(0, products, lambda _, x: x @ a, a))
    once = timed(partial(multiply, jnp.full((size, size), 1 / size)))
    return products * 2.0 * size**3 / float(np.median([once() for _ in range(5)]))


def _shares(config, arrays):
    """The engine's FLOP/s in the products of its training steps, as a share of the peak of all devices."""
    seconds = np.median(arrays["seconds"], axis=2)[:, 0]
    return config.settings * arrays["planned"][:, 0] / seconds / float(arrays["peak"]) / jax.local_device_count()


def _contenders(config, key, name):
    """Functions that train all settings and return the seconds, compiled, and the plan of the engine."""
    job, rates = jobs()[name], np.geomspace(1e-4, 1e-2, config.settings)
    segment = max(int(job.steps * config.length / config.evaluations), 1)
    job = job._replace(steps=segment * config.evaluations)
    settings = sweep.from_columns({"learning_rate": rates})
    arguments = {"steps": job.steps, "eval_every": segment, "batch_size": job.batch_size}
    plan = sweep.plan(job.task, settings, job.data, on=config.on, **arguments, key=jax.random.clone(key))
    trained = sweep.run(job.task, settings, job.data, **arguments, key=jax.random.clone(key))
    train, arrays = by_hand(key, job, config.evaluations)
    one = jax.jit(train)
    few = rates[np.linspace(0, len(rates) - 1, config.alone).astype(int)]  # spread over all
    loop = timed(lambda: [one(arrays, rate) for rate in jnp.asarray(few)])
    return {ENGINE: lambda: trained.refit().run_seconds, ALONE: lambda: loop() * len(rates) / len(few)}, plan


if __name__ == "__main__":
    sweep.use_all_cores()
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
