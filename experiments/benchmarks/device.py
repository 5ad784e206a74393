"""What do lanes reach on a device: settings a second, the share of its peak, and the time relative to a plan?

An MLP, a CNN and a transformer are trained for thousands of learning rates at once by the engine. Beside it, on the
same device, a compiled loop by hand trains one setting after the other and, with ``--torch``, so do
``torch.compile`` and, in stacks, ``torch.func.vmap``; each of these takes some settings, and its time is scaled up to
all. The peak is that of large products of float32 arrays at JAX's default precision. Run it on a device that nobody
else uses; PyTorch is beside the extras (``pip install torch``):

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

import torch_lanes
from _style import BLUE, GREEN, ORANGE, RED
from contenders import timed
from lane_models import by_hand
from lane_tasks import jobs
from regopt import sweep
from regopt.data import batch_indices
from regopt.experiment import Claim

ENGINE, ALONE, STACKED, COMPILED = "engine", "compiled scan, one by one", "torch.func.vmap", "torch.compile, one by one"
COLOURS = {ENGINE: RED, ALONE: BLUE, STACKED: GREEN, COMPILED: ORANGE}


@dataclass(frozen=True)
class Config:
    """The job and how often it is measured.

    Attributes:
        models: names among "MLP", "CNN", "CNN by product" and "transformer".
        settings: number of settings that the engine trains.
        alone: number of those that are trained one after the other.
        torch: whether PyTorch trains as well, which knows neither "CNN by product" nor evaluations.
        stack: number of settings that ``torch.func.vmap`` trains at once.
        length: factor on the training steps of each model, which are 200 of the MLP and 20 of the others.
        evaluations: number of evaluations of each setting.
        rounds: measurements of each contender, in turn.
        peak_size: rows of the square matrices whose product shows the peak.
        on: the device as ``sweep.plan`` names it, for the plan that is compared with what is measured.
        seed: random seed of the weights and the batches.
    """

    models: tuple[str, ...] = ("MLP", "CNN", "transformer")
    settings: Annotated[int, Field(ge=2)] = 4096
    alone: Annotated[int, Field(ge=1)] = 4
    torch: bool = False
    stack: Annotated[int, Field(ge=1)] = 256
    length: Annotated[float, Field(gt=0)] = 1.0
    evaluations: Annotated[int, Field(ge=1)] = 2
    rounds: Annotated[int, Field(ge=1)] = 3
    peak_size: Annotated[int, Field(ge=1)] = 8192
    on: str = "nvidia h200"
    seed: int = 0

    def __post_init__(self):
        for name in ("alone", "stack") if self.torch else ("alone",):
            if getattr(self, name) > self.settings:
                raise ValueError(f"{name} must be at most settings = {self.settings}, got {getattr(self, name)}")
        if self.torch:
            torch_lanes.check_torch(self.models)

    @property
    def ways(self):
        """The contenders."""
        return tuple(COLOURS) if self.torch else (ENGINE, ALONE)


def run(config, key):
    """Seconds for all settings, ``[models, contenders, rounds]``, and what a plan said."""
    seconds, planned = [], []
    for name in config.models:
        contenders, plan = _contenders(config, key, name)
        turns = [[contenders[way]() for way in config.ways] for _ in range(config.rounds)]
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
    columns = {f"{way}, settings/s": config.settings / seconds[:, place] for place, way in enumerate(config.ways)}
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
    high = 0.8 / len(config.ways)
    for place, way in enumerate(config.ways):
        at = np.arange(len(rates)) + high * (place - (len(config.ways) - 1) / 2)
        bars = axes.barh(at, rates[:, place], 0.9 * high, color=COLOURS[way], label=way)
        axes.bar_label(bars, fmt="{:.3g}", padding=2, fontsize=8)
    axes.set_yticks(range(len(rates)), list(config.models))
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel=f"settings a second on {arrays['device']}, median of rounds")
    axes.margins(x=0.12)
    axes.legend(frameon=False)
    return drawing


def claims(config, arrays):
    """The engine is faster than all others, and never faster than the bounds of a plan."""
    source, made = "medians of rounds in turn", []
    seconds, planned = np.median(arrays["seconds"], axis=2), arrays["planned"][:, 1]
    for model, (engine, *others), told in zip(config.models, seconds, planned, strict=True):
        for way, other in zip(config.ways[1:], others, strict=True):
            made.append(Claim(f"{model}: time of {way}, to the engine's", source, 1.0, other / engine, 0.0, "at least"))
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
    one, few = jax.jit(train), _some(rates, config.alone)
    loop = timed(lambda: [one(arrays, rate) for rate in jnp.asarray(few)])
    found = {ENGINE: lambda: trained.refit().run_seconds, ALONE: lambda: loop() * len(rates) / len(few)}
    return found | (_in_torch(config, key, name, job, rates) if config.torch else {}), plan


def _in_torch(config, key, name, job, rates):
    """The same for PyTorch, on the same batches."""
    examples = {"examples": len(job.data.train[0]), "batch_size": job.batch_size}
    order = batch_indices(jax.random.clone(key), 0, job.steps, **examples)
    batches = torch_lanes.batches_of(job.data.train, np.asarray(order))

    def scaled(make, count):
        once = timed(partial(make(name, batches, config.seed), _some(rates, count)))
        return lambda: once() * len(rates) / count

    return {STACKED: scaled(torch_lanes.stacked, config.stack), COMPILED: scaled(torch_lanes.looped, config.alone)}


def _some(rates, count):
    """``count`` of the rates, spread over all."""
    return rates[np.linspace(0, len(rates) - 1, count).astype(int)]


if __name__ == "__main__":
    sweep.use_all_cores()
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
