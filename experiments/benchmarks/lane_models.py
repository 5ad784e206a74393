"""What do other models cost as lanes: a convolutional network, and one with batch normalisation?

Each model is trained by the engine, a few settings at once, and by one compiled step called for one setting after
another; the convolutional one with XLA's convolution and with `regopt.layers.convolution_by_product`. All take turns;
each figure is a median over the rounds. Run it on an otherwise idle machine:

    python experiments/benchmarks/lane_models.py configs/lane_models/default.toml
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from contenders import BLUE, RED, engine, in_turns, ratio, timed
from regopt import sweep
from regopt.data import batch_indices, digits
from regopt.experiment import Claim
from regopt.layers import MLP, BatchNorm, Dense, convolution_by_product
from regopt.losses import cross_entropy

CHANNELS = (16, 32)
DENSE, NORMALISED = "MLP 64-128-10", "MLP with batch norm"
BY_XLA, BY_PRODUCT = "CNN, XLA's convolution", "CNN, convolution by product"
NORMALISED_CNN = "CNN with batch norm, by product"


class NormalisedMLP(nnx.Module):
    """64-128-10 with batch normalisation before the activation."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.first, self.norm = Dense(64, 128, use_bias=False, rngs=rngs), BatchNorm(128, rngs=rngs)
        self.last = Dense(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, 64] -> [batch, 10]``."""
        return self.last(jax.nn.relu(self.norm(self.first(x))))


class CNN(nnx.Module):
    """Two convolutions with windows of 3 x 3, the second with steps of 2, and a dense layer, for images of 8 x 8."""

    def __init__(self, convolution, *, normalised: bool = False, rngs: nnx.Rngs):
        layer = partial(nnx.Conv, kernel_size=(3, 3), conv_general_dilated=convolution, rngs=rngs)
        self.convolutions = nnx.List([layer(1, CHANNELS[0]), layer(CHANNELS[0], CHANNELS[1], strides=2)])
        self.norms = nnx.List(BatchNorm(channels, rngs=rngs) for channels in CHANNELS if normalised)
        self.last = Dense(16 * CHANNELS[1], 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, 64] -> [batch, 10]``."""
        x = x.reshape(-1, 8, 8, 1)
        for place, convolution in enumerate(self.convolutions):
            x = convolution(x)
            x = jax.nn.relu(self.norms[place](x) if self.norms else x)
        return self.last(x.reshape(len(x), -1))


MODELS = {
    DENSE: lambda _, rngs: MLP((64, 128, 10), rngs=rngs),
    NORMALISED: lambda _, rngs: NormalisedMLP(rngs=rngs),
    BY_XLA: lambda _, rngs: CNN(jax.lax.conv_general_dilated, rngs=rngs),
    BY_PRODUCT: lambda _, rngs: CNN(convolution_by_product, rngs=rngs),
    NORMALISED_CNN: lambda _, rngs: CNN(convolution_by_product, normalised=True, rngs=rngs),
}
DENSE_WORK = 2 * 64 * 128 + 3 * 128 * 10  # multiplications of an example: forward, and twice backward but to the input
CNN_WORK = 2 * 64 * 9 * CHANNELS[0] + 3 * 16 * 9 * CHANNELS[0] * CHANNELS[1] + 3 * 16 * CHANNELS[1] * 10
WORK = {DENSE: DENSE_WORK, NORMALISED: DENSE_WORK} | dict.fromkeys((BY_XLA, BY_PRODUCT, NORMALISED_CNN), CNN_WORK)


@dataclass(frozen=True)
class Config:
    """The job and how often it is measured.

    Attributes:
        settings: how many are trained at once.
        singles: how many of them are trained one after another, extrapolated to all.
        steps: training steps of each.
        batch_size: images in a batch.
        rounds: measurements of each model, in turn.
        seed: random seed of the weights and the batches.
    """

    settings: Annotated[int, Field(ge=2)] = 32
    singles: Annotated[int, Field(ge=1)] = 4
    steps: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[int, Field(ge=2, le=1077)] = 128
    rounds: Annotated[int, Field(ge=1)] = 3
    seed: int = 0

    @property
    def eval_every(self):
        """Steps between evaluations: one, at the end."""
        return self.steps


def run(config, key):
    """Seconds for all settings, ``[models and ways, rounds]``."""
    data = digits()
    contenders = {}
    for name, model in MODELS.items():
        task = sweep.supervised(model, cross_entropy, lambda h: regopt.adamw(h["learning_rate"]))
        contenders[name] = engine(config, key, data, {"learning_rate": _rates(config)}, task=task)
        contenders[_alone(name)] = _one_by_one(config, key, data, task)
    return in_turns(contenders, config.rounds)


def table(config, arrays):
    """Milliseconds a step of a setting, the share of the peak, and what one after another costs."""
    import pandas

    milliseconds = dict(zip(arrays["contenders"].tolist(), _milliseconds(config, arrays), strict=True))
    gflop = {name: 2e-9 * config.batch_size * WORK[name] for name in MODELS}  # of a step
    rates = {name: 1e3 * gflop[name] / milliseconds[name] for name in MODELS}
    return pandas.DataFrame(
        {
            "ms a step of a setting": {name: milliseconds[name] for name in MODELS},
            "GFLOP/s": rates,
            "share of peak": {name: rate / float(arrays["peak"]) for name, rate in rates.items()},
            "one after another takes": {name: ratio(arrays, _alone(name), name) for name in MODELS},
        }
    ).rename_axis("model")


def figure(config, arrays):
    """Milliseconds a step of a setting, as lanes and one after another."""
    drawing = Figure(figsize=(9, 3.6), layout="constrained")
    axes = drawing.subplots()
    milliseconds = dict(zip(arrays["contenders"].tolist(), _milliseconds(config, arrays), strict=True))
    for shift, colour, label, name_of in (
        (-0.2, RED, "lanes of one program", str),
        (0.2, BLUE, "alone", _alone),
    ):
        places = np.arange(len(MODELS)) + shift
        bars = axes.barh(places, [milliseconds[name_of(name)] for name in MODELS], 0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="{:.3g}", padding=3)
    axes.set_yticks(range(len(MODELS)), list(MODELS))
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel=f"ms a training step of a setting on {int(arrays['devices'])} CPU cores")
    axes.margins(x=0.12)
    axes.legend(frameon=False)
    return drawing


def claims(config, arrays):
    """What the layout of a convolution is worth, and that lanes are."""
    source = "medians of alternating rounds"
    return [
        Claim(
            "lanes of a CNN: time with XLA's convolution over that by product",
            source,
            5.0,
            ratio(arrays, BY_XLA, BY_PRODUCT),
            relation="at least",
        ),
        *(
            Claim(
                f"{name}: one setting after another over lanes",
                source,
                1.0,
                ratio(arrays, _alone(name), name),
                0.0,
                "at least",
            )
            for name in (DENSE, NORMALISED, BY_PRODUCT, NORMALISED_CNN)
        ),
    ]


def _alone(name):
    return f"{name}, alone"


def _milliseconds(config, arrays):
    return 1e3 * np.median(arrays["seconds"], axis=1) / (config.steps * config.settings)


def _rates(config):
    return np.geomspace(1e-4, 1e-2, config.settings)


def _one_by_one(config, key, data, task):
    """A compiled scan over the task's own step, called for one setting after another; extrapolated."""
    x, y = (jax.numpy.asarray(part) for part in data.train)
    order = batch_indices(jax.random.clone(key), 0, config.steps, examples=len(x), batch_size=config.batch_size)
    seed = jax.random.clone(key)

    @jax.jit
    def train(learning_rate):
        h = {"learning_rate": learning_rate}

        def step(carry, rows):
            state, key = carry
            key, now = jax.random.split(key)
            return (task.step(state, (x[rows], y[rows]), now, h)[0], key), None

        start, noise = jax.random.split(seed)
        (state, _), _ = jax.lax.scan(step, (task.init(start, h), noise), order)
        return state.params

    rates = [jax.numpy.float32(rate) for rate in _rates(config)[: config.singles]]
    once = timed(lambda: [train(rate) for rate in rates])
    return lambda: once() * config.settings / len(rates)


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
