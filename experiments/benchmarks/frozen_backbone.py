"""What do lanes over one frozen backbone cost: heads over a trunk, and LoRA adapters of a transformer?

Each job is trained by the engine with ``supervised(..., trainable=...)`` and by a Python loop over one compiled
function that trains the same part of the same model. All take turns; each figure is a median over the rounds. The heads
share the batch, so the engine computes the trunk once for a chunk of lanes; the adapters share the products with the
frozen weights. Run it on an otherwise idle machine:

    python experiments/benchmarks/frozen_backbone.py configs/frozen_backbone/default.toml
"""

import sys
from dataclasses import dataclass
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
from lane_tasks import Job, Transformer, windows
from regopt import sweep
from regopt.data import digits
from regopt.experiment import Claim
from regopt.layers import MLP, Dense
from regopt.losses import cross_entropy

LOOP = ", loop"


@dataclass(frozen=True)
class Config:
    """The jobs and how often they are measured.

    Attributes:
        settings: how many are trained.
        steps: training steps of each.
        evaluations: of each setting.
        widths: of the two hidden layers of the trunk under the heads.
        batch_sizes: windows of text in a batch of the adapters.
        rank: of the adapters.
        rounds: measurements of each, in turn.
        seed: random seed of the weights and the batches.
    """

    settings: Annotated[int, Field(ge=2)] = 64
    steps: Annotated[int, Field(ge=1)] = 20
    evaluations: Annotated[int, Field(ge=1)] = 1
    widths: tuple[Annotated[int, Field(ge=1)], ...] = (256, 1024)
    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (1, 4, 16)
    rank: Annotated[int, Field(ge=1)] = 4
    rounds: Annotated[int, Field(ge=1)] = 5
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
    """Seconds of the engine and of the loop, and the bytes of a lane."""
    contenders, lane_bytes = {}, []
    for name, job in _jobs(config).items():
        rates = jnp.geomspace(1e-4, 1e-2, config.settings)
        options = {
            "steps": job.steps,
            "eval_every": job.steps // config.evaluations,
            "batch_size": job.batch_size,
            "key": jax.random.clone(key),
        }
        settings = sweep.from_columns({"learning_rate": np.asarray(rates)})
        result = sweep.run(job.task, settings, job.data, **options)
        lane_bytes.append(sweep.plan(job.task, settings, job.data, **options).groups[0].lane_bytes)
        train = jax.jit(by_hand(config, key, job))
        contenders[name] = lambda result=result: result.refit().run_seconds
        contenders[name + LOOP] = timed(lambda train=train, rates=rates: [train(rate) for rate in rates])
    return in_turns(contenders, config.rounds) | {"lane_bytes": np.array(lane_bytes)}


def table(config, arrays):
    """Seconds of both ways, their ratio, and the bytes of a lane."""
    import pandas

    names = arrays["contenders"].tolist()
    seconds = dict(zip(names, np.median(arrays["seconds"], axis=1).tolist(), strict=True))
    jobs = [name for name in names if not name.endswith(LOOP)]
    return pandas.DataFrame(
        {
            "engine, s": [seconds[name] for name in jobs],
            "loop, s": [seconds[name + LOOP] for name in jobs],
            "loop over engine": [ratio(arrays, name + LOOP, name) for name in jobs],
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
    bars = dict.fromkeys(heads, 8.0) | dict.fromkeys(adapters, 1.5) | {adapters[-1]: 1.0}
    speed = [
        Claim(f"{name}: loop over engine", source, bar, ratio(arrays, name + LOOP, name), 0.0, "at least")
        for name, bar in bars.items()
    ]
    weights = 64 * 512 + 512 * config.widths[-1]
    share = float(arrays["lane_bytes"][len(heads) - 1]) / (4 * weights)
    return [*speed, Claim("bytes of a lane over those of its trunk", "compiled program", 0.3, share, 0.0, "at most")]


def _jobs(config):
    images, text = digits(), windows()
    jobs = {}
    for width in config.widths:
        trunk = MLP((64, 512, width), rngs=nnx.Rngs(config.seed))
        jobs[_head(width)] = Job(
            _task(lambda _, rngs, trunk=trunk, width=width: Headed(trunk, width, rngs), "head/**"),
            images,
            config.steps,
            128,
        )
    backbone = Transformer(rngs=nnx.Rngs(config.seed))
    adapters = _task(lambda _, rngs: _adapted(backbone, config.rank, rngs), nnx.LoRAParam)
    for size in config.batch_sizes:
        jobs[_adapter(size)] = Job(adapters, text, config.steps, size)
    return jobs


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
    return f"head over MLP 64-512-{width}"


def _adapter(batch_size):
    return f"LoRA of a transformer, batch {batch_size}"


if __name__ == "__main__":
    sweep.use_all_cores()
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
