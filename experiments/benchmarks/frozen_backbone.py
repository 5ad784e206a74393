"""What do lanes over one frozen backbone cost: heads over a trunk, and LoRA adapters of a transformer?

Each job is trained by the engine with ``supervised(..., trainable=...)`` and by a Python loop over one compiled
function that trains the same part of the same model, with the same evaluations. All take turns; each figure is a median
over the rounds. The heads share the batch, so the engine computes the trunk once for a chunk of lanes; the adapters
share the products with the frozen weights. How much they can gain depends on how far the loop is from the peak of the
machine, so its FLOP/s are shown too, and those of its largest products alone. Run it on an otherwise idle machine:

    python experiments/benchmarks/frozen_backbone.py configs/frozen_backbone/default.toml
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLUE, PALE, RED
from contenders import in_turns, ratio, timed
from lane_models import by_hand
from lane_tasks import WIDTH, WINDOW, Job, Transformer, windows
from regopt import sweep
from regopt.data import digits
from regopt.experiment import Claim
from regopt.layers import MLP, Dense
from regopt.losses import cross_entropy

LOOP = ", loop"
HIDDEN = 512  # units of the first layer of a trunk


@dataclass(frozen=True)
class Config:
    """The jobs and how often they are measured.

    Attributes:
        settings: number of settings.
        steps: training steps of each.
        windows: windows of text in the validation data of the adapters, so few that training takes most of the time.
        evaluations: number of evaluations of each setting.
        widths: widths of the last layer of the trunks under the heads, one job for each.
        hidden: units of the first layer of another trunk, with which a lane should take no more memory.
        batch_sizes: windows of text in a batch of the adapters.
        rank: rank of the adapters.
        rounds: measurements of each, in turn.
        seed: random seed of the weights and the batches.
    """

    settings: Annotated[int, Field(ge=2)] = 64
    steps: Annotated[int, Field(ge=1)] = 20
    evaluations: Annotated[int, Field(ge=1)] = 1
    windows: Annotated[int, Field(ge=1)] = 16
    widths: tuple[Annotated[int, Field(ge=1)], ...] = (256, 1024)
    hidden: Annotated[int, Field(ge=1)] = 2048
    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (1, 4, 16, 64)
    rank: Annotated[int, Field(ge=1)] = 4
    rounds: Annotated[int, Field(ge=1)] = 3
    seed: int = 0


class Headed(nnx.Module):
    """A head over a trunk."""

    def __init__(self, trunk: nnx.Module, width: int, rngs: nnx.Rngs):
        self.trunk, self.head = trunk, Dense(width, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, 64] -> [batch, 10]``."""
        return self.head(jax.nn.relu(self.trunk(x)))


class Adapted(nnx.Module):
    """A layer, and a product of two thin matrices beside it."""

    def __init__(self, base: nnx.Linear, rank: int, rngs: nnx.Rngs):
        self.base = base
        self.adapter = nnx.LoRA(base.in_features, rank, base.out_features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., inputs] -> [..., outputs]``."""
        return self.base(x) + self.adapter(x)


def run(config, key):
    """Seconds of the engine and of the loop, ``[jobs and ways, rounds]``; the bytes and the arithmetic of a lane."""
    contenders, lane_bytes, gflop = {}, [], []
    rates = np.geomspace(1e-4, 1e-2, config.settings)
    swept = partial(_swept, config, key, rates)
    for name, job in _jobs(config).items():
        result = swept(job)
        lane_bytes.append(swept(job, sweep.plan).groups[0].lane_bytes)
        gflop.append(swept(job, sweep.plan, mapping="map", chunk=1).groups[0].flops / 1e9)
        contenders[name] = lambda result=result: result.refit().run_seconds
        contenders[name + LOOP] = _loop(config, key, rates, job)
    other = swept(_headed(config, config.hidden, config.widths[-1]), sweep.plan).groups[0].lane_bytes
    return in_turns(contenders, config.rounds) | {
        "lane_bytes": np.array(lane_bytes),
        "gflop": np.array(gflop),
        "products": np.array([_rate_of_products(size * WINDOW) for size in config.batch_sizes]),
        "other_lane_bytes": np.array(other),
    }


def table(config, arrays):
    """Seconds of both ways, their ratio, what the loop reaches of the peak, and the bytes of a lane."""
    import pandas

    names = arrays["contenders"].tolist()
    seconds = dict(zip(names, np.median(arrays["seconds"], axis=1).tolist(), strict=True))
    jobs = [name for name in names if not name.endswith(LOOP)]
    return pandas.DataFrame(
        {
            "engine, s": [seconds[name] for name in jobs],
            "loop, s": [seconds[name + LOOP] for name in jobs],
            "loop over engine": [ratio(arrays, name + LOOP, name) for name in jobs],
            "loop, share of the peak": _shares(config, arrays),
            "its products alone": [np.nan] * len(config.widths) + _shares_of_products(arrays),
            "bytes a lane": arrays["lane_bytes"].tolist(),
        },
        index=jobs,
    ).rename_axis("job")


def figure(config, arrays):
    """How much faster the engine is."""
    drawing = Figure(figsize=(8, 3.2), layout="constrained")
    axes = drawing.subplots()
    jobs = [name for name in arrays["contenders"].tolist() if not name.endswith(LOOP)]
    colours = [RED if name.startswith("head") else BLUE for name in jobs]
    bars = axes.barh(jobs, [ratio(arrays, name + LOOP, name) for name in jobs], color=colours)
    axes.bar_label(bars, fmt="{:.1f}", padding=3)
    axes.axvline(1.0, color=PALE, linewidth=1, zorder=0)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="time of the loop over that of the engine")
    axes.margins(x=0.12)
    return drawing


def claims(config, arrays):
    """Heads share their trunk, adapters are no slower than the loop, and no lane holds the backbone."""
    source = "medians of alternating rounds"
    heads, adapters = [_head(width) for width in config.widths], [_adapter(size) for size in config.batch_sizes]
    bars = dict.fromkeys(heads, 8.0) | {
        name: 1.5 if share < 0.5 else 1.0 for name, share in zip(adapters, _shares_of_products(arrays), strict=True)
    }
    speed = [
        Claim(f"{name}: loop over engine", source, bar, ratio(arrays, name + LOOP, name), 0.0, "at least")
        for name, bar in bars.items()
    ]
    grown = float(arrays["other_lane_bytes"] / arrays["lane_bytes"][len(heads) - 1])
    memory = f"bytes of a lane, trunk of {config.hidden} hidden units to one of {HIDDEN}"
    return [*speed, Claim(memory, "compiled program", 1.0, grown, 0.0, "at most")]


def _shares(config, arrays):
    """The FLOP/s of the loop as a share of the peak of the machine, of each job."""
    loops = [name.endswith(LOOP) for name in arrays["contenders"].tolist()]
    seconds = np.median(arrays["seconds"][loops], axis=1)
    return (config.settings * arrays["gflop"] / seconds / float(arrays["peak"])).tolist()


def _shares_of_products(arrays):
    """The FLOP/s of the largest products of the loop as a share of the peak, for each batch size of the adapters."""
    return (arrays["products"] / float(arrays["peak"])).tolist()


def _rate_of_products(rows):
    """GFLOP/s of the products of a transformer's dense layers on ``rows`` rows, one after the other."""
    width, times = WIDTH, 100
    up, down = jnp.ones((width, 4 * width)) / width, jnp.ones((4 * width, width)) / (4 * width)
    once = jax.jit(lambda x, up, down: jax.lax.scan(lambda x, _: (x @ up @ down, None), x, length=times)[0])
    work = timed(lambda: once(jnp.ones((rows, width)), up, down))
    return times * 16 * rows * width**2 / np.median([work() for _ in range(5)]) / 1e9


def _loop(config, key, rates, job):
    train, arrays = by_hand(key, job, config.evaluations)
    once, each = jax.jit(train), list(jnp.asarray(rates))
    return timed(lambda: [once(arrays, rate) for rate in each])


def _swept(config, key, rates, job, do=sweep.run, **options):
    return do(
        job.task,
        sweep.from_columns({"learning_rate": rates}),
        job.data,
        steps=job.steps,
        eval_every=job.steps // config.evaluations,
        batch_size=job.batch_size,
        key=jax.random.clone(key),
        **options,
    )


def _jobs(config):
    text = windows()
    text = text._replace(validation=jax.tree.map(lambda x: x[: config.windows], text.validation))
    backbone = Transformer(rngs=nnx.Rngs(config.seed))
    adapters = _task(lambda _, rngs: _adapted(backbone, config.rank, rngs), nnx.LoRAParam)
    heads = {_head(width): _headed(config, HIDDEN, width) for width in config.widths}
    return heads | {_adapter(size): Job(adapters, text, config.steps, size) for size in config.batch_sizes}


def _headed(config, hidden, width):
    trunk = MLP((64, hidden, width), rngs=nnx.Rngs(config.seed))
    task = _task(lambda _, rngs: Headed(trunk, width, rngs), "head/**")
    return Job(task, digits(), config.steps, 128)


def _adapted(backbone, rank, rngs):
    model = nnx.clone(backbone)
    for block in model.blocks:
        block.up, block.down = Adapted(block.up, rank, rngs), Adapted(block.down, rank, rngs)
    return model


def _task(model, trainable):
    def loss(outputs, targets):
        return cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))

    return sweep.supervised(model, loss, lambda h: regopt.adamw(h["learning_rate"]), trainable=trainable)


def _head(width):
    return f"head over MLP 64-{HIDDEN}-{width}"


def _adapter(batch_size):
    return f"LoRA of a transformer, batch {batch_size}"


if __name__ == "__main__":
    sweep.use_all_cores()
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
